"""The corpus in parts, one per row group of the collected records: what worker processes do with each.

A part is written once with everything that can be said of a record by itself; what depends on other records comes
back to the parent as small arrays. Nothing here depends on which process does which part.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zen_pipeline.corpus.cleaning.cleaner import Cleaned, Cleaner
from zen_pipeline.corpus.duplicates.contamination import Matches, Protected, Window, window_hashes
from zen_pipeline.corpus.duplicates.exact import text_keys
from zen_pipeline.corpus.duplicates.minhash import MinHash, Signed
from zen_pipeline.corpus.duplicates.normal_form import Hashes, Integers, Texts, compared_text, normal_form
from zen_pipeline.corpus.expectations.judge import Gate
from zen_pipeline.corpus.kinds.kind_measures import KIND_COLUMNS, measure_kind
from zen_pipeline.corpus.profile.profile import Profile
from zen_pipeline.corpus.records import RECORD_SCHEMA, Record
from zen_pipeline.corpus.split import KINDS, NUMBER, position_bits
from zen_pipeline.corpus.validating.measures import measure, reasons
from zen_pipeline.settings.data import CleanSettings, ValidateConfig


@dataclass(frozen=True)
class Parts:
    """Where the collected records and their parts lie, and the settings.

    Attributes:
        source: records.parquet of collection.
        folder: where the parts are written.
        config: the settings of validation.
        gate: identity of what the suites set aside.
    """

    source: Path
    folder: Path
    config: ValidateConfig
    gate: str

    def path(self, index: int) -> Path:
        """The file of one part."""
        return self.folder / f"part{index:06}.parquet"

    def count(self) -> int:
        """How many parts there are."""
        return int(pq.read_metadata(self.source).num_row_groups)

    def size(self) -> tuple[int, int]:
        """Bytes of text in the collected records, and how many there are."""
        metadata = pq.read_metadata(self.source)
        column = RECORD_SCHEMA.get_field_index("text")
        groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
        return int(sum(group.column(column).total_uncompressed_size for group in groups)), int(metadata.num_rows)

    def read(self, index: int, *columns: str) -> pa.Table:
        """The named columns of one part; all of them when none is named."""
        return pq.read_table(self.path(index), columns=list(columns) or None)

    def kinds(self, index: int) -> npt.NDArray[np.int8]:
        """The kind of every record of one part, as its place in `KINDS`."""
        column = self.read(index, "kind").column("kind")
        return np.asarray(pc.index_in(column, value_set=pa.array(KINDS)).to_numpy(), np.int8)


class Prepared(NamedTuple):
    """What the parent learns of a part, an element per record unless said otherwise.

    Attributes:
        reasons: why each is set aside already; empty for those that are not.
        roles: number of the split that the record's file names, int8.
        groups: position of the record's group.
        keys: (2, records) uint64, the key of the text; zeros for what is set aside already.
        signed: MinHashes of those that are long enough; None when near duplicates are not looked for.
        changes: how many places each step of cleaning changed, in all.
        personal: how much personal data of each type was found, in all.
        failed: how many records do not meet each quality rule.
    """

    reasons: list[str]
    roles: npt.NDArray[np.int8]
    groups: Hashes
    keys: Hashes
    signed: Signed | None
    changes: Counter[str]
    personal: Counter[str]
    failed: Counter[str]


def prepare(task: tuple[Parts, int]) -> Prepared:
    """Read one row group of the collected records, clean and measure it, and write it as a part."""
    parts, index = task
    config = parts.config
    with pq.ParquetFile(parts.source) as file:
        collected = file.read_row_group(index)
    table, cleaned = _clean(collected, config.clean)
    del collected
    removed = np.array([c.changes.get("control", 0) for c in cleaned], np.int64)
    measures = measure(_arrow_texts(table.column("text")), removed)
    judged = {**measures, "kind": table.column("kind").to_numpy(zero_copy_only=False)}
    why = [limit or c.reason for limit, c in zip(reasons(judged, config), cleaned, strict=True)]
    for name, values in measures.items():
        table = table.append_column(name, pa.array(values))
    for name, column in _kind_measures(table).items():
        table = table.append_column(name, column)
    _pass_gate(parts, table, why)
    good = [place for place, reason in enumerate(why) if not reason]
    normal = Texts.of(_normal_forms(table, good))
    keys = np.zeros((2, len(why)), np.uint64)
    keys[:, good] = text_keys(normal)
    signed = None
    if config.near_duplicates.enabled:
        kinds = table.column("kind").to_pylist()
        compared = [n for n, place in enumerate(good) if kinds[place] in config.near_duplicates.kinds]
        signed = MinHash(config.near_duplicates).sign(
            Texts(normal.data, normal.starts[compared], normal.ends[compared])
        )
        signed = signed._replace(which=np.array([good[n] for n in compared], np.int64)[signed.which])
    table = table.append_column("reason", pa.array(why, pa.string()))
    pq.write_table(table, parts.path(index), compression="lz4")
    return Prepared(
        why,
        _roles(table),
        positions(table.column("group"), config.split_salt),
        keys,
        signed,
        changes=_total(c.changes for c in cleaned),
        personal=_total(c.personal for c in cleaned),
        failed=Counter(rule for c in cleaned for rule in c.failed),
    )


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        if each:
            total.update(each)
    return total


def _clean(collected: pa.Table, settings: CleanSettings) -> tuple[pa.Table, list[Cleaned]]:
    """The cleaned records with what cleaning measured, and what it says of each, without the records themselves."""
    cleaner = _cleaner(settings.model_dump_json())
    rows: list[tuple[Any, ...]] = []
    told: list[Cleaned] = []
    for values in zip(*(collected.column(name).to_pylist() for name in RECORD_SCHEMA.names), strict=True):
        cleaned = cleaner.clean(Record(*values))
        rows.append(_values(cleaned.record))
        told.append(cleaned._replace(record=_NOBODY))
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, RECORD_SCHEMA, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=RECORD_SCHEMA)
    for name, numbers in {
        "language_score": np.array([c.language_score for c in told], np.float32),
        "repaired": np.array([sum(c.changes.values()) for c in told], np.int32),
        "personal_count": np.array([sum(c.personal.values()) for c in told], np.int32),
        "failed_rules": np.array([len(c.failed) for c in told], np.int32),
    }.items():
        table = table.append_column(name, pa.array(numbers))
    return table, told


_NOBODY = Record("", "", "", "", "")
_values = attrgetter(*RECORD_SCHEMA.names)  # dataclasses.astuple copies every value


@lru_cache(maxsize=1)  # settings cannot be hashed, so their JSON stands for them
def _cleaner(settings: str) -> Cleaner:
    return Cleaner(CleanSettings.model_validate_json(settings))


def cleaned_text(record: Record, settings: CleanSettings) -> str:
    """The text of a record that is only compared with, cleaned like those that it is compared with."""
    return _cleaner(settings.model_dump_json()).clean(record).record.text


def _kind_measures(table: pa.Table) -> dict[str, pa.Array]:
    """What only some kinds have, one column each; null for records of other kinds."""
    types = {name: pa.float64() if holds == "number" else pa.string() for name, holds in KIND_COLUMNS.items()}
    if set(pc.unique(table.column("kind")).to_pylist()) <= {"document"}:
        return {name: pa.nulls(len(table), kind) for name, kind in types.items()}
    rows = zip(*(table.column(name).to_pylist() for name in ("kind", "meta", "text")), strict=True)
    measured = [measure_kind(kind, json.loads(meta), text) if kind != "document" else {} for kind, meta, text in rows]
    return {name: pa.array([m.get(name) for m in measured], kind) for name, kind in types.items()}


def _pass_gate(parts: Parts, table: pa.Table, why: list[str]) -> None:
    """Give a reason to each record that does not meet an expectation with the action `set_aside`."""
    gate = _gate(parts.config.suites, parts.gate)
    if gate.is_open:
        return
    places = [place for place, reason in enumerate(why) if not reason]
    frame = table.drop_columns(["text", "meta"]).take(pa.array(places, pa.int64())).to_pandas()
    for place, reason in gate.set_aside(frame.set_index(np.array(places, np.int64))).items():
        why[place] = reason


@lru_cache(maxsize=1)  # loading Great Expectations takes seconds
def _gate(folder: str | None, _identity: str) -> Gate:
    return Gate(folder)


def profile_part(task: tuple[Parts, int, Integers]) -> Profile:
    """The counts of some records of a part."""
    parts, index, places = task
    profile = Profile()
    for row in parts.read(index, "text", "source", "language", "kind").take(pa.array(places)).to_pylist():
        profile.add(Record("", "", **row))  # of which it counts these alone
    return profile


def _arrow_texts(column: pa.ChunkedArray) -> Texts:
    """The buffers of a column of `large_string`, without a copy when it is in one chunk."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return Texts(content, ends[:-1], ends[1:])


