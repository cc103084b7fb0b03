"""Parquet and Arrow files: what one value, page or column is costs no other, and every row is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.corpus.reading_files import read_paths
from zen_pipeline.corpus.reading.opening import Limits
from zen_pipeline.corpus.reading.tables import Shape


def _stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _feather(table: pa.Table, path: Path) -> None:
    pyarrow.feather.write_feather(table, str(path), compression="zstd")


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "a.parquet": lambda table, path: pq.write_table(table, path),
    "a.feather": _feather,
    "a.arrow": _stream,
}
TEXTS = [f"The sentence with the number {n}." for n in range(600)]


def invalid(texts: list[str], place: int) -> pa.Array:
    """The texts as a column of strings of which one is no UTF-8."""
    content = [text.encode() for text in texts]
    content[place] = b"b\xe4d"
    return pa.array(content, pa.binary()).view(pa.string())


@pytest.mark.parametrize("name", WRITERS)
def test_an_invalid_string_costs_its_row(tmp_path: Path, name: str) -> None:
    WRITERS[name](pa.table({"text": invalid(TEXTS, 300)}), tmp_path / name)
    read = read_paths(tmp_path / name)
    assert [record.text for record in read.records] == TEXTS[:300] + TEXTS[301:]
    assert [(entry.where, entry.rows) for entry in read.aside] == [("row 301", 1)]


FAR = pa.array([2**62, 0], pa.timestamp("us"))
ODD = pa.array([0, 0], pa.timestamp("us", tz="GMT+02:00"))
BESIDE: dict[str, pa.Array] = {
    "far": FAR,
    "odd": ODD,
    "bad": invalid(["x", "y"], 0),
    "vector": pa.array([[0.5] * 3, None]),
    "pairs": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    "price": pa.array([None, 1], pa.decimal128(38, 2)),
    "nothing": pa.nulls(2),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("column", BESIDE)
def test_a_column_that_nobody_asks_for_does_not_matter(tmp_path: Path, name: str, column: str) -> None:
    WRITERS[name](pa.table({"text": TEXTS[:2], column: BESIDE[column]}), tmp_path / name)
    read = read_paths(tmp_path / name)
    assert ([record.text for record in read.records], read.aside) == (TEXTS[:2], [])


@pytest.mark.parametrize(("dates", "reason"), [(FAR, "cannot be read"), (ODD, "cannot be read|not text but datetime")])
def test_a_date_that_is_asked_for_is_a_reason_and_no_error(tmp_path: Path, dates: pa.Array, reason: str) -> None:
    pq.write_table(pa.table({"made": dates}), tmp_path / "a.parquet")
    read = read_paths(tmp_path / "a.parquet", shape=Shape(text_column="made"))
    assert (read.records, len(read.aside)) == ([], 2)
    assert any(part in read.reasons[0] for part in reason.split("|"))


def test_a_far_date_inside_a_message_does_not_matter(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi?", "at": 2**62}, {"role": "assistant", "content": "Hello.", "at": 1}]
    kind = pa.struct([("role", pa.string()), ("content", pa.string()), ("at", pa.timestamp("us"))])
    pq.write_table(pa.table({"messages": pa.array([messages], pa.list_(kind))}), tmp_path / "a.parquet")
    assert [record.kind for record in read_paths(tmp_path / "a.parquet").records] == ["chat"]


@pytest.mark.parametrize(
    "kind",
    [pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()],
)
def test_texts_of_every_type_are_texts(tmp_path: Path, kind: pa.DataType) -> None:
    texts = ["one", "zwei", "三", "one"]
    column = pa.array(texts).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(texts).cast(kind)
    pyarrow.feather.write_feather(pa.table({"text": column}), str(tmp_path / "a.feather"))
    assert [record.text for record in read_paths(tmp_path / "a.feather").records] == texts


ROWS: list[dict[str, Any]] = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3", "system": "Be short.", "history": [["Hi?", "Hello."]]},
    {
        "conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}],
        "system": "s",
        "tools": "t",
    },
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
    {"prompt": "a", "completion": "b", "label": False},
    {"prompt": "a", "chosen": "b", "rejected": "c", "train": False},
    {"instruction": "Who?", "context": "Ann came.", "response": "Ann", "category": "qa"},
    {"question": "Who?", "context": "Ann came.", "answers": {"text": ["Ann"], "answer_start": [0]}},
    {"premise": "It rains.", "hypothesis": "It is wet.", "label": 1},
    {"source": "Hi.", "target": "Hallo.", "source_lang": "en", "target_lang": "de", "score": 0.5},
    {"en": "Hi.", "fr": "Salut."},
    {"translation": {"en": "Hi.", "de": "Hallo."}},
    {"content": "A page.", "url": "http://x"},
    {"标签": "好", "文本": "很好"},
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row))
def test_a_row_means_the_same_in_parquet_and_in_json(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    by_json, by_parquet = (read_paths(tmp_path / f"a.{form}") for form in ("jsonl", "parquet"))
    assert [(r.kind, r.text, r.meta) for r in by_parquet.records] == [(r.kind, r.text, r.meta) for r in by_json.records]
    assert by_parquet.reasons == by_json.reasons
    assert by_parquet.tally is not None
    assert by_json.tally is not None
    assert by_parquet.tally.unused == by_json.tally.unused


def test_a_damaged_page_costs_the_rest_of_its_row_group_and_all_its_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS}), path, row_group_size=200, compression="gzip", use_dictionary=False)
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    content[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(content)
    read = read_paths(path)
    assert [record.text for record in read.records] == TEXTS[:200] + TEXTS[400:]
    assert sum(entry.rows for entry in read.aside) == 200


def test_a_few_bytes_that_stand_for_gigabytes_are_not_unfolded(tmp_path: Path) -> None:
    long = pa.array(["x" * 100_000]).dictionary_encode().dictionary
    runs = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), long)
    pq.write_table(pa.table({"text": runs}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    read = read_paths(tmp_path / "a.parquet", limits=Limits(free=2 << 20))
    assert len(read.records) <= 20
    assert len(read.records) + sum(entry.rows for entry in read.aside) == 50_000
    assert "times its compressed size" in read.reasons[-1]


def test_a_long_column_that_nobody_asks_for_is_not_unfolded(tmp_path: Path) -> None:
    beside = pa.DictionaryArray.from_arrays(pa.array([0] * 600, pa.int32()), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"text": TEXTS, "html": beside}), tmp_path / "a.parquet", compression="zstd")
    assert len(read_paths(tmp_path / "a.parquet", limits=Limits(free=1 << 20)).records) == 600
