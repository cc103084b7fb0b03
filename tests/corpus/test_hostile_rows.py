"""Rows that are broken or odd inside files that can be read: each is a record, or set aside with the reason.

What is wrong with one row costs no other.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.hostile_files import write
from tests.corpus.reading_files import read_paths
from zen_pipeline.config import load_config
from zen_pipeline.corpus.records import read_records
from zen_pipeline.errors import DataError
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import collect
from zen_pipeline.workspace import Workspace


@pytest.mark.parametrize("wrapped", ["[%s]", '{"version": 1, "data": [%s]}'])
def test_a_broken_value_of_a_json_array_loses_only_itself(tmp_path: Path, wrapped: str) -> None:
    broken = ['{"text": brok en}', '{"text": "b\\q", "x": [{"text": "inner"}]}', "nul", "{'text': 'b'}", '{"text": 01}']
    rows = [row for value in broken for row in ('{"text": "good"}', value)]
    content = wrapped % ", ".join([*rows, '{"text": "last"}'])
    read = read_paths(write(tmp_path / "a.json", content))
    assert [record.text for record in read.records] == ["good"] * len(broken) + ["last"]
    assert [entry.where for entry in read.aside] == [f"item {number}" for number in range(2, 2 * len(broken) + 1, 2)]
    at = content.index("brok")
    assert read.reasons[0] == f"not JSON: Expecting value at character {at + 1} of the file"
    assert read.aside[0].excerpt == broken[0]


def test_the_place_of_a_broken_value_is_right_far_into_a_file(tmp_path: Path) -> None:
    rows = ['{"text": "%s"}' % ("x" * 100)] * 3000
    content = f"[{','.join([*rows, '{bad}', *rows])}]"
    read = read_paths(write(tmp_path / "a.json", content))
    assert len(read.records) == 6000
    assert read.aside[0].where == "item 3001"
    assert f"at character {content.index('bad') + 1:,} of the file" in read.reasons[0]


@pytest.mark.parametrize(
    "broken",
    [
        '{"text": "x" y"}',  # an odd quote: strings and what is between them are exchanged
        '{"text": "b", {"text": "not a row"}',
        '{"text": [1, 2}',
        '{"text": "b\n"}',
        '{"text": "said \\"no\\", {\\"text\\": \\"fake\\"}" "}',
    ],
)
def test_what_follows_a_broken_value_without_a_certain_end_is_not_guessed_at(tmp_path: Path, broken: str) -> None:
    content = f'[{{"text": "first"}}, {broken}, {{"text": "last"}}]'
    read = read_paths(write(tmp_path / "a.json", content))
    assert [record.text for record in read.records] == ["first"]
    assert [entry.where for entry in read.aside] == ["after item 1"]


def test_a_conversation_that_lacks_a_turn_is_none(tmp_path: Path) -> None:
    turns = ['{"role": "user", "content": "a"}', '{"role": "assistant", "content": "b"}']
    read = read_paths(write(tmp_path / "a.json", f"[{', '.join([*turns, '{bad}', *turns])}]"))
    assert (read.records, len(read.aside)) == ([], 1)


def test_odd_values_in_json_rows_reach_the_records_or_are_set_aside(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        '{"text": "first", "text": "the last of equal names counts"}',
        '{"text": "a large number", "n": %s}' % ("9" * 400),
        '{"text": "not a number", "x": NaN, "label": NaN}',
        '{"text": "a large label", "label": 123456789012345678901234567890}',
        '{"text": "a pair \\ud83d\\ude00"}',
        '{"text": "half a pair \\ud800"}',
        '{"text": "half a pair in the group", "group": "\\ud800"}',
        '{"text": NaN}',
        "[]",
    ]
    write(tmp_path / "data" / "a.jsonl", "\n".join(rows))
    ref = collect.STAGE.run(load_config(data=[str(tmp_path / "data")]), {}, StageContext(workspace, "run"))
    assert (ref.summary["records"], ref.summary["aside"]) == (5, 4)
    assert next(read_records(ref.path / "records.parquet")).text == "the last of equal names counts"


def test_ten_thousand_columns_are_columns(tmp_path: Path) -> None:
    wide = ",".join(["text", *(f"c{n}" for n in range(10_000))])
    read = read_paths(write(tmp_path / "a.csv", f"{wide}\ngood{',x' * 10_000}\n"))
    assert [record.text for record in read.records] == ["good"]


def test_parquet_columns_that_are_not_text_are_set_aside_row_by_row(tmp_path: Path) -> None:
    columns = {"nested": [{"a": "x"}, None], "list": [["x"], []], "bytes": [b"\xff", b"text"], "zero": []}
    for name, values in columns.items():
        pq.write_table(pa.table({"text": values}), tmp_path / f"{name}.parquet")
    read = read_paths(tmp_path)
    assert [record.text for record in read.records] == ["text", "x"]  # bytes that are text, and a list of one line
    assert len(read.aside) == 4
    assert all(re.search("is not text but|with a value|not valid UTF-8", reason) for reason in read.reasons)


def test_content_in_parts_is_read_and_odd_turns_are_named(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}
    picture = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "http://x"}}]
    turns: list[object] = [
        [{"role": "developer", "content": "be kind"}, {"role": "user", "content": "hi"}, answer],
        [{"role": "user", "content": "hi"}, {"role": "tool", "content": "x"}, answer],
        [{"role": "user", "content": picture}, answer],
        [{"role": "user", "content": " "}, answer],
        [answer],
        [1],
        None,
    ]
    content = "\n".join(json.dumps({"messages": messages}) for messages in turns)
    read = read_paths(write(tmp_path / "a.jsonl", content))
    (record,) = read.records
    assert json.loads(record.meta)["messages"][::2] == [
        {"role": "system", "content": "be kind"},
        {"role": "assistant", "content": "one\ntwo"},
    ]
    reasons = [reason.removeprefix("not a usable conversation: ").split(";")[0] for reason in read.reasons]
    assert reasons == [
        "a conversation with tools (message 2 has the role 'tool')",
        "message 1 is not text alone",
        "message 1 is empty",
        "no message of an assistant that is to be learnt follows one of a user",
        "no list of messages",
        "no field 'text'",
    ]


ONE, TWO = '{"text": "one"}', '{"text": "two"}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", f"{ONE}{TWO}\n"),
        ("a.jsonl", f"{ONE}, {TWO},\n"),
        ("a.jsonl", f"[\n{ONE},\n{TWO}\n]\n"),
        ("a.jsonl", '{\n  "text": "one"\n}\n{\n  "text": "two"\n}\n'),
        ("a.jsonl", '"one"\n"two"\n'),
        ("a.json", '["one", "two"]'),
        ("a.json", '{"version": 1, "documents": ["one", "two"]}'),
        ("a.json", '{"text": {"0": "one", "1": "two"}, "n": {"0": 1, "1": 2}}'),
        ("a.json", '{"rows": [{"text": "one"}, {"text": "two"}]}'),
        ("a.json", f"{ONE}\n{TWO}\n"),
    ],
)
def test_rows_are_found_however_a_json_file_holds_them(tmp_path: Path, name: str, content: str) -> None:
    read = read_paths(write(tmp_path / name, content))
    assert ([record.text for record in read.records], read.aside) == (["one", "two"], [])
    assert len({record.id for record in read.records}) == 2


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("content", ["{}", '{"name": "x", "version": 3}', "{}\n{}\n"])
def test_a_file_of_no_known_fields_costs_no_other_file(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path / name, content)
    with pytest.raises(DataError, match="no column 'text'"):
        read_paths(tmp_path)
    write(tmp_path / "b.csv", "unknown,names\n1,2\n")
    write(tmp_path / "c.jsonl", f"{ONE}\n{{}}\n{TWO}\n")
    read = read_paths(tmp_path)
    assert [record.text for record in read.records] == ["one", "two"]
    assert {entry.source.split("/")[1] for entry in read.aside} == {name, "b.csv", "c.jsonl"}
