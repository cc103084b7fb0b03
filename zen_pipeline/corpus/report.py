"""The validation report: one HTML file that needs nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from zen_pipeline.corpus.expectations import Finding

_STYLE = """
:root { --ink:#1c2430; --soft:#5b6675; --line:#e3e7ec; --good:#1d7a46; --bad:#b3261e; --warn:#9a6700; --bar:#3f6fb5 }
* { box-sizing:border-box } body { margin:0; background:#f6f7f9; color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif }
main { max-width:1040px; margin:0 auto; padding:32px 20px 64px } h1 { font-size:26px; margin:0 0 4px }
h2 { font-size:18px; margin:36px 0 10px } p { margin:6px 0 } .soft { color:var(--soft) }
.verdict { display:inline-block; padding:3px 12px; border-radius:14px; color:#fff; font-weight:600; margin-right:8px }
.good { background:var(--good) } .bad { background:var(--bad) } .warn { background:var(--warn) }
.cards { display:flex; flex-wrap:wrap; gap:12px; margin:20px 0 } .card { background:#fff; border:1px solid var(--line);
  border-radius:8px; padding:12px 16px; min-width:140px; flex:1 } .card b { display:block; font-size:22px }
.card span { color:var(--soft); font-size:13px } .panel { background:#fff; border:1px solid var(--line);
  border-radius:8px; padding:4px 16px; overflow-x:auto } table { border-collapse:collapse; width:100%; font-size:14px }
th,td { text-align:left; padding:8px 10px 8px 0; border-bottom:1px solid var(--line); vertical-align:top }
tr:last-child td { border-bottom:0 } th { color:var(--soft); font-weight:500 } td.n { text-align:right;
  font-variant-numeric:tabular-nums } code { font:13px ui-monospace,Menlo,Consolas,monospace; overflow-wrap:anywhere }
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
class Report:
    """Everything that the page shows; texts in it are already shortened and masked."""

    pipeline: str
    summary: Mapping[str, Any]
    findings: Sequence[Finding]
    reasons: Sequence[Reason]
    lengths: Sequence[int]
    tables: Mapping[str, Sequence[tuple[str, int, int]]]
    excerpts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def render(report: Report) -> str:
    """The page as HTML."""
    parts = [
        _head(report),
        _cards(report.summary),
        *(f"<p class='soft'>Note: {escape(note)}.</p>" for note in report.notes),
        "<h2>Expectations</h2>",
        _findings(report),
        "<h2>Set aside</h2>",
        _reasons(report.reasons),
        "<h2>Length of the kept records</h2>",
        f"<div class='panel'>{histogram(report.lengths)}</div>",
        *(f"<h2>{escape(title)}</h2>{_counts(rows)}" for title, rows in report.tables.items()),
    ]
    title = f"Validation of {escape(report.pipeline)}"
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    stopped = sum(f.stops for f in report.findings)
    warned = sum(not f.success for f in report.findings) - stopped
    kind, word = (
        ("bad", "Refused") if stopped else ("warn", "Accepted, with warnings") if warned else ("good", "Accepted")
    )
    met = sum(f.success for f in report.findings)
    return (
        f"<h1>Validation of {escape(report.pipeline)}</h1><p><span class='verdict {kind}'>{word}</span>"
        f"{met} of {len(report.findings)} expectations met</p>"
    )


def _cards(summary: Mapping[str, Any]) -> str:
    shown = [
        ("records in", f"{summary['records_in']:,}"),
        ("kept", f"{summary['records']:,}"),
        ("set aside", f"{summary['set_aside']:,} ({summary['share_set_aside']:.1%})"),
        ("text kept", f"{summary['bytes'] / 1e6:,.2f} MB"),
        ("duplicates", f"{summary['share_duplicates']:.1%}"),
    ]
    return (
        "<div class='cards'>"
        + "".join(f"<div class='card'><b>{value}</b><span>{escape(name)}</span></div>" for name, value in shown)
        + "</div>"
    )


def _findings(report: Report) -> str:
    rows = []
    for finding in report.findings:
        kind, word = ("good", "met") if finding.success else ("bad", "stop") if finding.stops else ("warn", "warning")
        detail = ""
        if not finding.success:
            examples = "".join(
                f"<br><code>{escape(i)}</code> {escape(report.excerpts.get(i, ''))}" for i in finding.offenders[:3]
            )
            detail = f"<p>{escape(finding.advice)}</p><p class='soft'>{examples.removeprefix('<br>')}</p>"
        rows.append(
            f"<tr><td><span class='verdict {kind}'>{word}</span></td><td><code>{escape(finding.expectation)}</code>"
            f"{detail}</td><td>{escape(finding.suite)}.{escape(finding.column)}</td>"
            f"<td>{escape(finding.expected)}</td><td>{escape(finding.observed)}</td></tr>"
        )
    head = "<tr><th></th><th>Expectation</th><th>Measure</th><th>Expected</th><th>Observed</th></tr>"
    return f"<div class='panel'><table>{head}{''.join(rows)}</table></div>"


def _reasons(reasons: Sequence[Reason]) -> str:
    if not reasons:
        return "<p class='soft'>Nothing.</p>"
    rows = "".join(
        f"<tr><td>{escape(r.reason)}</td><td>{escape(r.stage)}</td><td class='n'>{r.count:,}</td><td>"
        + "<br>".join(f"<code>{escape(i)}</code> <span class='soft'>{escape(t)}</span>" for i, t in r.examples)
        + "</td></tr>"
        for r in reasons
    )
    head = "<tr><th>Reason</th><th>Stage</th><th>Records</th><th>Examples</th></tr>"
    return f"<div class='panel'><table>{head}{rows}</table></div>"


def _counts(rows: Sequence[tuple[str, int, int]]) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{count:,}</td><td class='n'>{size / 1e6:,.2f} MB</td></tr>"
        for name, count, size in rows
    )
    head = "<tr><th></th><th style='text-align:right'>Records</th><th style='text-align:right'>Text</th></tr>"
    return f"<div class='panel'><table>{head}{body}</table></div>"


def histogram(lengths: Sequence[int]) -> str:
    """An SVG of how many records have which length; the bins double, since lengths spread over decades."""
    bins: dict[int, int] = {}
    for length in lengths:
        bins[max(length, 1).bit_length() - 1] = bins.get(max(length, 1).bit_length() - 1, 0) + 1
    if not bins:
        return "<p class='soft'>No records.</p>"
    first, last = min(bins), max(bins)
    width, height, top = 960, 150, max(bins.values())
    step = width / (last - first + 1)
    bars = []
    for index, power in enumerate(range(first, last + 1)):
        count = bins.get(power, 0)
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
