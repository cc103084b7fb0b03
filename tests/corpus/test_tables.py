"""JSON lines, CSV and parquet: every row is a record or is set aside with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.reading_files import text_file
from zen_pipeline.corpus.reading.columnar import read_parquet
from zen_pipeline.corpus.reading.csv_files import read_csv
from zen_pipeline.corpus.reading.opening import TextFile
from zen_pipeline.corpus.reading.tables import Shape, read_jsonl
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.errors import DataError

Reader = Callable[[TextFile, Shape], Iterator[Record | Aside]]


def read(reader: Reader, path: Path, column: str = "text") -> tuple[list[Record], list[Aside]]:
    entries = list(reader(text_file(path), Shape(column)))
    return [e for e in entries if isinstance(e, Record)], [e for e in entries if isinstance(e, Aside)]


def jsonl(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
    return path


CHATS: list[dict[str, object]] = [
    {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]},
    {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]},
    {"instruction": "Hi?", "input": "", "output": "Hello."},
    {"prompt": "Hi?", "response": "Hello."},
    {"question": "Hi?", "answer": "Hello."},
]


@pytest.mark.parametrize("row", CHATS)
def test_every_known_chat_shape_gives_the_same_messages(tmp_path: Path, row: dict[str, object]) -> None:
    (record,), aside = read(read_jsonl, jsonl(tmp_path, row))
    assert not aside
    assert record.kind == "chat"
    assert json.loads(record.meta) == {
        "messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    }
    assert record.text == "User: Hi?\n\nAssistant: Hello."


def test_an_alpaca_input_follows_its_instruction(tmp_path: Path) -> None:
    (record,), _ = read(read_jsonl, jsonl(tmp_path, {"instruction": "Add.", "input": "1 and 2", "output": "3"}))
    assert json.loads(record.meta)["messages"][0]["content"] == "Add.\n\n1 and 2"


def test_broken_lines_are_set_aside_with_their_numbers_and_nothing_else_is_lost(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        b'\xef\xbb\xbf{"text": "first"}\r',
        b'{"text": "half',
        b"",
        b'{"text": "bad \xff byte"}',
        b"[1, 2]",
        {"text": 5},
        {"body": "elsewhere"},
        b'{"text": "lone \\ud800 surrogate"}',
        b"[" * 100_000,
        {"text": "last"},
    )
    records, aside = read(read_jsonl, path)
    assert [(r.id, r.text) for r in records] == [("a.jsonl#1", "first"), ("a.jsonl#10", "last")]
    assert [a.where for a in aside] == [f"line {n}" for n in (2, 4, 5, 6, 7, 8, 9)]
    reasons = " | ".join(a.reason for a in aside)
    for expected in ("not JSON", "byte 0xFF", "not a JSON object but list", "not text but int", "no field 'text'"):
        assert expected in reasons


def test_a_conversation_without_an_answer_is_set_aside(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "Hi?"}]},
        {"messages": []},
        {"messages": [{"role": "wizard", "content": "Hi?"}, {"role": "assistant", "content": "x"}]},
        {"prompt": "Hi?", "response": ""},
        {"messages": "text"},
    ]
    records, aside = read(read_jsonl, jsonl(tmp_path, *rows))
    assert (records, len(aside)) == ([], 5)


def test_rows_of_equal_content_have_equal_groups_wherever_they_stand(tmp_path: Path) -> None:
    records, _ = read(read_jsonl, jsonl(tmp_path, {"text": "a"}, {"text": "b"}, {"text": "a"}))
    assert records[0].group == records[2].group != records[1].group


def test_a_group_field_keeps_rows_together(tmp_path: Path) -> None:
    records, _ = read(read_jsonl, jsonl(tmp_path, {"text": "a", "group": 7}, {"text": "b", "group": 7}))
    assert {r.group for r in records} == {"a.jsonl/7"}


def parquet(tmp_path: Path, **columns: list[object]) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_missing_column_is_an_error_that_names_those_that_exist(tmp_path: Path, suffix: str) -> None:
    paths = {
        "jsonl": lambda: jsonl(tmp_path, {"title": "t", "body": "b"}),
        "csv": lambda: (tmp_path / "a.csv", (tmp_path / "a.csv").write_text("title,body\nt,b\n"))[0],
        "parquet": lambda: parquet(tmp_path, title=["t"], body=["b"]),
    }
    reader: Reader = {"jsonl": read_jsonl, "csv": read_csv, "parquet": read_parquet}[suffix]
    path = paths[suffix]()
    with pytest.raises(DataError, match=rf"a\.{suffix} has no column 'content'; its columns are title, body"):
        read(reader, path, "content")
    records, _ = read(reader, path, "body")
    assert [r.text for r in records] == ["b"]


def test_csv_with_quotes_marks_and_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines, ""quoted"""\r\n2\r\n\r\n3,b\xe4d\r\n4,good\r\n')
    records, aside = read(read_csv, path)
    assert [r.text for r in records] == ['two\r\nlines, "quoted"', "good"]
    assert [(a.where, a.reason.split(":")[0]) for a in aside] == [
        ("line 4", "1 cells where the header has 2"),
        ("line 6", "not valid UTF-8 (byte 0xE4)"),
    ]


def test_a_nul_byte_loses_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\nabc\0def\nthe row after it\n")
    records, aside = read(read_csv, path)
    assert [r.text for r in records] == ["the row after it"]
    assert [(a.where, a.reason) for a in aside] == [("line 2", "NUL byte")]


def test_parquet_rows_with_nulls_are_set_aside(tmp_path: Path) -> None:
    records, aside = read(read_parquet, parquet(tmp_path, text=["a", None, "b"]))
    assert [r.text for r in records] == ["a", "b"]
    assert [(a.where, a.reason) for a in aside] == [("row 2", "no field 'text' with a value")]


@pytest.mark.parametrize("keep", [0, 4, 100])
def test_an_unreadable_parquet_file_is_set_aside(tmp_path: Path, keep: int) -> None:
    path = parquet(tmp_path, text=["some text"] * 1000)
    path.write_bytes(path.read_bytes()[:keep])
    records, aside = read(read_parquet, path)
    assert not records
    assert "not a readable parquet file" in aside[0].reason


@pytest.mark.parametrize("reader", [read_jsonl, read_csv])
def test_an_empty_table_gives_nothing(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert read(reader, path) == ([], [])
