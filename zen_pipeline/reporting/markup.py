"""The few pieces of HTML that the report is made of. Every text is escaped here, so that callers cannot forget it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_CODE = re.compile(r"`([^`\n]{1,200})`")


@dataclass(frozen=True)
class Html:
    """Text that is markup already."""

    text: str


Content = str | int | float | None | Html


def html(content: Content) -> str:
    """A cell or a paragraph as markup."""
    if isinstance(content, Html):
        return content.text
    if content is None:
        return "–"
    return escape(number(content) if isinstance(content, int | float) else content)


def with_code(text: str) -> Html:
    """Text in which `code` in backticks is shown as code."""
    return Html(_CODE.sub(r"<code>\1</code>", escape(text)))


def number(value: float) -> str:
    """A number as people write it: grouped when large, at most four significant digits when small."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or value == int(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def megabytes(count: float) -> str:
    """Bytes in MB or GB (powers of ten)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def section(identifier: str, title: str, *parts: str) -> str:
    """One card of the page."""
    return f'<section id="{escape(identifier)}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def paragraph(text: Content, kind: str = "") -> str:
    """A paragraph; `kind` is `note` or `lead`."""
    return f'<p class="{kind}">{html(text)}</p>' if kind else f"<p>{html(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[Content]], *, stacked: bool = False) -> str:
    """A table; numbers are set to the right; `stacked` turns rows into blocks on a narrow screen."""
    listed = [list(row) for row in rows]
    numeric = [bool(listed) and all(isinstance(r[i], int | float | None) for r in listed) for i in range(len(head))]
    top = "".join(f"<th{_kind(n)}>{escape(h)}</th>" for h, n in zip(head, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{escape(h)}"{_kind(n)}>{html(cell)}</td>'
            for cell, h, n in zip(row, head, numeric, strict=True)
        )
        + "</tr>"
        for row in listed
    )
    name = ' class="stacked"' if stacked else ""
    return f'<div class="scroll"><table{name}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _kind(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def card(value: str, label: str, *, kind: str = "") -> str:
    """One large number with its name; `kind` is `good` or `bad` for a figure with a verdict."""
    return f'<div class="card {escape(kind)}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def meter(share: float) -> Html:
    """A number from 0 to 1 with a small bar."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Html(f'<span class="meter"><i style="width:{width:.0f}%"></i></span>{share:.2f}')


_DIGEST = re.compile(r"[0-9a-f]{40,}")
_SHOWN_OF_DIGEST = 12


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, text) pairs; what is empty is left out, digests are shortened."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        pairs += _flattened(f"{prefix}{key}", value)
    return pairs


def _flattened(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return flattened(value, f"{name}.")
    if isinstance(value, bool | int | float):
        return [(name, number(value))]
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping | list | tuple) for item in value):
            return flattened({str(i): item for i, item in enumerate(value)}, f"{name}.")
        value = ", ".join(map(str, value))
    shown = _DIGEST.sub(lambda digest: digest[0][:_SHOWN_OF_DIGEST], str(value or ""))
    return [(name, shown)] if shown else []
