from __future__ import annotations

import json
from typing import Any

import pytest

from zen_pipeline.corpus.records import Kind, Record
from zen_pipeline.tasks.questions import (
    Documented,
    Question,
    argument_names,
    collect_questions,
    documented,
    first_sentence,
    make_questions,
    split_questions,
)


def thing(
    qualname: str, doc: str, *, module: str = "pathlib", kind: str = "function", sig: str = "(self)"
) -> Documented:
    return Documented(qualname, module, kind, sig, doc)


def many(count: int, **fields: str) -> list[Documented]:
    return [thing(f"pathlib.name{i}", f"Return the value with the number {i}.", sig="(a, b=1)") for i in range(count)]


# --- sentences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("Whether this path exists.\n\nMore text.", "Whether this path exists."),
        ("Return the sum of\n    two numbers. It is fast.", "Return the sum of two numbers."),
        ("Open the file", "Open the file."),
        ("Like :func:`os.path.join`, but for ``Path`` objects.", "Like `os.path.join`, but for `Path` objects."),
        ("Accept numbers, e.g. Decimal or int. Then stop.", "Accept numbers, e.g. Decimal or int."),
        ("See [`~transformers.Trainer`] for the loop.", "See `transformers.Trainer` for the loop."),
    ],
)
def test_the_first_sentence_is_cleaned(doc: str, sentence: str) -> None:
    assert first_sentence(doc) == sentence


@pytest.mark.parametrize(
    "doc",
    [
        "",
        "exists(self) -> bool",
        "Args: path: the path to open (str)",
        "Parameters\n----------\nx : int",
        ">>> Path('a').exists()",
        "The following formats are known:",
        "lower case start of a fragment",
        "TODO",
        "Word " * 100,
        "An unbalanced `quote in the text.",
    ],
)
def test_what_is_no_sentence_is_not_made_an_answer(doc: str) -> None:
    assert first_sentence(doc) is None


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("(self)", []),
        ("()", []),
        ("(self, path, /, *, mode='a,b', **options)", ["path", "mode", "**options"]),
        ("(items=[1, 2], key=f(a, b), *args)", ["items", "key", "*args"]),
        ("(cls, text: str)", ["text"]),
    ],
)
def test_arguments_come_from_the_signature(signature: str, names: list[str]) -> None:
    assert argument_names(signature) == names


# --- questions --------------------------------------------------------------------------------------------------------


def test_a_record_of_api_documentation_is_recognized() -> None:
    meta = {"module": "pathlib", "qualname": "pathlib.Path.exists", "object": "function", "signature": "(self)"}
    found = documented("pathlib.Path.exists(self)\n\nWhether this path exists.", meta)
    assert found == thing("pathlib.Path.exists", "Whether this path exists.")
    assert documented("module pathlib\n\nPaths.", {**meta, "object": "module"}) is None
    assert documented("Just a text.", {}) is None


def test_every_form_is_asked_and_answered_from_the_documentation() -> None:
    questions = {q.form: q for q in make_questions(many(200))}
    assert set(questions) == {"purpose", "arguments", "module"}
    number = questions["purpose"].subject.removeprefix("pathlib.name")
    assert questions["purpose"].question == f"What does `pathlib.name{number}` do?"
    assert questions["purpose"].answer == f"Return the value with the number {number}."
    assert questions["arguments"].answer == "It takes `a` and `b`."
    assert questions["module"].answer == "It is in the module `pathlib`."
    (only,) = make_questions([thing("pathlib.Path", "Paths that the system knows.", kind="class")])
    assert "class `pathlib.Path`" in only.question or "In which module is `Path`" in only.question


def test_a_short_name_in_two_modules_is_never_asked_for_its_module() -> None:
    twice = [
        thing(f"{module}.name{i}", f"Return number {i} of it.", module=module)
        for module in ("a", "b")
        for i in range(99)
    ]
    assert {q.form for q in make_questions(twice)} == {"purpose"}


def test_subjects_of_the_test_are_not_asked_for_their_module() -> None:
    questions = make_questions(many(200), testing=lambda subject: subject.endswith("7"))
    assert {q.form for q in questions if q.subject.endswith("7")} == {"purpose", "arguments"}
    assert {q.form for q in questions if not q.subject.endswith("7")} == {"purpose", "arguments", "module"}


