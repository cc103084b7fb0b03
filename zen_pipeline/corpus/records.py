"""The record: one document or one chat, and the parquet files that hold records and what was set aside.

Every source becomes rows of one schema, so that nothing after collection knows where a text came from. Texts use
Arrow's `large_string` (64-bit offsets): a row group may hold more than 2 GiB of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from zen_pipeline.settings.data import RecordKind

SPLITS = ("train", "valid", "test")
Kind = RecordKind

_ROWS = 8192  # rows per row group, or
_TEXT = 16 << 20  # characters per row group, whichever comes first: bounds the memory of a reader
_DISTINCT = ("id", "text", "meta")  # columns whose values hardly repeat, so that a dictionary only costs


@dataclass(frozen=True, slots=True)
class Record:
    """One piece of text with its origin.

    Attributes:
        id: unique in the corpus, and the same in the next run.
        group: records of one group are always in the same split.
        text: what a base model is trained on; for other kinds than documents a readable rendering.
        source: the file, or the module, that it comes from.
        language: two-letter code, or `und`: collection says what the data names, cleaning finds out the rest.
        split: the role that the file's name gives; None where validation decides.
        kind: what it is; see `zen_pipeline.corpus.kinds.kinds`.
        meta: JSON object with the structured fields of the kind: a chat has its `messages` there.
    """

    id: str
    group: str
    text: str
    source: str
    language: str
    split: str | None = None
    kind: Kind = "document"
    meta: str = "{}"


@dataclass(frozen=True, slots=True)
class Aside:
    """Something that could not become a record: where it was and why, and how many rows it stands for.

    Attributes:
        not_learnt: it was read well; what it holds must not be learnt, or no model here can learn it.
    """

    source: str
    where: str
    reason: str
    excerpt: str
    rows: int = 1
    not_learnt: bool = False


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that validation did not keep."""

    id: str
    group: str
    reason: str
    excerpt: str


def _schema(**types: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


_S = pa.string()
RECORD_SCHEMA = _schema(
    id=_S, group=_S, text=pa.large_string(), source=_S, language=_S, split=_S, kind=_S, meta=pa.large_string()
)
ASIDE_SCHEMA = _schema(source=_S, where=_S, reason=_S, excerpt=_S, rows=pa.int64(), not_learnt=pa.bool_())
SET_ASIDE_SCHEMA = _schema(id=_S, group=_S, reason=_S, excerpt=_S)

Row = TypeVar("Row", Record, Aside, SetAside)


class RowWriter(Generic[Row]):
    """Writes dataclass rows to one parquet file in row groups; a context manager.

    The file is complete only after the block ends without an exception.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._values = attrgetter(*schema.names)  # dataclasses.astuple copies every value
        repeated = [name for name in schema.names if name not in _DISTINCT]
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated)
        self._rows: list[tuple[Any, ...]] = []
        self._size = 0
        self.count = 0

    def __enter__(self) -> RowWriter[Row]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def write(self, row: Row) -> None:
        """Add one row."""
        self._rows.append(self._values(row))
        self._size += len(row.text) + len(row.meta) if isinstance(row, Record) else 0
        self.count += 1
        if len(self._rows) >= _ROWS or self._size >= _TEXT:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = list(zip(*self._rows, strict=True))
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._size = [], 0


def record_writer(path: Path) -> RowWriter[Record]:
    """A writer of records.parquet."""
    return RowWriter(path, RECORD_SCHEMA)


def aside_writer(path: Path) -> RowWriter[Aside]:
    """A writer of collection's aside.parquet."""
    return RowWriter(path, ASIDE_SCHEMA)


def set_aside_writer(path: Path) -> RowWriter[SetAside]:
    """A writer of validation's set_aside.parquet."""
    return RowWriter(path, SET_ASIDE_SCHEMA)


def read_records(path: Path, *, kind: Kind | None = None, split: str | None = None) -> Iterator[Record]:
    """The records of a parquet file in order, one row group in memory at a time.

    Args:
        path: a file with the columns of `Record`.
        kind: only records of this kind.
        split: only records of this split.
    """
    for columns in read_columns(path, *RECORD_SCHEMA.names):
        for values in zip(*columns, strict=True):
            record = Record(*values)
            if (kind is None or record.kind == kind) and (split is None or record.split == split):
                yield record


def base_kind(path: Path) -> Kind | None:
    """The kind of record that a base model reads: documents where there are some, else None for every kind there is.

    A corpus of conversations, questions or pairs alone is read as the text that renders them.
    """
    found = any("document" in kinds for (kinds,) in read_columns(path, "kind"))
    return "document" if found else None


def read_columns(path: Path, *names: str) -> Iterator[list[list[Any]]]:
    """The named columns as lists of equal length, row group by row group."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            table = file.read_row_group(index, columns=list(names))
            yield [table.column(name).to_pylist() for name in names]


_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_DIGITS = re.compile(r"\d(?:[ -]?\d){5,}")


def excerpt(text: str, length: int = 80) -> str:
    """One line of at most `length` characters that may be shown: e-mails and runs of six or more digits masked."""
    # Masked before it is cut, or half an address would escape; the head is enough, whatever the length of the text.
    head = text[: length * 8].encode("utf-8", "replace").decode("utf-8")
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    line = _DIGITS.sub("<number>", _EMAIL.sub("<e-mail>", line))
    shortened = len(line) > length or len(text) > length * 8
    return line[: length - 1].rstrip() + "…" if shortened else line
