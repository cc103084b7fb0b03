"""Validate: set bad records aside, divide the good ones, and let the expectations decide whether they may be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.corpus.deduplicate import SeenTexts
from zen_pipeline.corpus.expectations import Finding, judge, suite_digests
from zen_pipeline.corpus.measures import Measures, explain, measure, to_frame, write_measures
from zen_pipeline.corpus.records import (
    SPLITS,
    SetAside,
    excerpt,
    read_columns,
    read_records,
    record_writer,
    set_aside_writer,
)
from zen_pipeline.corpus.report import Reason, Report, render
from zen_pipeline.corpus.split import Splits, assign
from zen_pipeline.errors import DataError, ValidationFailed
from zen_pipeline.logs import get_logger
from zen_pipeline.settings.data import ValidateConfig
from zen_pipeline.stages.base import Inputs, Stage, StageContext, always
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

STAGE_VERSION = 1
_EXAMPLES = 3

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Write records.parquet, set_aside.parquet, measures.parquet, validation.json and validation.html.

    Raises:
        DataError: too few records are left to divide.
        ValidationFailed: an expectation with the action `stop` is not met; the report lies in the work folder.
    """
    settings = config.validate_
    collected = inputs["collect"].path
    measured = _measure_all(collected, settings)
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
    summary = _summary(frame, unreadable)
    findings = judge({"records": frame[frame["reason"] == ""], "corpus": _corpus_row(summary)}, settings.suites)
    _report(config, output, context, summary, findings, splits, frame, unreadable)
    return Built("records", summary)


def _measure_all(collected: Path, settings: ValidateConfig) -> list[Measures]:
    seen = SeenTexts()
    return [
        measure(record, duplicate_of=seen.duplicate_of(record), config=settings)
        for record in read_records(collected / "records.parquet")
    ]


def _unreadable(collected: Path) -> list[tuple[str, str, str]]:
    """What collection set aside: (place, reason, excerpt)."""
    return [
        (f"{source}, {where}", reason, text)
        for columns in read_columns(collected / "aside.parquet", "source", "where", "reason", "excerpt")
        for source, where, reason, text in zip(*columns, strict=True)
    ]


def _divide(collected: Path, measured: Sequence[Measures], settings: ValidateConfig, output: Path) -> None:
    """Copy each record to the kept ones, with its split, or to those set aside, with the reason."""
    records = read_records(collected / "records.parquet")
    with record_writer(output / "records.parquet") as keep, set_aside_writer(output / "set_aside.parquet") as aside:
        for record, row in zip(records, measured, strict=True):
            if row.reason:
                aside.write(SetAside(record.id, record.group, explain(row, settings), excerpt(record.text)))
            else:
                keep.write(replace(record, split=row.split))


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


def _corpus_row(summary: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{name: value for name, value in summary.items() if isinstance(value, int | float)}])


def _report(
    config: Config,
    output: Path,
    context: StageContext,
    summary: dict[str, Any],
    findings: Sequence[Finding],
    splits: Splits,
    frame: pd.DataFrame,
    unreadable: Sequence[tuple[str, str, str]],
) -> None:
    """Write and track the report; raise when the data must not be used."""
    stops = [f for f in findings if f.stops]
    summary["expectations"] = {
        "met": sum(f.success for f in findings),
        "warnings": sum(not f.success for f in findings) - len(stops),
        "stops": len(stops),
    }
    reasons = [*_reasons(output), *_collect_reasons(unreadable)]
    excerpts = _excerpts(output, [i for f in findings for i in f.offenders[:_EXAMPLES]])
    kept = frame[frame["reason"] == ""]
    report = Report(
        pipeline=config.name,
        summary=summary,
        findings=findings,
        reasons=reasons,
        lengths=kept["characters"].tolist(),
        tables={
            "Splits": _table(kept, "split"),
            "Languages": _table(kept, "language"),
            "Sources": _table(kept, "source"),
        },
        excerpts=excerpts,
        notes=splits.notes,
    )
    folder = context.work if stops else output  # what a failed build wrote is removed
    page = folder / "validation.html"
    page.write_text(render(report), encoding="utf-8")
    machine = {"summary": summary, "notes": splits.notes, "expectations": [f.to_json() for f in findings]}
    (folder / "validation.json").write_text(json.dumps(machine, indent=1, ensure_ascii=False), encoding="utf-8")
    context.tracked.log_file(page)
    _tell(summary, findings, splits.notes)
    if stops:
        raise ValidationFailed(_refusal(stops, excerpts, reasons, page))


