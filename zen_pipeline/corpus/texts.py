"""The texts of kept records, row group by row group, with only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zen_pipeline.corpus.split import position

_SALT = "sample"  # another one than that of the splits, or a share would be taken from one of them
_COLUMNS = ["id", "split", "language", "kind", "text"]


class TextRows(NamedTuple):
    """Some records in order, column by column."""

    ids: list[str]
    splits: list[str]
    languages: list[str]
    texts: list[str]


def read_texts(
    records: Path, *, kind: str | None = None, split: str | None = None, row_groups: range | None = None
) -> Iterator[TextRows]:
    """The records of each row group that have the kind and the split.

    Args:
        records: parquet file with the columns of `Record`.
        kind: only records of this kind; None for all.
        split: only records of this split; None for all.
        row_groups: only these row groups; None for all.
    """
    with pq.ParquetFile(records) as file:
        for index in range(file.num_row_groups) if row_groups is None else row_groups:
            table = _chosen(file.read_row_group(index, columns=_COLUMNS), kind, split)
            yield TextRows(*(table.column(name).to_pylist() for name in ("id", "split", "language", "text")))


def row_group_ranges(records: Path, size: int) -> list[range]:
    """Consecutive row groups, in ranges that hold `size` bytes of text or a little more; the last may hold less."""
    ranges: list[range] = []
    first, held = 0, 0
    with pq.ParquetFile(records) as file:
        column = file.schema_arrow.get_field_index("text")
        groups = file.metadata.num_row_groups
        for index in range(groups):
            held += file.metadata.row_group(index).column(column).total_uncompressed_size
            if held >= size or index == groups - 1:
                ranges.append(range(first, index + 1))
                first, held = index + 1, 0
    return ranges


def text_bytes(records: Path, *, kind: str | None = None, split: str = "train") -> int:
    """UTF-8 bytes of the texts of one split."""
    total = 0
    with pq.ParquetFile(records) as file:
        for index in range(file.num_row_groups):
            table = _chosen(file.read_row_group(index, columns=["split", "kind", "text"]), kind, split)
            total += pc.sum(pc.binary_length(table.column("text"))).as_py() or 0
    return total


def draw_texts(records: Path, share: float, *, kind: str | None = None, split: str = "train") -> Iterator[str]:
    """A share of the texts: those whose ids fall low, so the same ones every time, from all over the corpus."""
    for part in read_texts(records, kind=kind, split=split):
        if share >= 1.0:
            yield from part.texts
        else:
            yield from (t for name, t in zip(part.ids, part.texts, strict=True) if position(name, _SALT) < share)


def _chosen(table: pa.Table, kind: str | None, split: str | None) -> pa.Table:
    for column, value in (("kind", kind), ("split", split)):
        if value is not None:
            table = table.filter(pc.equal(table.column(column), value))
    return table
