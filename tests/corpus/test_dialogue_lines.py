"""Dialogues that are lines of text, with a mark between their turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.reading_files import Read, read_paths
from zen_pipeline.corpus.reading.tables import Shape


def read(tmp_path: Path, *lines: str, shape: Shape | None = None, name: str = "a.txt") -> Read:
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return read_paths(tmp_path / name, shape=shape)


def said(found: Read) -> list[list[str]]:
    metas: list[Any] = [json.loads(record.meta)["messages"] for record in found.records]
    assert all([m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2) for messages in metas)
    return [[m["content"] for m in messages] for messages in metas]


@pytest.mark.parametrize("mark", ["__eou__", "<eou>", "[SEP]", "</s>"])
@pytest.mark.parametrize("labels", ["", "\t1 2 1 1", "\t1\t0 0 6"])
@pytest.mark.parametrize("name", ["a.txt", "a.tsv"])
def test_lines_with_a_mark_between_turns_are_dialogues(tmp_path: Path, mark: str, labels: str, name: str) -> None:
    lines = [f"Hi ? {mark} Hello . {mark}{labels}", f"Tea ? {mark} Yes . {mark} Now ? {mark} No .{labels}"]
    found = read(tmp_path, *lines, name=name)
    assert (said(found), found.aside) == ([["Hi ?", "Hello ."], ["Tea ?", "Yes .", "Now ?", "No ."]], [])
    assert found.tally is not None
    assert found.tally.unused == {f"column {number + 2}": 2 for number in range(labels.count("\t"))}


def test_utterances_within_a_turn_are_lines_of_it(tmp_path: Path) -> None:
    assert said(read(tmp_path, "hi __eou__ anyone ? __eou__ __eot__ hello __eou__ __eot__")) == [
        ["hi\nanyone ?", "hello"]
    ]


@pytest.mark.parametrize("separator", [" // ", "\t"])
def test_another_mark_can_be_named(tmp_path: Path, separator: str) -> None:
    lines = [separator.join(turns) for turns in (["Hi?", "Hello."], ["Tea?", "Yes.", "Now?", "No."])]
    found = read(tmp_path, *lines, shape=Shape(turn_separator=separator))
    assert said(found) == [["Hi?", "Hello."], ["Tea?", "Yes.", "Now?", "No."]]


def test_a_line_without_an_answer_is_set_aside(tmp_path: Path) -> None:
    found = read(tmp_path, *["a __eou__ b"] * 9, "only one __eou__\t1")
    assert (found.kinds, [entry.where for entry in found.aside]) == ({"chat": 9}, ["line 10"])


@pytest.mark.parametrize(
    "lines",
    [
        ["Each sentence ends with its mark </s>", "and none holds another </s>"],
        ["Prose about the mark __eou__ between turns.", *["Prose without one."] * 9],
        ["the <unk> of the <unk> is <unk>"] * 3,
    ],
)
def test_text_in_which_a_mark_occurs_is_text(tmp_path: Path, lines: list[str]) -> None:
    assert read(tmp_path, *lines).kinds == {"document": 1}