def test_private_names_and_repeated_definitions_make_no_questions() -> None:
    docs = [
        thing("m._hidden", "Return the hidden value.", module="m"),
        thing("m.C.__init__", "Make a new value.", module="m"),
        thing("m.shown", "Return the shown value.", module="m"),
        thing("m.shown", "Return it on another platform.", module="m"),
    ]
    assert [q.subject for q in make_questions(docs)] == ["m.shown"]


def test_questions_depend_neither_on_order_nor_on_other_documents() -> None:
    all_of_them = make_questions(many(100))
    assert make_questions(list(reversed(many(100)))) == all_of_them
    fewer = make_questions(many(50))
    assert [q for q in all_of_them if q.subject in {f.subject for f in fewer}] == fewer


# --- split ------------------------------------------------------------------------------------------------------------


def test_no_subject_and_no_answer_of_the_test_is_learnt() -> None:
    split = split_questions(make_questions(many(2000)), test_fraction=0.1, salt="zen")
    learnt = split.train + split.valid
    assert len(split.test) == pytest.approx(200, abs=60)
    assert len(split.valid) > 20
    assert not {q.subject for q in learnt} & {q.subject for q in split.test}
    assert not {q.answer for q in learnt} & {q.answer for q in split.test}
    assert split.dropped > 0  # every question about arguments has the same answer here
    assert len(learnt) + len(split.test) + split.dropped == 2000


def test_a_new_document_moves_no_question_into_another_part() -> None:
    before = split_questions(make_questions(many(300)), test_fraction=0.2, salt="zen")
    after = split_questions(make_questions(many(400)), test_fraction=0.2, salt="zen")
    assert {q.id for q in before.test} <= {q.id for q in after.test}
    assert not {q.id for q in before.train} & {q.id for q in after.test}


def test_another_salt_asks_about_other_subjects() -> None:
    questions: list[Question] = make_questions(many(300))
    first, second = (split_questions(questions, test_fraction=0.2, salt=salt) for salt in ("a", "b"))
    assert {q.id for q in first.test} != {q.id for q in second.test}


# --- conversations ----------------------------------------------------------------------------------------------------


def record(name: str, kind: Kind, **meta: Any) -> Record:
    return Record(name, "g", "text", "s", "en", "train", kind, json.dumps(meta))


def test_preferences_and_questions_with_a_context_are_learnt_as_conversations() -> None:
    records = [
        record("p", "preference", prompt=[{"role": "user", "content": "Hi?"}], chosen="Hello.", rejected="What?"),
        record("q", "qa", question="Who?", context="It was Ann.", answers=["Ann"], answer_starts=[7], impossible=False),
        record("i", "qa", question="Why?", context="It was Ann.", answers=[], answer_starts=[], impossible=True),
        record("t", "translation", source="a", target="b", source_language="en", target_language="de"),
        record("c", "classification", text="fine", label=1),
    ]
    found = collect_questions(records, test_fraction=0.1, salt="x")
    assert [(q.id, q.question, q.answer) for q in found.train] == [
        ("p", "Hi?", "Hello."),
        ("q", "It was Ann.\n\nWho?", "Ann"),
    ]
    assert (found.valid, found.test) == ([], [])


def test_a_conversation_ends_with_the_last_answer_that_is_learnt() -> None:
    turns = ["user: a", "assistant: b", "user: c", "assistant: d", "user: e", "assistant: wrong", "user: f"]
    messages: list[dict[str, Any]] = [dict(zip(("role", "content"), t.split(": "), strict=True)) for t in turns]
    messages[5]["weight"] = 0
    (question,) = collect_questions([record("x", "chat", messages=messages)], test_fraction=0.0, salt="").train
    assert (question.question, question.answer, len(question.messages)) == ("c", "d", 4)
    messages[1:4] = [{**messages[1], "weight": 0}, messages[3]]
    (question,) = collect_questions([record("x", "chat", messages=messages)], test_fraction=0.0, salt="").train
    assert (question.question, question.answer) == ("a", "d")
