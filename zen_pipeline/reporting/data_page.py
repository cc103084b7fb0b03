"""The page on judged data, tokens or vectors: the verdict, what was wrong, and everything that was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import Any

from zen_pipeline.blocks import (
    Amount,
    Block,
    Card,
    Cell,
    Code,
    Example,
    Histogram,
    Label,
    Lines,
    Note,
    Page,
    Phrase,
    Section,
    Share,
    Status,
    Table,
    phrase,
)
from zen_pipeline.corpus.expectations.findings import Finding
from zen_pipeline.reporting.rendering import render
from zen_pipeline.reporting.wording import page_language

_MUCH = 0.1  # share of the records
_EXAMPLES = 3  # records shown of an expectation that is not met


@dataclass(frozen=True)
class Reason:
    """Why records were set aside: how many, and some of them as (id, excerpt)."""

    reason: str
    stage: str
    count: int
    examples: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Drift:
    """What moved since the last accepted data set.

    Attributes:
        compared_with: the folder of its artifact.
        moves: by distribution the bins that moved most: (bin, share before, share now).
    """

    compared_with: str
    moves: Mapping[str, Sequence[tuple[str, float, float]]]


@dataclass(frozen=True)
class DataReport:
    """Everything that the page shows; texts of records in it are already shortened and masked.

    Attributes:
        title: of the page.
        summary: counts of the artifact; the cards are made of those that are there.
        findings: of all suites, in their order.
        reasons: why records were set aside.
        lengths: records by the power of two below their length in characters.
        kept: tables of the kept records by kind, split, …; each by its title, with rows of (value, records, bytes).
        excerpts: of offenders, by id.
        drift: None when nothing was compared.
        more: further tables; one without rows is left out.
        notes: sentences without a full stop.
    """

    title: Label
    summary: Mapping[str, Any]
    findings: Sequence[Finding]
    reasons: Sequence[Reason] = ()
    lengths: Mapping[int, int] = field(default_factory=dict)
    kept: Mapping[str, Sequence[tuple[str, int, int]]] = field(default_factory=dict)
    excerpts: Mapping[str, str] = field(default_factory=dict)
    drift: Drift | None = None
    more: Sequence[Table] = ()
    notes: Sequence[str] = ()


def data_page(report: DataReport) -> str:
    """The page as HTML, in the language of most records."""
    status, verdict = _verdict(report)
    return render(
        Page(
            title=report.title,
            status=status,
            verdict=verdict,
            cards=_cards(report.summary),
            sections=[
                Section("wrong", "What was wrong", _wrong(report)),
                Section("aside", "Set aside", _reasons(report.reasons)),
                Section("drift", "Drift", _drift(report.drift)),
                Section("kept", "What the kept records are", _kept(report)),
                *(
                    Section(f"more-{n}", table.title, [Table(table.columns, table.rows, note=table.note)])
                    for n, table in enumerate(report.more)
                    if table.rows
                ),
                Section("expectations", "All expectations", _expectations(report.findings)),
            ],
            language=page_language(report.summary.get("languages", {})),
        )
    )


def much_set_aside(summary: Mapping[str, Any]) -> Phrase | None:
    """What a verdict must say in its first line: the share that is set aside, and for what; None up to 10 %."""
    if summary.get("share_set_aside", 0.0) <= _MUCH:
        return None
    counts = {**summary.get("reasons", {}), "could not be read": summary.get("unreadable", 0)}
    most = max(counts, key=lambda reason: counts[reason])
    return phrase(
        "{share} of the records are set aside, {count} of {aside} as: {reason}",
        share=f"{summary['share_set_aside']:.0%}",
        count=f"{counts[most]:,}",
        aside=f"{summary['set_aside']:,}",
        reason=phrase(most),
    )


# --- the head ---------------------------------------------------------------------------------------------------------


def _verdict(report: DataReport) -> tuple[Status, list[Label]]:
    findings = report.findings
    stopped, warned = sum(f.stops for f in findings), sum(f.warns for f in findings)
    status = Status("Accepted", "good")
    if stopped or warned:
        status = Status("Refused", "bad") if stopped else Status("Accepted, with warnings", "warn")
    said: list[Label] = [
        phrase("{met} of {all} expectations are met.", met=sum(f.success for f in findings), all=len(findings))
    ]
    aside = sum(f.sets_aside for f in findings)
    counts = ((stopped, "stop"), (aside, "set aside"), (warned, "warning"))
    unmet = [phrase("{count} × {action}", count=count, action=phrase(action)) for count, action in counts if count]
    if unmet:
        said.append(phrase("Unmet: {list}.", list=reduce(lambda a, b: phrase("{a}, {b}", a=a, b=b), unmet)))
    much = much_set_aside(report.summary)
    return status, [*said, *([much] if much else [])]


def _cards(summary: Mapping[str, Any]) -> list[Card]:
    if "records_in" not in summary:
        return []
    cards = [
        Card(f"{summary['records_in']:,}", "records in"),
        Card(f"{summary['records']:,}", "kept"),
        Card(f"{summary['set_aside']:,} ({summary['share_set_aside']:.1%})", "set aside"),
        Card(f"{summary['bytes'] / 1e6:,.2f} MB", "text kept"),
    ]
    if "share_duplicates" in summary:
        cards.append(Card(f"{summary['share_duplicates']:.1%}", "duplicates"))
    return cards


# --- expectations -----------------------------------------------------------------------------------------------------


def _status(finding: Finding) -> Status:
    if finding.success:
        return Status("met", "good")
    if finding.stops:
        return Status("stop", "bad")
    return Status("set aside", "aside") if finding.sets_aside else Status("warning", "warn")


def _measure(finding: Finding) -> Cell:
    """Suite and columns; those of a kind carry its name already."""
    columns = [Code(column) for column in finding.column.split(", ") if column]
    named = finding.column.startswith(f"{finding.suite}.")
    return Lines(columns if named else [f"{finding.suite}:", *columns])


def _wrong(report: DataReport) -> list[Block]:
    """What was not met, the worst first: what it means, what was found, and by which records."""
    order = ("bad", "aside", "warn")
    unmet = sorted((f for f in report.findings if not f.success), key=lambda f: order.index(_status(f).verdict))
    notes: list[Block] = [Note(phrase("Note: {note}.", note=note)) for note in report.notes]
    if not unmet:
        return [Note("Nothing: every expectation is met."), *notes]
    rows = []
    for finding in unmet:
        examples = [Example(i, report.excerpts.get(i, "")) for i in finding.offenders[:_EXAMPLES]]
        advice = Phrase(finding.advice[:1].upper() + finding.advice[1:])
        rows.append(
            (_status(finding), Lines([advice, *examples]), _measure(finding), finding.expected, finding.observed)
        )
    return [Table(("", "What it means", "Measure", "Expected", "Observed"), rows, stacked=True), *notes]


def _expectations(findings: Sequence[Finding]) -> list[Block]:
    """Every expectation, by suite."""
    head = ("", "Expectation", "Measure", "Expected", "Observed")
    return [
        Table(
            head,
            [(_status(f), Code(f.expectation), f.column, f.expected, f.observed) for f in group],
            title=suite,
            stacked=True,
        )
        for suite, group in groupby(findings, key=lambda f: f.suite)
    ]


# --- records ----------------------------------------------------------------------------------------------------------


def _reasons(reasons: Sequence[Reason]) -> list[Block]:
    if not reasons:
        return []
    total = sum(r.count for r in reasons)
    rows = [
        (
            Phrase(r.reason),
            r.stage,
            r.count,
            Share(r.count / total),
            Lines([Example(i, text) for i, text in r.examples]),
        )
        for r in reasons
    ]
    return [Table(("Reason", "Stage", "Records", "Share", "Examples"), rows, stacked=True)]


def _kept(report: DataReport) -> list[Block]:
    blocks: list[Block] = []
    if lengths := report.lengths:
        bins = [(2**n, 2 ** (n + 1) - 1, lengths.get(n, 0)) for n in range(min(lengths), max(lengths) + 1)]
        blocks.append(Histogram("Length of the kept records", bins, x="characters of a record"))
    for title, rows in report.kept.items():
        sized = [(name, count, Amount(f"{size / 1e6:,.2f} MB")) for name, count, size in rows]
        if sized:
            blocks.append(Table((title, "Records", "Text"), sized))
    return blocks


def _drift(drift: Drift | None) -> list[Block]:
    """The bins that moved most, one table per distribution."""
    if drift is None:
        return []
    blocks: list[Block] = [Note(phrase("Compared with the last accepted data set, {name}.", name=drift.compared_with))]
    for name, moves in drift.moves.items():
        rows = [
            (_bin(name, which), Amount(f"{before:.2%}"), Amount(f"{now:.2%}"), Amount(f"{100 * (now - before):+.2f}"))
            for which, before, now in moves
        ]
        if rows:
            blocks.append(Table((name, "before", "now", "moved, in points"), rows))
    if same := [name for name, moves in drift.moves.items() if not moves]:
        blocks.append(Note(phrase("The same shares as before: {names}.", names=", ".join(same))))
    return blocks


def _bin(distribution: str, which: str) -> Cell:
    """The name of a bin: lengths are named by their lower end, and all that has no bin of its own is one."""
    if distribution == "length":
        low = int(which)
        return phrase("{low} to {high} characters", low=f"{low:,}", high=f"{2 * low - 1:,}")
    return which or phrase("all others")