def _normal_forms(table: pa.Table, places: Sequence[int]) -> list[str]:
    """The normal forms of the compared texts of some rows, without building whole records where text is enough."""
    chosen = table.select(["text", "meta"]).take(pa.array(places, pa.int64()))
    rows = zip(chosen.column("text").to_pylist(), chosen.column("meta").to_pylist(), strict=True)
    return [normal_form(compared_text(text, meta)) for text, meta in rows]


def _roles(table: pa.Table) -> npt.NDArray[np.int8]:
    return np.array([NUMBER.get(split, 0) for split in table.column("split").to_pylist()], np.int8)


def positions(names: pa.ChunkedArray, salt: str) -> Hashes:
    """Where each name falls; each distinct one is hashed once."""
    encoded = names.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    hashed = np.array([position_bits(name, salt) for name in encoded.dictionary.to_pylist()], np.uint64)
    return hashed[encoded.indices.to_numpy(zero_copy_only=False)] if len(hashed) else hashed


def id_positions(task: tuple[Parts, int]) -> Hashes:
    """Where each record falls by its own id."""
    parts, index = task
    return positions(parts.read(index, "id").column("id"), parts.config.split_salt)


def protected_windows(task: tuple[Parts, int, Integers]) -> tuple[Hashes, Integers]:
    """The windows of some records of a part, and how many each has."""
    parts, index, places = task
    texts = _part_texts(parts, index, places)
    return window_hashes(texts, Window.of(parts.config.contamination))


def protected_matches(task: tuple[Parts, int, Integers]) -> Matches:
    """What some records of a part share with what `Protected.save` wrote into the folder of the parts."""
    parts, index, places = task
    texts = _part_texts(parts, index, places)
    return Protected.open(parts.folder).look_up(texts, Window.of(parts.config.contamination))


def _part_texts(parts: Parts, index: int, places: Integers) -> Texts:
    texts = parts.read(index, "text").column("text").take(pa.array(places))
    return Texts.of([normal_form(text) for text in texts.to_pylist()])