def _reasons(output: Path) -> list[Reason]:
    counts: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, str]]] = {}
    for columns in read_columns(output / "set_aside.parquet", "id", "reason", "excerpt"):
        for identity, reason, text in zip(*columns, strict=True):
            kind = "duplicate" if reason.startswith("duplicate of") else reason.partition(":")[0]
            counts[kind] += 1
            if len(shown := examples.setdefault(kind, [])) < _EXAMPLES:
                shown.append((identity, text))
    return [Reason(kind, "validate", count, examples[kind]) for kind, count in counts.most_common()]


def _collect_reasons(unreadable: Sequence[tuple[str, str, str]]) -> list[Reason]:
    counts: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, str]]] = {}
    for where, reason, text in unreadable:
        kind = reason.partition(" (")[0].partition(":")[0]
        counts[kind] += 1
        if len(shown := examples.setdefault(kind, [])) < _EXAMPLES:
            shown.append((where, text or reason))
    return [Reason(kind, "collect", count, examples[kind]) for kind, count in counts.most_common()]


def _excerpts(output: Path, identities: Sequence[str]) -> dict[str, str]:
    wanted = set(identities)
    found: dict[str, str] = {}
    if wanted:
        for ids, texts in read_columns(output / "records.parquet", "id", "text"):
            found.update((i, excerpt(t)) for i, t in zip(ids, texts, strict=True) if i in wanted)
    return found


def _table(kept: pd.DataFrame, column: str) -> list[tuple[str, int, int]]:
    """(value, records, bytes) for the 30 values with the most text."""
    sizes = kept.groupby(column)["bytes"].agg(["count", "sum"]).sort_values(["sum", "count"], ascending=False)
    return [(str(name), int(row["count"]), int(row["sum"])) for name, row in sizes.head(30).iterrows()]


def _tell(summary: dict[str, Any], findings: Sequence[Finding], notes: Sequence[str]) -> None:
    log.info(
        "validated %d records: %d kept (%.2f MB), %d set aside",
        summary["records_in"],
        summary["records"],
        summary["bytes"] / 1e6,
        summary["set_aside"],
    )
    for note in notes:
        log.warning("split: %s", note)
    for finding in findings:
        if not finding.success and not finding.stops:
            log.warning(
                "expected %s %s; found %s: %s", finding.column, finding.expected, finding.observed, finding.advice
            )


def _refusal(stops: Sequence[Finding], excerpts: dict[str, str], reasons: Sequence[Reason], page: Path) -> str:
    """What the user reads: the expectation, what was found, three records, what to do."""
    first = stops[0]
    lines = [
        f"the data failed validation: {first.expectation} on {first.suite}.{first.column}: "
        f"expected {first.expected}, found {first.observed}. {first.advice[:1].upper()}{first.advice[1:]}.",
    ]
    shown = [(i, excerpts.get(i, "")) for i in first.offenders[:_EXAMPLES]]
    if not shown:  # an expectation about the whole corpus: what was set aside shows best what is wrong
        shown = [(f"{i} ({r.reason})", text) for r in reasons for i, text in r.examples][:_EXAMPLES]
    lines += [f"  {identity}: {text}" for identity, text in shown]
    others = ", ".join(f"{f.expectation} on {f.suite}.{f.column}" for f in stops[1:])
    if others:
        lines.append(f"Also failed: {others}.")
    lines.append(f"The whole report: {page}")
    return "\n".join(lines)


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
    del settings["suites"]  # a path; the content of the suites is among the sources
    return settings


def _digests(config: Config, _workspace: Workspace) -> dict[str, Any]:
    return {"suites": suite_digests(config.validate_.suites)}


STAGE = Stage(
    name="validate",
    version=STAGE_VERSION,
    needs=always("collect"),
    build=build,
    settings=_settings,
    sources=_digests,
    libraries=("great-expectations", "pandas"),
)
run = STAGE.run
