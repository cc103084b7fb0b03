"""What is measured of each record, and the limits beyond which it is set aside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline.corpus.kind_measures import KIND_COLUMNS, Measured, measure_kind
from zen_pipeline.corpus.records import Record
from zen_pipeline.settings.data import ValidateConfig

if TYPE_CHECKING:
    import pandas as pd

_CONTROL = bytes(b for b in range(32) if b not in b"\t\n\r\f") + b"\x7f"
_DIGITS = b"0123456789"


@dataclass(frozen=True, slots=True)
class Measures:
    """One row of measures.parquet. Shares are of the record's characters.

    Attributes:
        reason: why the record was set aside, without its particulars; empty for a record that was kept.
        duplicate_of: id of the first record with the same text; empty for that one.
        of_kind: what only its kind has, by the columns of `KIND_COLUMNS`.
    """

    id: str
    group: str
    source: str
    language: str
    kind: str
    split: str
    characters: int
    bytes: int
    words: int
    longest_line: int
    replacement_share: float
    control_share: float
    digit_share: float
    duplicate_of: str
    reason: str
    of_kind: Measured = field(default_factory=dict)


def measure(record: Record, *, duplicate_of: str | None, config: ValidateConfig) -> Measures:
    """All measures of one record; `split` is filled in later."""
    encoded = record.text.encode("utf-8", "surrogatepass")
    characters = max(len(record.text), 1)
    shares = {
        "replacement_share": record.text.count("\ufffd") / characters,
        "control_share": _count(encoded, _CONTROL) / characters,
        "digit_share": _count(encoded, _DIGITS) / characters,
    }
    return Measures(
        id=record.id,
        group=record.group,
        source=record.source,
        language=record.language,
        kind=record.kind,
        split=record.split or "",
        characters=len(record.text),
        bytes=len(encoded),
        words=len(record.text.split()),
        longest_line=max(map(len, record.text.split("\n"))),
        duplicate_of=duplicate_of or "",
        reason=_reason(len(record.text.strip()), shares, duplicate_of, config),
        of_kind=measure_kind(record.kind, json.loads(record.meta), record.text),
        **shares,
    )


def _count(encoded: bytes, which: bytes) -> int:
    return len(encoded) - len(encoded.translate(None, which))  # at the speed of a copy


def _reason(characters: int, shares: dict[str, float], duplicate_of: str | None, config: ValidateConfig) -> str:
    if characters < config.min_characters or characters == 0:
        return "too short"
    if characters > config.max_characters:
        return "too long"
    if shares["replacement_share"] > config.max_replacement_share:
        return "too many replacement characters"
    if shares["control_share"] > config.max_control_share:
        return "too many control characters"
    if duplicate_of is not None and config.deduplicate:
        return "duplicate"
    return ""


def explain(measures: Measures, config: ValidateConfig) -> str:
    """The reason with the figures of this record."""
    found = {
        "too short": f"too short: {measures.characters} characters, at least {config.min_characters}",
        "too long": f"too long: {measures.characters} characters, at most {config.max_characters}",
        "too many replacement characters": f"too many replacement characters: {measures.replacement_share:.1%}",
        "too many control characters": f"too many control characters: {measures.control_share:.1%}",
        "duplicate": f"duplicate of {measures.duplicate_of}",
    }
    return found.get(measures.reason, measures.reason)  # an expectation's reason says it all


def to_frame(rows: list[Measures]) -> pd.DataFrame:
    """The measures as a frame, one row per record; the columns of other kinds are empty."""
    import pandas as pd

    own = [name for name in Measures.__dataclass_fields__ if name != "of_kind"]
    frame = pd.DataFrame([{name: getattr(row, name) for name in own} for row in rows], columns=own)
    for name, holds in KIND_COLUMNS.items():
        values = [row.of_kind.get(name) for row in rows]
        frame[name] = pd.Series(values, index=frame.index, dtype="float64" if holds == "number" else "object")
    return frame


def write_measures(frame: pd.DataFrame, path: Path) -> None:
    """Write measures.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, compression="zstd")
