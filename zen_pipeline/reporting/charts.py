"""Charts as inline SVG, coloured by the page's own CSS variables, so that they follow its light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

Point = tuple[float, float]
Place = Callable[[Point], tuple[float, float]]  # data to the view box

_WIDTH = 640.0  # of the view box; the page scales it


@dataclass(frozen=True)
class Bar:
    """One bar; `kind` is empty, or `good` or `bad` for the one that the chart is about."""

    label: str
    value: float
    kind: str = ""


@dataclass(frozen=True)
class Line:
    """One curve of a line chart; `style` is `main`, `second` or `faint`."""

    label: str
    points: Sequence[Point]
    style: str = "main"


def bar_chart(bars: Sequence[Bar], *, title: str, digits: int = 3) -> str:
    """Horizontal bars from zero, one below the other, each with its value."""
    row, thick, left, right = 34.0, 20.0, 140.0, 74.0
    largest = max((b.value for b in bars), default=0.0) or 1.0
    parts = []
    for index, bar in enumerate(bars):
        top = index * row + (row - thick) / 2
        width = max(2.0, bar.value / largest * (_WIDTH - left - right))
        kind = f"bar main {bar.kind}" if bar.kind else "bar"
        middle = top + thick / 2
        parts.append(
            f'<g class="{kind}">'
            f'<text class="name" x="{left - 10:.0f}" y="{middle:.1f}">{escape(bar.label)}</text>'
            f'<rect x="{left:.0f}" y="{top:.1f}" width="{width:.1f}" height="{thick:.0f}" rx="4"/>'
            f'<text class="value" x="{left + width + 8:.1f}" y="{middle:.1f}">{bar.value:.{digits}f}</text></g>'
        )
    return _svg(parts, height=len(bars) * row, title=title)


def line_chart(lines: Sequence[Line], *, title: str, x_label: str, y_label: str) -> str:
    """Curves over a common pair of axes; an empty string when there are no two points to join."""
    drawn = [replace(line, points=[p for p in line.points if all(map(math.isfinite, p))]) for line in lines]
    drawn = [line for line in drawn if line.points]
    if not any(len(line.points) > 1 for line in drawn):
        return ""
    height, left, right, top, bottom = 290.0, 50.0, 14.0, 12.0, 52.0
    xs = [x for line in drawn for x, _ in line.points]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_ticks = ticks(*_visible_range([[y for _, y in line.points] for line in drawn]))
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(point: Point) -> tuple[float, float]:
        x = left + (point[0] - x_low) / (x_high - x_low) * (_WIDTH - left - right)
        share = (min(max(point[1], y_low), y_high) - y_low) / (y_high - y_low)
        return x, height - bottom - share * (height - top - bottom)

    parts = [_grid(y_ticks, place, x_low, x_high, left)]
    parts += [_x_axis(place, x_low, x_high, y_low, height)]
    parts += [_curve(line, place) for line in drawn]
    parts.append(f'<text class="axis end" x="{_WIDTH - right:.0f}" y="{height - 9:.0f}">{escape(x_label)}</text>')
    names = [line.label for line in drawn if line.label]
    legend = "".join(
        f'<span class="key {escape(line.style)}">{escape(line.label)}</span>' for line in drawn if line.label
    )
    svg = _svg(parts, height=height, title=f"{title}: {', '.join(names)}")
    return f'<div class="legend"><span class="unit">{escape(y_label)}</span>{legend}</div>{svg}'


def smoothed(points: Sequence[Point], window: int) -> list[Point]:
    """The trailing mean over at most `window` points at each point."""
    result, total = [], 0.0
    for index, (x, y) in enumerate(points):
        total += y
        if index >= window:
            total -= points[index - window][1]
        result.append((x, total / min(index + 1, window)))
    return result


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points, evenly spaced, always with the first and the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that span the range."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * f for f in (1, 2, 5, 10, 20) if span / (power * f) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def _visible_range(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Lowest value to the highest, without the spike of the first steps, which would flatten all the rest."""
    low = min(min(values) for values in curves)
    highs = []
    for values in curves:
        ordered = sorted(values)
        highs.append(ordered[min(len(ordered) - 1, int(len(ordered) * 0.98))])
    return low, max(highs)


def _grid(y_ticks: Sequence[float], place: Place, x_low: float, x_high: float, left: float) -> str:
    parts = []
    for value in y_ticks:
        (x1, y), (x2, _) = (place((x, value)) for x in (x_low, x_high))
        parts.append(f'<line class="grid" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis name" x="{left - 8:.0f}" y="{y:.1f}">{value:g}</text>')
    return "".join(parts)


def _x_axis(place: Place, x_low: float, x_high: float, y_low: float, height: float) -> str:
    inside = [v for v in ticks(x_low, x_high) if x_low <= v <= x_high]
    return "".join(
        f'<text class="axis middle" x="{place((v, y_low))[0]:.1f}" y="{height - 34:.0f}">{v:g}</text>' for v in inside
    )


def _curve(line: Line, place: Place) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, line.points))
    dots = ""
    if len(line.points) <= 12 and line.style != "faint":
        dots = "".join(
            f'<circle class="{escape(line.style)}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
            for x, y in map(place, line.points)
        )
    return f'<polyline class="curve {escape(line.style)}" points="{points}"/>{dots}'


def _svg(parts: Sequence[str], *, height: float, title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
