"""Published shapes of rows: what each becomes, what is honoured beside the turns, and what is left over is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.reading_files import Read, read_paths
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.reading.tally import Tally


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, **marks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **marks}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def read(tmp_path: Path, *rows: Any, shape: Shape | None = None) -> tuple[Read, Tally]:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    found = read_paths(tmp_path / "a.jsonl", shape=shape)
    assert found.tally is not None
    return found, found.tally


def messages(tmp_path: Path, row: Any) -> Any:
    found, _ = read(tmp_path, row)
    assert found.kinds == {"chat": 1}, found.reasons
    return json.loads(found.records[0].meta)["messages"]


ASKED, SAID = user("Hi?"), answer("Hello.")


# --- chats ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [ASKED], "completion": [SAID]},  # TRL
        {"prompt": [ASKED], "completion": "Hello."},
        {"messages": json.dumps([ASKED, SAID])},  # a cell of a table
        {"messages": [{"role": "user", "content": ["Hi?"]}, SAID]},
        {"input": "Hi?", "target": "Hello.", "kind": "Cot"},  # Firefly
        {"conversation": [{"human": "Hi?", "assistant": "Hello."}]},
        {"chat": {"turn_1": {"Human": "<|Human|>: Hi?<eoh>\n", "Commands": "None", "MOSS": "<|MOSS|>: Hello.<eom>\n"}}},
        {"dialog": ["Hi?", "Hello."], "act": [2, 1]},  # DailyDialog
        {"dialogue": "Hi? __eou__ Hello. __eou__"},
        {"id": "0", "data": ["Hi?", "Hello."]},  # UltraChat
        {"turns": [{"speaker": "USER", "utterance": "Hi?"}, {"speaker": "SYSTEM", "utterance": "Hello."}]},
        {"messages": [{"from": "Ann", "text": "Hi?"}, {"from": "Bob", "text": "Hello."}]},
        {"contents": [{"role": "user", "parts": [{"text": "Hi?"}]}, {"role": "model", "parts": [{"text": "Hello."}]}]},
        {"prompt": "\n\nHuman: Hi?\n\nAssistant:", "completion": " Hello."[1:]},
        {"user": "Hi?", "assistant": "Hello."},
        {"Q": "Hi?", "A": "Hello."},
        {"问题": "Hi?", "答案": "Hello."},
        {"question": "Hi?", "answers": ["Hello.", "Good day."]},
        {"row_idx": 0, "row": {"instruction": "Hi?", "output": "Hello."}, "truncated_cells": []},
        {
            "instruction": "Hi?",
            "input": "",
            "output": "Hello.",
            "text": "### Instruction:\nHi?\n\n### Response:\nHello.",
        },
        {"messages": [ASKED, SAID], "source": "somewhere", "target": "train"},
    ],
)
def test_a_published_shape_of_a_chat_gives_its_messages(tmp_path: Path, row: Any) -> None:
    assert messages(tmp_path, row) == [ASKED, SAID]


@pytest.mark.parametrize(
    ("row", "before"),
    [
        ({"system": "Be brief."}, [system("Be brief.")]),
        ({"system_prompt": "Be brief."}, [system("Be brief.")]),
        ({"system": ""}, []),
        ({"system": [{"text": "Be brief."}]}, [system("Be brief.")]),
        ({"history": [["One?", "1"], ["Two?", "2"]]}, [user("One?"), answer("1"), user("Two?"), answer("2")]),
        ({"history": '[["One?", "1"]]'}, [user("One?"), answer("1")]),
        ({"history": ["One?", "1"]}, [user("One?"), answer("1")]),
        ({"history": [user("One?"), answer("1")]}, [user("One?"), answer("1")]),
        ({"history": [], "system": "Be brief."}, [system("Be brief.")]),
    ],
)
@pytest.mark.parametrize("turns", [{"instruction": "Hi?", "output": "Hello."}, {"messages": [ASKED, SAID]}])
def test_what_was_said_before_stands_before(tmp_path: Path, row: dict[str, Any], before: Any, turns: Any) -> None:
    assert messages(tmp_path, {**turns, **row}) == [*before, ASKED, SAID]


def test_a_system_message_that_stands_in_both_places_is_one(tmp_path: Path) -> None:
    assert messages(tmp_path, {"system": "Be brief.", "messages": [system("Be brief."), ASKED, SAID]})[0] == system(
        "Be brief."
    )


@pytest.mark.parametrize("context", ["context", "passage", "input"])
def test_what_an_instruction_is_about_is_part_of_the_question(tmp_path: Path, context: str) -> None:
    row = {"instruction": "When?", context: "It was in 1824.", "response": "1824."}
    assert messages(tmp_path, row) == [user("When?\n\nIt was in 1824."), answer("1824.")]


def test_consecutive_messages_of_one_role_are_joined(tmp_path: Path) -> None:
    turns = [user("a"), user("b"), answer("c"), answer("d")]
    assert messages(tmp_path, {"messages": turns}) == [user("a\nb"), answer("c\nd")]


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}, {"weight": 0.0}, {"mask": True}])
def test_an_answer_that_is_marked_is_context(tmp_path: Path, mark: dict[str, Any]) -> None:
    turns = [user("a"), answer("wrong", **mark), user("b"), answer("right", weight=1)]
    assert messages(tmp_path, {"messages": turns}) == [user("a"), answer("wrong", weight=0), user("b"), answer("right")]


def test_the_first_line_of_an_answer_stays_indented(tmp_path: Path) -> None:
    assert messages(tmp_path, {"prompt": "Hi?", "completion": "\n  \n    return 1\n\n"})[1] == answer("    return 1")


def test_one_path_of_a_tree_is_read_and_the_others_are_counted(tmp_path: Path) -> None:
    worse, better = ({"text": t, "role": "assistant", "rank": r, "replies": []} for t, r in (("Go.", 1), ("Hello.", 0)))
    oasst = {"prompt": {"text": "Hi?", "role": "prompter", "replies": [worse, better]}, "message_tree_id": "x"}
    said = [
        ("a", None, "system", ""),
        ("b", "a", "user", "Hi?"),
        ("c", "b", "assistant", "Go."),
        ("d", "b", "assistant", "Hello."),
    ]
    nodes = {
        name: {"parent": parent, "message": {"author": {"role": role}, "content": {"parts": [text]}}}
        for name, parent, role, text in said
    }
    for row in (oasst, {"mapping": nodes, "current_node": "d"}):
        assert messages(tmp_path, row) == [ASKED, SAID]
        assert read(tmp_path, row)[1].unused["other branches of a conversation"] == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi?", "completion": "Go.", "label": False}, "label: false"),
        ({"prompt": [ASKED], "completion": [SAID], "label": False}, "label: false"),
        ({"messages": [ASKED, SAID], "kto_tag": "false"}, "kto_tag: 'false'"),
        ({"prompt": "Hi?", "response": "Hello.", "train": False}, "train: false"),
        ({"messages": [ASKED, answer("Go.", loss=False)]}, "to be learnt"),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, SAID]},
            "with tools",
        ),
        ({"conversations": [{"from": "human", "value": "x"}, {"from": "observation", "value": "y"}]}, "with tools"),
        ({"image": "a.png", "conversations": [ASKED, SAID]}, "'image'"),
        ({"question": "Which?", "choices": ["a", "b"], "answer": 1}, "'choices'"),
        ({"question": "Which?", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "C"}, "choices A to D"),
        ({"instruction": "Hi?", "output": "Hello.", "history": "earlier"}, "neither pairs nor messages"),
        ({"messages": [{"from": who, "text": "Hi"} for who in ("Ann", "Bob", "Cy")]}, "3 speakers"),
        ({"segments": [{"label": True, "text": "<s>Hi"}]}, "Axolotl"),
        ({"question": "Who?", "context": {"sentences": ["It was Ann."]}, "answer": "Ann"}, "neither text nor"),
        ({"question": "Is it?", "passage": "It is.", "answer": True}, "no known form"),
        ({"row_idx": 0, "row": {"text": "Hello"}, "truncated_cells": ["text"]}, "cut off"),
    ],
)
def test_what_cannot_be_honoured_is_set_aside_and_says_why(tmp_path: Path, row: Any, reason: str) -> None:
    found, tally = read(tmp_path, row, {"text": "a document"})
    assert (found.kinds, len(found.aside)) == ({"document": 1}, 1)
    assert reason in found.reasons[0]
    assert not tally.unused


def test_what_must_not_be_learnt_was_read_well(tmp_path: Path) -> None:
    unwanted = {"prompt": "Hi?", "completion": "Go.", "label": False}
    found, _ = read(tmp_path, unwanted, {"messages": "no list"}, {"messages": [ASKED, answer("Go.", weight=0)]})
    assert [entry.not_learnt for entry in found.aside] == [True, False, True]


# --- other kinds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"input": {"messages": [ASKED]}, "preferred_output": [SAID], "non_preferred_output": [answer("Go.")]},
        {"prompt": "Hi?", "chosen": [ASKED, SAID], "rejected": [ASKED, answer("Go.")], "messages": [ASKED, SAID]},
        {"question": "Hi?", "chosen": "Hello.", "rejected": "Go."},
        {"conversations": [{"from": "human", "value": "Hi?"}], "chosen": SAID, "rejected": answer("Go.")},
        {"instruction": "Hi?", "input": "", "chosen": "Hello.", "rejected": "Go.", "system": None},
        {"question": "Hi?", "response_j": "Hello.", "response_k": "Go."},
    ],
)
def test_a_published_shape_of_a_preference_gives_its_fields(tmp_path: Path, row: Any) -> None:
    found, tally = read(tmp_path, row)
    assert found.kinds == {"preference": 1}, found.reasons
    assert json.loads(found.records[0].meta) == {"prompt": [ASKED], "chosen": "Hello.", "rejected": "Go."}
    assert not tally.unused


@pytest.mark.parametrize("asked", ["prompt", "question", "instruction"])
def test_a_preference_has_its_system_message(tmp_path: Path, asked: str) -> None:
    found, _ = read(tmp_path, {"system": "Be brief.", asked: "Hi?", "chosen": "Hello.", "rejected": "Go."})
    assert json.loads(found.records[0].meta)["prompt"] == [system("Be brief."), ASKED]


@pytest.mark.parametrize(
    ("row", "kind", "expected"),
    [
        ({"premise": "a", "hypothesis": "b", "label": 0}, "classification", {"text": "a\n\nb", "label": 0}),
        ({"question": "a", "sentence": "b", "label": 1}, "classification", {"text": "a\n\nb", "label": 1}),
        ({"sentence1": "a", "sentence2": "b", "gold_label": "x"}, "classification", {"text": "a\n\nb", "label": "x"}),
        ({"文本": "好", "标签": "正面"}, "classification", {"text": "好", "label": "正面"}),
        ({"text": None, "sentence": "a", "label": 1}, "classification", {"text": "a", "label": 1}),
        ({"text": "a", "label": None, "labels": 2}, "classification", {"text": "a", "label": 2}),
        ({"en": "a", "de": None, "fr": "c"}, "translation", {"source": "a", "target": "c"}),
        ({"src": "a", "tgt": "b", "src_lang": "en"}, "translation", {"source": "a", "source_language": "en"}),
        ({"question": "Who?", "context": ["Ann.", "Bob."], "answer": "Bob"}, "qa", {"context": "Ann.\n\nBob."}),
        ({"question": "Who?", "passage": "Ann.", "answer": "Ann"}, "qa", {"context": "Ann."}),
        ({"question": "Who?", "text": "It was Ann.", "answer": "Ann"}, "qa", {"context": "It was Ann."}),
        ({"context_text": "安。", "qas": [{"query_text": "谁?", "answers": ["安"]}]}, "qa", {"answers": ["安"]}),
        ({"question": "Who?", "context": "Ann.", "answers": None, "is_impossible": True}, "qa", {"impossible": True}),
    ],
)
def test_fields_are_told_by_name_and_value(tmp_path: Path, row: Any, kind: str, expected: dict[str, Any]) -> None:
    found, _ = read(tmp_path, row)
    assert found.kinds == {kind: 1}, found.reasons
    assert json.loads(found.records[0].meta).items() >= expected.items()


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a\nb", "source": "wiki", "target": "train"},
        {"text": ["a", "b"]},
        {"paragraphs": ["a", "b"], "title": "Quiet night", "author": "Li Bai"},
        {"content": "a\nb", "title": "A page"},
        {"text": "a\nb", "labels": ["x", "y"]},
        {"正文": "a\nb"},
    ],
)
def test_a_text_or_its_lines_are_a_document(tmp_path: Path, row: Any) -> None:
    found, _ = read(tmp_path, row)
    assert (found.kinds, found.records[0].text) == ({"document": 1}, "a\nb")


def test_a_sentence_in_three_languages_must_be_told_its_two(tmp_path: Path) -> None:
    row = {"en": "a", "de": "b", "fr": "c"}
    assert "3 languages (en, de, fr)" in read(tmp_path, row)[0].reasons[0]
    found, _ = read(tmp_path, row, shape=Shape(fields={"source": "de", "target": "fr"}))
    fields = json.loads(found.records[0].meta)
    assert (fields["source"], fields["target_language"]) == ("b", "fr")


def test_what_the_user_names_comes_first(tmp_path: Path) -> None:
    row = {"text": "a text", "body": "a body", "question": "Hi?", "answer": "Hello.", "stars": 4.5}
    assert read(tmp_path, row)[0].kinds == {"chat": 1}
    assert read(tmp_path, row, shape=Shape("body"))[0].records[0].text == "a body"
    labelled = read(tmp_path, row, shape=Shape(fields={"label": "stars"}))[0]
    assert json.loads(labelled.records[0].meta) == {"text": "a text", "label": 4.5}


# --- what is said -----------------------------------------------------------------------------------------------------


def test_fields_that_no_record_was_made_from_are_counted_by_the_names_they_have(tmp_path: Path) -> None:
    turns = {"messages": [{**ASKED, "name": "Ann"}, SAID, user("And?")], "Score": 3, "empty": "", "tools": "[1]"}
    found, tally = read(tmp_path, turns, {"text": "a", "score": 1}, {"text": "b"})
    left = {"Score": 1, "score": 1, "tools": 1, "name of messages": 1, "messages after the last answer": 1}
    assert tally.unused == left
    assert json.loads(found.records[0].meta)["tools"] == "[1]"


def test_of_very_many_unused_fields_the_most_frequent_are_named() -> None:
    tally = Tally()
    for number in range(1000):
        tally.add_row("a", "document", ["text"], [f"id {number}", "score"])
    named = tally.summary()["unused_fields"]
    assert len(named) < 1000
    assert named["score"] == 1000


def test_a_file_says_what_it_was_taken_for(tmp_path: Path) -> None:
    _, tally = read(tmp_path, {"Text": "a", "label": 1}, {"Text": "b", "label": 1}, {"text": "c"})
    (counts,) = tally.taken_for.values()
    assert counts == {"classification, by Text and label": 2, "document, by text": 1}
