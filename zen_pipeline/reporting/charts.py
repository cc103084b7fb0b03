"""Charts as inline SVG, coloured by the page's own CSS variables, so that they follow its light and dark mode.

Every axis has one unit. All text is escaped here.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from zen_pipeline.blocks import Bars, Curve, Curves, Histogram, Label, Point, Scatter
from zen_pipeline.reporting.wording import said

Place = Callable[[Point], tuple[float, float]]  # data to the view box

WIDTH = 640.0  # of the view box; the page scales it
_MAX_POINTS = 400  # of one curve; a screen has no more
_MAX_DOTS = 12  # points of a curve that are still marked one by one


@dataclass(frozen=True)
class Drawing:
    """A drawn chart; on a page it becomes an `<svg>`, which the page's stylesheet colours.

    Attributes:
        title: what a screen reader says.
        height: of the view box, which is `WIDTH` wide.
        parts: elements of SVG.
    """

    title: str
    height: float
    parts: Markup

    def __html__(self) -> Markup:
        head = Markup('<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}"><title>{}</title>')
        return head.format(WIDTH, self.height, self.title, self.title) + self.parts + Markup("</svg>")


def draw_bars(chart: Bars) -> Drawing:
    """Horizontal bars from zero, each below its name and before its value."""
    row, thick, right = 46.0, 18.0, 84.0
    largest = max((b.value for b in chart.bars if math.isfinite(b.value)), default=0.0) or 1.0
    parts = []
    for index, bar in enumerate(chart.bars):
        value = bar.value if math.isfinite(bar.value) else 0.0
        top = index * row + 24
        width = max(2.0, max(value, 0.0) / largest * (WIDTH - right))
        kind = f"bar main {bar.verdict}" if bar.verdict else "bar"
        rect = f'<rect x="0" y="{top:.1f}" width="{width:.1f}" height="{thick:.0f}" rx="4"/>'
        name = _text(said(bar.label), 0, top - 11, "name")
        figure = _text(f"{bar.value:.{chart.digits}f}", width + 8, top + thick / 2, "value")
        parts.append(Markup('<g class="{}">{}{}{}</g>').format(kind, name, Markup(rect), figure))
    return Drawing(said(chart.title), len(chart.bars) * row, Markup("").join(parts))


def draw_curves(chart: Curves) -> Drawing | None:
    """Curves over a common pair of axes; None when there are no two points to join.

    The vertical axis leaves out the highest 2 % of each curve, so that a spike does not flatten all the rest.
    """
    drawn = _drawable(chart.curves)
    if not drawn:
        return None
    height, left, right, top, bottom = 290.0, 58.0, 14.0, 12.0, 52.0
    xs = [x for curve in drawn for x, _ in curve.points]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_ticks = ticks(*_visible_range([[y for _, y in curve.points] for curve in drawn]))
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(point: Point) -> tuple[float, float]:
        x = left + (point[0] - x_low) / (x_high - x_low) * (WIDTH - left - right)
        share = (min(max(point[1], y_low), y_high) - y_low) / (y_high - y_low)
        return x, height - bottom - share * (height - top - bottom)

    parts = [_grid(y_ticks, place, x_low, x_high, left), _x_axis(place, x_low, x_high, y_low, height)]
    parts += [_curve(curve, place) for curve in drawn]
    parts.append(
        Markup('<text class="axis end" x="{:.0f}" y="{:.0f}">{}</text>').format(
            WIDTH - right, height - 9, said(chart.x)
        )
    )
    names = ", ".join(said(curve.label) for curve in drawn)
    return Drawing(f"{said(chart.title)} ({said(chart.y)}): {names}", height, Markup("").join(parts))


def draw_histogram(chart: Histogram) -> Drawing:
    """Columns side by side, with their counts above them and the lowest value of each bin below its left edge."""
    height, top, bottom = 230.0, 20.0, 52.0
    step = WIDTH / max(1, len(chart.bins))
    most = max((count for *_, count in chart.bins), default=0) or 1
    every = max(1, math.ceil(len(chart.bins) / 12))  # labels that fit side by side
    parts = []
    for index, (low, high, count) in enumerate(chart.bins):
        tall, x = (height - top - bottom) * count / most, index * step
        parts.append(
            Markup(
                '<g class="column"><title>{:,}–{:,}: {:,}</title>'
                '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/></g>'
            ).format(low, high, count, x + 2, height - bottom - tall, max(1.0, step - 4), tall)
        )
        if index % every == 0:
            parts.append(_text(f"{low:,}", x + 2, height - bottom + 14, "axis"))
            if count:
                parts.append(_text(f"{count:,}", x + step / 2, height - bottom - tall - 10, "middle"))
    parts.append(_text(said(chart.x), WIDTH, height - 9, "axis end"))
    return Drawing(said(chart.title), height, Markup("").join(parts))


def draw_scatter(chart: Scatter) -> Drawing:
    """Named points; the names that would cover an earlier one are left out and shown when the point is pointed at."""
    size, line, margin = 11.0, 13.0, 12.0
    height = WIDTH * 0.75
    taken: list[tuple[float, float, float]] = []
    dots, names = [], []
    for name, x, y in chart.points:
        across, down = margin + x * (WIDTH - 2 * margin), height - margin - y * (height - 2 * margin)
        dots.append(
            Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.2"><title>{}</title></circle>').format(
                across, down, name
            )
        )
        width = text_width(name, size)
        start = across + 5 if across + 5 + width <= WIDTH else across - 5 - width
        if not any(start < t[1] and start + width > t[0] and abs(down - t[2]) < line for t in taken):
            taken.append((start, start + width, down))
            names.append(_text(name, start, down, "place"))
    return Drawing(said(chart.title), height, Markup("").join([*dots, *names]))


def legend(chart: Curves) -> list[tuple[str, Label]]:
    """(style, name) of the curves that are drawn."""
    return [(curve.style, curve.label) for curve in _drawable(chart.curves) if curve.label]


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


def text_width(text: str, size: float) -> float:
    """About how wide a text is at a font size: one em for Han and kana, 0.58 em for letters."""
    return size * sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.58 for c in text)


def _drawable(curves: Sequence[Curve]) -> list[Curve]:
    """The curves without points that are not finite, thinned; none when there are no two points to join."""
    finite = [replace(c, points=[p for p in c.points if all(map(math.isfinite, p))]) for c in curves]
    drawn = [replace(c, points=thinned(c.points, _MAX_POINTS)) for c in finite if c.points]
    return drawn if any(len(curve.points) > 1 for curve in drawn) else []


def _visible_range(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Lowest value to the highest, without the spike of the first steps, which would flatten all the rest."""
    low = min(min(values) for values in curves)
    highs = []
    for values in curves:
        ordered = sorted(values)
        highs.append(ordered[min(len(ordered) - 1, int(len(ordered) * 0.98))])
    return low, max(highs)


def _grid(y_ticks: Sequence[float], place: Place, x_low: float, x_high: float, left: float) -> Markup:
    parts = []
    for value in y_ticks:
        (x1, y), (x2, _) = (place((x, value)) for x in (x_low, x_high))
        parts.append(f'<line class="grid" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(f"{value:g}", left - 8, y, "axis end"))
    return Markup("").join(map(Markup, parts))


def _x_axis(place: Place, x_low: float, x_high: float, y_low: float, height: float) -> Markup:
    inside = [v for v in ticks(x_low, x_high) if x_low <= v <= x_high]
    return Markup("").join(_text(f"{v:g}", place((v, y_low))[0], height - 34, "axis middle") for v in inside)


def _curve(curve: Curve, place: Place) -> Markup:
    placed = [place(point) for point in curve.points]
    line = Markup('<polyline class="curve {}" points="{}"/>').format(
        curve.style, " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    )
    if len(placed) > _MAX_DOTS or curve.style == "faint":
        return line
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>')
    return line + Markup("").join(dot.format(curve.style, x, y) for x, y in placed)


def _text(text: str, x: float, y: float, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text)
