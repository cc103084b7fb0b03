"""The validation report: one HTML file that needs nothing from the network and opens with what was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from typing import Any

from zen_pipeline.corpus.expectations.judging import Finding

_MUCH = 0.1  # share of the records
_STYLE = """
:root { --ink:#1c2430; --soft:#5b6675; --line:#e3e7ec; --good:#1d7a46; --bad:#b3261e; --warn:#9a6700; --aside:#4a5a75;
  --bar:#3f6fb5; --page:#f6f7f9; --panel:#fff }
@media (prefers-color-scheme:dark) { :root { --ink:#e6e9ee; --soft:#9aa5b4; --line:#2f3742; --bar:#6c9be0;
  --page:#14181e; --panel:#1c222a } }
* { box-sizing:border-box } body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif }
main { max-width:1080px; margin:0 auto; padding:28px 20px 64px } h1 { font-size:26px; margin:0 0 6px }
h2 { font-size:18px; margin:34px 0 10px } h3 { font-size:14px; margin:14px 0 4px; color:var(--soft); font-weight:600 }
p { margin:6px 0 } .soft { color:var(--soft) }
.verdict { display:inline-block; padding:2px 11px; border-radius:13px; color:#fff; font-weight:600; margin-right:8px;
  white-space:nowrap; font-size:14px } .good { background:var(--good) } .bad { background:var(--bad) }
.warn { background:var(--warn) } .aside { background:var(--aside) }
.cards { display:flex; flex-wrap:wrap; gap:12px; margin:18px 0 } .card { background:var(--panel);
  border:1px solid var(--line); border-radius:8px; padding:10px 16px; min-width:140px; flex:1 }
.card b { display:block; font-size:21px } .card span { color:var(--soft); font-size:13px }
.panel { background:var(--panel); border:1px solid var(--line); border-radius:8px; padding:4px 16px; overflow-x:auto }
table { border-collapse:collapse; width:100%; font-size:14px }
th,td { text-align:left; padding:8px 12px 8px 0; border-bottom:1px solid var(--line); vertical-align:top }
tr:last-child td { border-bottom:0 } th { color:var(--soft); font-weight:500 } .n { text-align:right;
  font-variant-numeric:tabular-nums; white-space:nowrap }
code { font:13px ui-monospace,Menlo,Consolas,monospace; overflow-wrap:anywhere } .wide { min-width:220px }
.meter { display:block; height:8px; min-width:2px; border-radius:4px; background:var(--bar); margin-top:7px }
details { margin:8px 0 } summary { cursor:pointer; font-size:18px; font-weight:600; margin:28px 0 10px }
svg text { fill:var(--soft); font-size:11px }
"""


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
class Table:
    """A table with a heading; cells are escaped, and a column of numbers is set to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows; texts in it are already shortened and masked, and are escaped here.

    Attributes:
        title: of the page.
        summary: counts of the artifact; the cards are made of those that are there.
        findings: of all suites, in their order.
        reasons: why records were set aside.
        lengths: records by the power of two below their length.
        tables: by title rows of (value, records, bytes).
        excerpts: of offenders, by id.
        drift: None when nothing was compared.
        more: further tables; one without rows is left out.
        notes: sentences without a full stop.
    """

    title: str
    summary: Mapping[str, Any]
    findings: Sequence[Finding]
    reasons: Sequence[Reason] = ()
    lengths: Mapping[int, int] = field(default_factory=dict)
    tables: Mapping[str, Sequence[tuple[str, int, int]]] = field(default_factory=dict)
    excerpts: Mapping[str, str] = field(default_factory=dict)
    drift: Drift | None = None
    more: Sequence[Table] = ()
    notes: Sequence[str] = ()


def render(report: Report) -> str:
    """The page as HTML."""
    parts = [
        _head(report),
        _cards(report.summary),
        _wrong(report),
        *(f"<p class='soft'>Note: {escape(note)}.</p>" for note in report.notes),
    ]
    if report.reasons:
        parts.append(f"<h2>Set aside</h2>{_reasons(report.reasons)}")
    parts += [_table(table) for table in report.more if table.rows]
    if report.drift:
        parts.append(_drift(report.drift))
    if report.lengths:
        parts.append(
            f"<h2>Length of the kept records, in characters</h2><div class='panel'>{histogram(report.lengths)}</div>"
        )
    parts += [f"<h2>{escape(title)}</h2>{_counts(rows)}" for title, rows in report.tables.items() if rows]
    parts.append(_all(report.findings))
    title = escape(report.title)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    stopped, warned = sum(f.stops for f in report.findings), sum(f.warns for f in report.findings)
    kind, word = (
        ("bad", "Refused") if stopped else ("warn", "Accepted, with warnings") if warned else ("good", "Accepted")
    )
    met, aside = sum(f.success for f in report.findings), sum(f.sets_aside for f in report.findings)
    unmet = [f"{n} {what}" for n, what in ((stopped, "stop"), (aside, "set records aside"), (warned, "warn")) if n]
    return (
        f"<h1>{escape(report.title)}</h1><p><span class='verdict {kind}'>{word}</span>"
        f"{met} of {len(report.findings)} expectations met{'; ' if unmet else ''}{', '.join(unmet)}"
        f"{f'; <b>{escape(much)}</b>' if (much := much_set_aside(report.summary)) else ''}</p>"
    )


def much_set_aside(summary: Mapping[str, Any]) -> str:
    """What a verdict must say in its first line: the share that is set aside, and for what; empty up to 10 %."""
    if summary.get("share_set_aside", 0.0) <= _MUCH:
        return ""
    counts = {**summary.get("reasons", {}), "could not be read": summary.get("unreadable", 0)}
    most = max(counts, key=lambda reason: counts[reason])
    share, aside = summary["share_set_aside"], summary["set_aside"]
    return f"{share:.0%} of the records are set aside, {counts[most]:,} of {aside:,} as: {most}"


def _cards(summary: Mapping[str, Any]) -> str:
    if "records_in" not in summary:
        return ""
    shown = [
        ("records in", f"{summary['records_in']:,}"),
        ("kept", f"{summary['records']:,}"),
        ("set aside", f"{summary['set_aside']:,} ({summary['share_set_aside']:.1%})"),
        ("text kept", f"{summary['bytes'] / 1e6:,.2f} MB"),
    ]
    if "share_duplicates" in summary:
        shown.append(("duplicates", f"{summary['share_duplicates']:.1%}"))
    cards = "".join(f"<div class='card'><b>{value}</b><span>{escape(name)}</span></div>" for name, value in shown)
    return f"<div class='cards'>{cards}</div>"


def _status(finding: Finding) -> tuple[str, str]:
    """Colour and word of a finding."""
    if finding.success:
        return "good", "met"
    return ("bad", "stop") if finding.stops else ("aside", "set aside") if finding.sets_aside else ("warn", "warning")


def _badge(finding: Finding) -> str:
    kind, word = _status(finding)
    return f"<span class='verdict {kind}'>{word}</span>"


def _measure(finding: Finding) -> str:
    """Suite and columns; those of a kind carry its name already."""
    columns = escape(finding.column).replace(", ", "<br>")
    named = finding.column.startswith(f"{finding.suite}.")
    return f"<code>{columns}</code>" if named else f"{escape(finding.suite)}: <code>{columns}</code>"


def _wrong(report: Report) -> str:
    """What was not met, the worst first: what it means, what was found, and by which records."""
    order = ("stop", "set aside", "warning")
    unmet = sorted((f for f in report.findings if not f.success), key=lambda f: order.index(_status(f)[1]))
    if not unmet:
        return "<h2>What was wrong</h2><p>Nothing: every expectation is met.</p>"
    rows = []
    for finding in unmet:
        examples = "<br>".join(
            f"<code>{escape(i)}</code> {escape(report.excerpts.get(i, ''))}" for i in finding.offenders[:3]
        )
        advice = finding.advice[:1].upper() + finding.advice[1:]
        rows.append(
            f"<tr><td>{_badge(finding)}</td><td class='wide'>{escape(advice)}<div class='soft'>{examples}</div></td>"
            f"<td>{_measure(finding)}</td>"
            f"<td>{escape(finding.expected)}</td><td>{escape(finding.observed)}</td></tr>"
        )
    head = "<tr><th></th><th>What it means</th><th>Measure</th><th>Expected</th><th>Observed</th></tr>"
    return f"<h2>What was wrong</h2><div class='panel'><table>{head}{''.join(rows)}</table></div>"


def _all(findings: Sequence[Finding]) -> str:
    """Every expectation, by suite."""
    parts = []
    for suite, group in groupby(findings, key=lambda f: f.suite):
        rows = "".join(
            f"<tr><td>{_badge(f)}</td><td><code>{escape(f.expectation)}</code></td><td>{escape(f.column)}</td>"
            f"<td>{escape(f.expected)}</td><td>{escape(f.observed)}</td></tr>"
            for f in group
        )
        head = "<tr><th></th><th>Expectation</th><th>Measure</th><th>Expected</th><th>Observed</th></tr>"
        parts.append(f"<h3>{escape(suite)}</h3><div class='panel'><table>{head}{rows}</table></div>")
    return f"<details open><summary>All expectations</summary>{''.join(parts)}</details>"


def _reasons(reasons: Sequence[Reason]) -> str:
    most = max(r.count for r in reasons)
    rows = "".join(
        f"<tr><td class='wide'>{escape(r.reason)}<span class='meter' style='width:{100 * r.count / most:.1f}%'></span>"
        f"</td><td>{escape(r.stage)}</td><td class='n'>{r.count:,}</td><td>"
        + "<br>".join(f"<code>{escape(i)}</code> <span class='soft'>{escape(t)}</span>" for i, t in r.examples)
        + "</td></tr>"
        for r in reasons
    )
    head = "<tr><th>Reason</th><th>Stage</th><th class='n'>Records</th><th>Examples</th></tr>"
    return f"<div class='panel'><table>{head}{rows}</table></div>"


def _drift(drift: Drift) -> str:
    """The bins that moved most, one table per distribution."""
    parts = [
        f"<h2>Drift</h2><p class='soft'>Compared with the last accepted data set, {escape(drift.compared_with)}.</p>"
    ]
    for name, moves in drift.moves.items():
        rows = "".join(
            f"<tr><td>{escape(_bin(name, which))}</td><td class='n'>{before:.2%}</td><td class='n'>{now:.2%}</td>"
            f"<td class='n'>{100 * (now - before):+.2f} points</td></tr>"
            for which, before, now in moves
        )
        head = (
            f"<tr><th>{escape(name)}</th><th class='n'>before</th><th class='n'>now</th><th class='n'>moved</th></tr>"
        )
        empty = f"<p class='soft'>{escape(name)}: the same shares as before.</p>"
        parts.append(f"<div class='panel'><table>{head}{rows}</table></div><p></p>" if rows else empty)
    return "".join(parts)


def _bin(distribution: str, which: str) -> str:
    """The name of a bin: lengths are named by their lower end, and all that has no bin of its own is one."""
    if distribution == "length":
        return f"{int(which):,} to {2 * int(which) - 1:,} characters"
    return which or "all others"


def _counts(rows: Sequence[tuple[str, int, int]]) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{count:,}</td><td class='n'>{size / 1e6:,.2f} MB</td></tr>"
        for name, count, size in rows
    )
    head = "<tr><th></th><th class='n'>Records</th><th class='n'>Text</th></tr>"
    return f"<div class='panel'><table>{head}{body}</table></div>"


def _table(table: Table) -> str:
    right = [all(row[n][:1].isdigit() for row in table.rows) for n in range(len(table.columns))]

    def line(tag: str, cells: Sequence[str]) -> str:
        made = (f"<{tag}{' class=n' if r else ''}>{escape(c)}</{tag}>" for c, r in zip(cells, right, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    note = f"<p class='soft'>{escape(table.note)}</p>" if table.note else ""
    rows = "".join(line("td", row) for row in table.rows)
    return (
        f"<h2>{escape(table.title)}</h2>{note}<div class='panel'><table>{line('th', table.columns)}{rows}</table></div>"
    )


def histogram(lengths: Mapping[int, int]) -> str:
    """An SVG of how many records have which length; the bins double, since lengths spread over decades.

    Args:
        lengths: records by the power of two below their length in characters.
    """
    first, last = min(lengths), max(lengths)
    width, height, top = 960, 150, max(lengths.values())
    step = width / (last - first + 1)
    bars = []
    for index, power in enumerate(range(first, last + 1)):
        count = lengths.get(power, 0)
        tall = height * count / top
        x, low = index * step, 2**power
        bars.append(
            f"<rect x='{x + 2:.1f}' y='{height - tall + 16:.1f}' width='{step - 4:.1f}' height='{tall:.1f}' rx='2' "
            f"fill='var(--bar)'><title>{low:,} to {2 * low - 1:,} characters: {count:,} records</title></rect>"
            f"<text x='{x + step / 2:.1f}' y='{height - tall + 12:.1f}' text-anchor='middle'>{count:,}</text>"
            if count
            else ""
        )
        bars.append(f"<text x='{x + 2:.1f}' y='{height + 32}'>{low:,}</text>")
    label = "number of records by length in characters"
    return (
        f"<svg viewBox='0 0 {width} {height + 40}' width='100%' role='img' aria-label='{label}'>{''.join(bars)}</svg>"
    )
