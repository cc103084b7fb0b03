"""Write the parts of a corpus as what is kept and what is set aside, with the measures of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zen_pipeline.corpus.duplicates.contamination import Window, run_in
from zen_pipeline.corpus.duplicates.exact import NO_ROW
from zen_pipeline.corpus.duplicates.normal_form import Integers
from zen_pipeline.corpus.kinds.kind_measures import KIND_COLUMNS
from zen_pipeline.corpus.records import RECORD_SCHEMA, SPLITS, SetAside, excerpt, set_aside_writer
from zen_pipeline.corpus.validating.measures import explain
from zen_pipeline.corpus.validating.parts import Parts
from zen_pipeline.corpus.validating.record_status import CONTAMINATED, DUPLICATE, NEAR_DUPLICATE, RecordStates

_RUN = 120  # characters of a run that is shown
MEASURES = (
    "id", "group", "source", "language", "kind", "split", "characters", "bytes", "words", "longest_line",
    "replacement_share", "control_share", "digit_share", "language_score", "repaired", "personal_count", "failed_rules",
    "duplicate_of", "similarity", "reason", *KIND_COLUMNS,
)  # fmt: skip
_ROWS, _TEXT = 8192, 16 << 20  # of a row group, whichever comes first; the same as when records are collected


class GroupedWriter:
    """A parquet file whose row groups are filled from tables of any size; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []
        self._rows = self._size = 0

    def __enter__(self) -> GroupedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Append rows; all tables must have the same schema."""
        self._tables.append(table)
        self._rows += table.num_rows
        self._size += table.nbytes
        if self._rows >= _ROWS or self._size >= _TEXT:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        whole = pa.concat_tables(self._tables)
        self._tables, self._rows, self._size = [], 0, 0
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, whole.schema, compression="zstd")
        if whole.num_rows:
            self._writer.write_table(whole)


class Names:
    """The ids of some rows."""

    def __init__(self, parts: Parts, states: RecordStates, rows: Integers) -> None:
        self._rows = np.unique(rows[rows >= 0])
        found = []
        for index, part in enumerate(states.parts()):
            first, last = np.searchsorted(self._rows, [part.start, part.stop])
            if first < last:
                ids = parts.read(index, "id").column("id")
                found.append(ids.take(pa.array(self._rows[first:last] - part.start)))
        self._ids = pa.chunked_array([c for ids in found for c in ids.chunks], pa.string()).combine_chunks()

    def of(self, rows: Integers) -> pa.Array:
        """The id of each row; empty for -1."""
        places = np.searchsorted(self._rows, rows)
        return pc.fill_null(self._ids.take(pa.array(places, mask=rows == NO_ROW)), "")


class Dividing:
    """Counts what is written, for the summary and the report.

    Attributes:
        totals: bytes, characters and words of what is kept.
        split_bytes: bytes of what is kept, by split.
        kinds: records that are kept, by kind.
        languages: the same by language.
    """

    def __init__(self, parts: Parts, states: RecordStates, evaluation_ids: Sequence[str]) -> None:
        self._parts, self._states, self._evaluation_ids = parts, states, evaluation_ids
        owners = states.verdicts.owners
        self._names = Names(parts, states, np.concatenate([states.originals[states.originals != NO_ROW], owners]))
        self.totals = dict.fromkeys(("bytes", "characters", "words"), 0)
        self.split_bytes = dict.fromkeys(SPLITS, 0)
        self.kinds: dict[str, int] = {}
        self.languages: dict[str, int] = {}

    def write(self, output: Path) -> None:
        """Write records.parquet, set_aside.parquet and measures.parquet."""
        with (
            GroupedWriter(output / "records.parquet") as keep,
            GroupedWriter(output / "measures.parquet") as measured,
            set_aside_writer(output / "set_aside.parquet") as aside,
        ):
            for index, rows in enumerate(self._states.parts()):
                table = self._decided(index, rows)
                stays = self._states.kept[rows]
                kept = table.filter(pa.array(stays))
                self._count(kept)
                keep.write(kept.select(RECORD_SCHEMA.names))
                measured.write(table.select(MEASURES))
                for row in self._set_aside(table, rows.start, np.flatnonzero(~stays)):
                    aside.write(row)

    def _decided(self, index: int, rows: slice) -> pa.Table:
        """A part with the columns that depend on other records."""
        states = self._states
        table = self._parts.read(index)
        for name, values in {
            "split": _labels(states.splits[rows], ["", *SPLITS]),
            "reason": _labels(states.reasons[rows], states.names),
            "duplicate_of": self._names.of(states.originals[rows]),
            "similarity": pa.array(states.likeness[rows]),
        }.items():
            if (place := table.schema.get_field_index(name)) < 0:
                table = table.append_column(name, values)
            else:
                table = table.set_column(place, name, values)
        return table

    def _count(self, kept: pa.Table) -> None:
        for name in self.totals:
            self.totals[name] += pc.sum(kept.column(name)).as_py() or 0
        for name, counts in (("kind", self.kinds), ("language", self.languages)):
            for entry in pc.value_counts(kept.column(name)).to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        sizes = kept.group_by("split").aggregate([("bytes", "sum")]).to_pylist()
        for entry in sizes:
            self.split_bytes[entry["split"]] += entry["bytes_sum"]

    def _set_aside(self, table: pa.Table, first: int, places: Integers) -> list[SetAside]:
        chosen = table.take(pa.array(places)).to_pylist()
        return [
            SetAside(row["id"], row["group"], self._explain(row, first + place), excerpt(row["text"]))
            for row, place in zip(chosen, places.tolist(), strict=True)
        ]

    def _explain(self, row: dict[str, Any], number: int) -> str:
        if row["reason"] == DUPLICATE:
            return f"duplicate of {row['duplicate_of']}"
        if row["reason"] == NEAR_DUPLICATE:
            return f"near duplicate of {row['duplicate_of']} (similarity {row['similarity']:.2f})"
        if row["reason"] == CONTAMINATED:
            return self._explain_contaminated(number, row["text"])
        return explain(row["reason"], row, self._parts.config)

    def _explain_contaminated(self, number: int, text: str) -> str:
        verdicts = self._states.verdicts
        place = int(np.searchsorted(verdicts.rows, number))
        owner = int(verdicts.owners[place])
        name = self._evaluation_ids[-1 - owner] if owner < 0 else self._names.of(np.array([owner]))[0].as_py()
        settings = self._parts.config.contamination
        run = run_in(text, verdicts.runs[place], Window.of(settings))
        return (
            f"contaminated: {verdicts.shared[place]} of {verdicts.windows[place]} runs of {settings.words} words are "
            f"in test data, most of them in {name}, such as “{excerpt(run, _RUN)}”"
        )


def _labels(numbers: Any, names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(names, pa.string())).cast(pa.string())
