"""Validate: set bad records aside and divide the good ones; the suites then judge whether they may be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.corpus.deduplicate import SeenTexts
from zen_pipeline.corpus.expectations.judging import Gate
from zen_pipeline.corpus.expectations.suites import set_aside_identity
from zen_pipeline.corpus.measures import Measures, explain, measure, to_frame, write_measures
from zen_pipeline.corpus.profile import Profile
from zen_pipeline.corpus.records import (
    SPLITS,
    SetAside,
    excerpt,
    read_columns,
    read_records,
    record_writer,
    set_aside_writer,
)
from zen_pipeline.corpus.split import assign
from zen_pipeline.errors import DataError
from zen_pipeline.logs import get_logger
from zen_pipeline.settings.data import ValidateConfig
from zen_pipeline.stages.base import Inputs, Stage, StageContext, always
from zen_pipeline.stages.judge_data import judge_data
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

STAGE_VERSION = 2

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, _context: StageContext) -> Built:
    """Write records.parquet, set_aside.parquet, measures.parquet and profile.json.

    Raises:
        DataError: too few records are left to divide.
    """
    settings = config.validate_
    collected = inputs["collect"].path
    measured = _pass_gate(_measure_all(collected, settings), settings)
    unreadable = _unreadable(collected)
    kept = [m for m in measured if not m.reason]
    if not kept:
        raise DataError(_nothing_left(measured, unreadable, settings))
    splits = assign(
        ((m.id, m.group, m.split or None) for m in kept),
        validation_fraction=settings.validation_fraction,
        test_fraction=settings.test_fraction,
        salt=settings.split_salt,
    )
    measured = [m if m.reason else replace(m, split=splits.of(m.id, m.group, m.split or None)) for m in measured]
    _divide(collected, measured, settings, output)
    frame = to_frame(measured)
    write_measures(frame, output / "measures.parquet")
    summary = _summary(frame, unreadable) | {"notes": list(splits.notes)}
    _tell(summary)
    return Built("records", summary)


def _measure_all(collected: Path, settings: ValidateConfig) -> list[Measures]:
    seen = SeenTexts()
    return [
        measure(record, duplicate_of=seen.duplicate_of(record), config=settings)
        for record in read_records(collected / "records.parquet")
    ]


def _pass_gate(measured: list[Measures], settings: ValidateConfig) -> list[Measures]:
    """Set aside what does not meet an expectation with that action."""
    frame = to_frame([m for m in measured if not m.reason])
    reasons = {frame.at[row, "id"]: reason for row, reason in Gate(settings.suites).set_aside(frame).items()}
    return [replace(m, reason=reasons[m.id]) if m.id in reasons else m for m in measured]


def _unreadable(collected: Path) -> list[tuple[str, str, str]]:
    """What collection set aside: (place, reason, excerpt)."""
    return [
        (f"{source}, {where}", reason, text)
        for columns in read_columns(collected / "aside.parquet", "source", "where", "reason", "excerpt")
        for source, where, reason, text in zip(*columns, strict=True)
    ]


def _divide(collected: Path, measured: Sequence[Measures], settings: ValidateConfig, output: Path) -> None:
    """Copy each record to the kept ones, with its split, or to those set aside, with the reason; count the kept."""
    profile = Profile()
    records = read_records(collected / "records.parquet")
    with record_writer(output / "records.parquet") as keep, set_aside_writer(output / "set_aside.parquet") as aside:
        for record, row in zip(records, measured, strict=True):
            if row.reason:
                aside.write(SetAside(record.id, record.group, explain(row, settings), excerpt(record.text)))
            else:
                keep.write(replace(record, split=row.split))
                profile.add(record)
    profile.save(output)


def _summary(frame: pd.DataFrame, unreadable: Sequence[object]) -> dict[str, Any]:
    kept = frame[frame["reason"] == ""]
    total = len(frame) + len(unreadable)
    size = int(kept["bytes"].sum())
    reasons = frame.loc[frame["reason"] != "", "reason"].value_counts()
    splits = {
        name: {"records": len(part), "bytes": int(part["bytes"].sum()), "groups": int(part["group"].nunique())}
        for name in SPLITS
        for part in [kept[kept["split"] == name]]
    }
    return {
        "records_in": total,
        "records": len(kept),
        "set_aside": total - len(kept),
        "unreadable": len(unreadable),
        "bytes": size,
        "characters": int(kept["characters"].sum()),
        "words": int(kept["words"].sum()),
        "documents": int((kept["kind"] == "document").sum()),
        "chats": int((kept["kind"] == "chat").sum()),
        "share_set_aside": (total - len(kept)) / total,
        "share_unreadable": len(unreadable) / total,
        "share_duplicates": float((frame["duplicate_of"] != "").mean()),
        "share_language_unknown": float((kept["language"] == "und").mean()),
        "share_train_bytes": splits["train"]["bytes"] / max(size, 1),
        "reasons": {str(name): int(count) for name, count in sorted(reasons.items())},
        "languages": {str(n): int(c) for n, c in sorted(kept["language"].value_counts().items())},
        "splits": splits,
    }


def _tell(summary: dict[str, Any]) -> None:
    log.info(
        "validated %d records: %d kept (%.2f MB), %d set aside",
        summary["records_in"],
        summary["records"],
        summary["bytes"] / 1e6,
        summary["set_aside"],
    )


def _nothing_left(measured: Sequence[Measures], unreadable: Sequence[object], settings: ValidateConfig) -> str:
    counts = Counter(m.reason for m in measured)
    found = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return (
        f"no record is left after validation: {found}; {len(unreadable)} could not be read. "
        f"Records need at least {settings.min_characters} characters (validate.min_characters): "
        "add longer texts, or lower the limit"
    )


def _settings(config: Config) -> dict[str, Any]:
    settings = config.validate_.identity()
    del settings["suites"]  # a path; what the suites set aside is among the sources, the rest only judges
    return settings


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    return {"suites": set_aside_identity(config.validate_.suites)}


STAGE = Stage(
    name="validate",
    version=STAGE_VERSION,
    needs=always("collect"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("pandas",),
    judge=judge_data,
)
run = STAGE.run
