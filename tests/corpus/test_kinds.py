"""Rows are recognised by their fields, and every kind has one shape."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.reading_files import Read, read_paths
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.errors import DataError

HI = [{"role": "user", "content": "Hi?"}]
HELLO = [*HI, {"role": "assistant", "content": "Hello."}]


def read(tmp_path: Path, *rows: Any, shape: Shape | None = None, name: str = "a.jsonl") -> Read:
    path = tmp_path / name
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) if name.endswith("l") else lines[0])
    return read_paths(path, shape=shape)


def meta(found: Read) -> Any:
    (record,) = found.records
    assert not found.aside
    return json.loads(record.meta)


# --- chats ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Hi?", "input": "", "response": "Hello."},
        {"instruction": "Hi?", "instances": [{"input": "", "output": "Hello."}]},
        {"messages": [{"message": "Hi?"}, {"message": "Hello.", "attrs": []}]},
        {"content": [{"agent": "agent_2", "message": "Hi?"}, {"agent": "agent_1", "message": "Hello."}]},
        HELLO,
        [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}],
    ],
)
def test_more_shapes_of_chats_give_the_same_messages(tmp_path: Path, row: Any) -> None:
    assert meta(read(tmp_path, row)) == {"messages": HELLO}


def test_every_instance_of_an_instruction_is_a_conversation(tmp_path: Path) -> None:
    row = {"instruction": "Double it.", "instances": [{"input": "2", "output": "4"}, {"input": "3", "output": "6"}, 5]}
    found = read(tmp_path, row)
    assert [record.id.split("/")[1] for record in found.records] == ["a.jsonl#1", "a.jsonl#1.2"]
    assert len(found.aside) == 1


def test_turns_of_the_same_speaker_are_one_message(tmp_path: Path) -> None:
    said = [("a", "Hi"), ("a", "there?"), ("b", "Hello."), ("a", "Well?")]
    row = {"content": [{"agent": agent, "message": text} for agent, text in said]}
    messages = meta(read(tmp_path, row))["messages"]
    assert [(m["role"], m["content"]) for m in messages] == [
        ("user", "Hi\nthere?"),
        ("assistant", "Hello."),
        ("user", "Well?"),
    ]


# --- .json files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ([{"text": "a"}, {"text": "b"}], ["a", "b"]),
        ({"text": "a", "tags": ["x", "y"], "size": 1.5}, ["a"]),
        ({"version": "1", "data": [{"text": "a"}], "more": [{"text": "b"}]}, ["a", "b"]),
        ({"one": {"text": "a"}, "two": {"text": "b"}}, ["a", "b"]),
        (HELLO, ["User: Hi?\n\nAssistant: Hello."]),
        ({"messages": HELLO}, ["User: Hi?\n\nAssistant: Hello."]),
        ([HELLO, HELLO], ["User: Hi?\n\nAssistant: Hello."] * 2),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_found_wherever_a_json_file_has_them(
    tmp_path: Path, content: Any, texts: list[str], indent: int | None
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, indent=indent))
    found = read_paths(path)
    assert [record.text for record in found.records] == texts
    assert not found.aside


def test_json_lines_and_values_one_after_the_other_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"text": "a"}\n{broken\n{"text": "b"}\n')
    found = read_paths(path)
    assert ([r.text for r in found.records], [a.where for a in found.aside]) == (["a", "b"], ["line 2"])
    path.write_text('{\n"text": "a"\n}\n{\n"text": "b"\n}\n')
    assert [record.text for record in read_paths(path).records] == ["a", "b"]


def test_values_longer_than_a_block_are_decoded(tmp_path: Path) -> None:
    rows = [{"text": f"{n} " * 30_000, "n": n, "f": n / 7} for n in range(20)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    assert [record.text for record in read_paths(path).records] == [row["text"] for row in rows]


# --- preferences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "chosen": "Hello.", "rejected": "What?"},
        {"prompt": HI, "chosen": HELLO[1:], "rejected": [{"role": "assistant", "content": "What?"}]},
        {"prompt": "Hi?", "chosen": HELLO, "rejected": [*HI, {"role": "assistant", "content": "What?"}]},
        {"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi?\n\nAssistant: What?"},
        {"prompt": "\n\nHuman: Hi?\n\nAssistant:", "chosen": " Hello.", "rejected": " What?"},
    ],
)
def test_every_shape_of_a_preference_gives_the_same_fields(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read(tmp_path, row)
    fields = meta(found)
    assert fields["prompt"] == HI
    assert (fields["chosen"].strip(), fields["rejected"].strip()) == ("Hello.", "What?")
    assert "What?" not in found.records[0].text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi?", "chosen": "Hello.", "rejected": "Hello."}, "both answers are the same"),
        ({"prompt": "Hi?", "chosen": "Hello.", "rejected": ""}, "an empty message"),
        ({"prompt": "Hi?", "chosen": 5, "rejected": "x"}, "neither text nor messages"),
        ({"chosen": "Hello.", "rejected": "What?"}, "no answers to a user's message"),
        ({"chosen": "Human: a\n\nAssistant: b", "rejected": "Human: c\n\nAssistant: d"}, "differ before their last"),
    ],
)
def test_what_is_no_preference_is_set_aside(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = read(tmp_path, row)
    assert (found.records, len(found.aside)) == ([], 1)
    assert reason in found.reasons[0]


# --- translations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"translation": {"en": "the sea", "zh": "海"}},
        {"id": "7", "en": "the sea", "zh-cn": "海"},
        {"eng": "the sea", "cmn": "海"},
        {"source": "the sea", "target": "海", "source_language": "en", "target_language": "zh"},
    ],
)
def test_every_shape_of_a_pair_gives_the_same_fields(tmp_path: Path, row: dict[str, Any]) -> None:
    assert meta(read(tmp_path, row)) == {
        "source": "the sea",
        "target": "海",
        "source_language": "en",
        "target_language": "zh",
    }


def test_translations_of_one_sentence_are_in_one_group(tmp_path: Path) -> None:
    found = read(tmp_path, {"en": "the sea", "zh": "海"}, {"en": "the sea", "zh": "大海"}, {"en": "a sea", "zh": "海"})
    groups = [record.group for record in found.records]
    assert groups[0] == groups[1] != groups[2]


def test_a_tab_separated_file_with_a_header_is_a_table_and_prose_with_a_tab_is_prose(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"two\nlines"\tgood\nfine\tbad\n')
    (tmp_path / "b.txt").write_text("one\ttwo\nand a line without\n")
    (tmp_path / "c.txt").write_text("2021\t17\n2022\t19\n")
    found = read_paths(tmp_path)
    assert found.kinds == {"classification": 2, "document": 2}
    assert "two\nlines" in found.records[0].text


# --- questions --------------------------------------------------------------------------------------------------------

CONTEXT = "Ann saw Ann in Oslo."


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"text": ["Ann"], "answer_start": [8]}, (["Ann"], [8])),
        ({"text": ["Ann", "Ann"], "answer_start": [0, 8]}, (["Ann"], [0])),
        ({"text": ["Oslo"], "answer_start": [3]}, (["Oslo"], [15])),
        (["Oslo", "in Oslo"], (["Oslo", "in Oslo"], [15, 12])),
        ([{"text": "Oslo", "answer_start": 15}], (["Oslo"], [15])),
        (["Norway"], (["Norway"], [-1])),
        ("Oslo", (["Oslo"], [15])),
        ({"text": [], "answer_start": []}, ([], [])),
    ],
)
def test_answers_in_every_form(tmp_path: Path, answers: Any, expected: tuple[list[str], list[int]]) -> None:
    fields = meta(read(tmp_path, {"question": "Who?", "context": CONTEXT, "answers": answers}))
    assert (fields["answers"], fields["answer_starts"]) == expected
    assert fields["impossible"] is (not expected[0])


def test_a_nested_question_without_answers_must_say_that_it_is_impossible(tmp_path: Path) -> None:
    asked = [
        {"question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]},
        {"question": "Why?", "answers": [], "is_impossible": True},
        {"question": "When?", "answers": []},
    ]
    found = read(tmp_path, {"data": [{"paragraphs": [{"context": CONTEXT, "qas": asked}]}]}, name="a.json")
    assert [json.loads(record.meta)["impossible"] for record in found.records] == [False, True]
    assert found.reasons == ["a question without answers that is not marked as impossible"]


# --- classification, documents, and what the user says ----------------------------------------------------------------


@pytest.mark.parametrize("label", [1, 0, True, 1.0, "good", " good "])
def test_a_text_with_a_small_label_is_classification(tmp_path: Path, label: object) -> None:
    fields = meta(read(tmp_path, {"text": "fine", "label": label}))
    assert fields["text"] == "fine"
    assert fields["label"] == (label.strip() if isinstance(label, str) else label)
    assert not isinstance(fields["label"], float)


@pytest.mark.parametrize("label", [None, "", "x" * 65, "two\nlines", ["a", "b"], 0.5, math.nan])
def test_a_text_with_anything_else_in_the_label_field_is_a_document(tmp_path: Path, label: object) -> None:
    assert read(tmp_path, {"text": "fine", "label": label}).kinds == {"document": 1}


def test_the_kind_and_the_names_of_fields_can_be_given(tmp_path: Path) -> None:
    assert read(tmp_path, {"text": "fine", "label": 1}, shape=Shape(kind="document")).kinds == {"document": 1}
    renamed = Shape(fields={"question": "ask", "answer": "reply"})
    assert meta(read(tmp_path, {"ask": "Hi?", "reply": "Hello."}, shape=renamed)) == {"messages": HELLO}
    wrong = read(tmp_path, {"text": "fine"}, {"en": "a", "zh": "b"}, shape=Shape(kind="translation"))
    assert (wrong.kinds, wrong.reasons) == ({"translation": 1}, ["not a translation: its fields are text"])


def test_the_text_column_is_found_whatever_its_case(tmp_path: Path) -> None:
    assert read(tmp_path, {"TEXT": "fine"}).records[0].text == "fine"


def test_rows_of_no_known_kind_are_an_error_that_names_the_known_fields(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.jsonl has no column 'text'; its columns are x, y\..*prompt, chosen"):
        read(tmp_path, {"x": 1, "y": 2})
