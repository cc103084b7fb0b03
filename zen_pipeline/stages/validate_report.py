"""What validation tells: the summary, the report, and the message when the data is refused."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zen_pipeline.corpus.divide import Dividing
from zen_pipeline.corpus.expectations import Finding
from zen_pipeline.corpus.fates import CONTAMINATED, DUPLICATE, NEAR_DUPLICATE, Fates
from zen_pipeline.corpus.records import SPLITS, excerpt, read_columns
from zen_pipeline.corpus.report import Reason, Report, render
from zen_pipeline.errors import ValidationFailed
from zen_pipeline.logs import get_logger
from zen_pipeline.stages.base import StageContext

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = 3

log = get_logger(__name__)


@dataclass(frozen=True)
class Unreadable:
    """What collection set aside: (place, reason, excerpt)."""

    rows: Sequence[tuple[str, str, str]]

    @classmethod
    def of(cls, collected: Path) -> Unreadable:
        """From collection's aside.parquet."""
        return cls(
            [
                (f"{source}, {where}", reason, text)
                for columns in read_columns(collected / "aside.parquet", "source", "where", "reason", "excerpt")
                for source, where, reason, text in zip(*columns, strict=True)
            ]
        )

    def reasons(self) -> list[Reason]:
        """Counted by the reason without its particulars."""
        counts: Counter[str] = Counter()
        examples: dict[str, list[tuple[str, str]]] = {}
        for where, reason, text in self.rows:
            kind = reason.partition(" (")[0].partition(":")[0]
            counts[kind] += 1
            if len(shown := examples.setdefault(kind, [])) < _EXAMPLES:
                shown.append((where, text or reason))
        return [Reason(kind, "collect", count, examples[kind]) for kind, count in counts.most_common()]


def summarize(fates: Fates, divided: Dividing, unreadable: int) -> dict[str, Any]:
    """The figures of the whole corpus; those that are plain numbers are judged by the suite `corpus`."""
    records, kept = len(fates.reasons), int(fates.kept.sum())
    total = records + unreadable
    reasons = fates.counts()
    splits = {
        name: {
            "records": int(inside.sum()),
            "bytes": divided.split_bytes[name],
            "groups": len(np.unique(fates.groups[inside])),
        }
        for name in SPLITS
        for inside in [fates.in_split(name)]
    }
    return {
        "records_in": total,
        "records": kept,
        "set_aside": total - kept,
        "unreadable": unreadable,
        **divided.totals,
        "documents": divided.kinds.get("document", 0),
        "chats": divided.kinds.get("chat", 0),
        "share_set_aside": (total - kept) / total,
        "share_unreadable": unreadable / total,
        # exact duplicates that are kept on purpose count too
        "share_duplicates": int(((fates.likeness == 1.0) & _is(fates, DUPLICATE, "")).sum()) / records,
        "share_near_duplicates": reasons.get(NEAR_DUPLICATE, 0) / records,
        "share_contaminated": reasons.get(CONTAMINATED, 0) / records,
        "share_language_unknown": divided.languages.get("und", 0) / kept,
        "share_train_bytes": splits["train"]["bytes"] / max(divided.totals["bytes"], 1),
        "reasons": reasons,
        "languages": dict(sorted(divided.languages.items())),
        "splits": splits,
    }


def _is(fates: Fates, *names: str) -> Any:
    return np.isin(fates.reasons, [fates.names.index(name) for name in names])


def report(
    pipeline: str,
    output: Path,
    context: StageContext,
    summary: dict[str, Any],
    findings: Sequence[Finding],
    kept: pd.DataFrame,
    reasons: Sequence[Reason],
    notes: Sequence[str],
) -> None:
    """Write and track the report; add the outcome of the expectations to the summary.

    Raises:
        ValidationFailed: an expectation with the action `stop` is not met.
    """
    stops = [f for f in findings if f.stops]
    summary["expectations"] = {
        "met": sum(f.success for f in findings),
        "warnings": sum(not f.success for f in findings) - len(stops),
        "stops": len(stops),
    }
    excerpts = _excerpts(output, [i for f in findings for i in f.offenders[:_EXAMPLES]])
    page = Report(
        pipeline=pipeline,
        summary=summary,
        findings=findings,
        reasons=reasons,
        lengths=array("q", kept["characters"].to_numpy().astype(np.int64).tobytes()),
        tables={name: _table(kept, column) for name, column in _TABLES.items()},
        excerpts=excerpts,
        notes=notes,
    )
    folder = context.work if stops else output  # what a failed build wrote is removed
    path = folder / "validation.html"
    path.write_text(render(page), encoding="utf-8")
    machine = {"summary": summary, "notes": notes, "expectations": [f.to_json() for f in findings]}
    (folder / "validation.json").write_text(json.dumps(machine, indent=1, ensure_ascii=False), encoding="utf-8")
    context.tracked.log_file(path)
    _tell(summary, findings, notes)
    if stops:
        raise ValidationFailed(_refusal(stops, excerpts, reasons, path))


_TABLES = {"Splits": "split", "Languages": "language", "Sources": "source"}


def _table(kept: pd.DataFrame, column: str) -> list[tuple[str, int, int]]:
    """(value, records, bytes) for the 30 values with the most text."""
    grouped = kept.groupby(column, observed=True)["bytes"]
    sizes = grouped.agg(["count", "sum"]).sort_values(["sum", "count"], ascending=False)
    return [(str(name), int(row["count"]), int(row["sum"])) for name, row in sizes.head(30).iterrows()]


def _excerpts(output: Path, identities: Sequence[str]) -> dict[str, str]:
    wanted = set(identities)
    found: dict[str, str] = {}
    if wanted:
        for ids, texts in read_columns(output / "records.parquet", "id", "text"):
            found.update((i, excerpt(t)) for i, t in zip(ids, texts, strict=True) if i in wanted)
    return found


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
