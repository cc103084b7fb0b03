"""A line chart as a small SVG text: a few curves over the steps, without starting a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 720, 360, 48
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_MAX_POINTS = 400  # more cannot be told apart at this width

Curve = Sequence[tuple[float, float]]


def line_chart_svg(title: str, curves: Mapping[str, Curve]) -> str:
    """An SVG picture of (x, y) curves on shared axes.

    Args:
        title: shown above the picture.
        curves: points by name; points that are not finite are left out.

    Raises:
        ValueError: no curve has a finite point.
    """
    finite = {name: [(x, y) for x, y in c if math.isfinite(x) and math.isfinite(y)] for name, c in curves.items()}
    points = [point for curve in finite.values() for point in curve]
    if not points:
        raise ValueError("there is no finite point to draw")
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)

    def place(point: tuple[float, float]) -> str:
        x = _MARGIN + (point[0] - left) / ((right - left) or 1.0) * (_WIDTH - 2 * _MARGIN)
        y = _HEIGHT - _MARGIN - (point[1] - low) / ((high - low) or 1.0) * (_HEIGHT - 2 * _MARGIN)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        _text(_WIDTH / 2, 20, title, "middle"),
        f'<path d="M{_MARGIN},{_MARGIN} V{_HEIGHT - _MARGIN} H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>',
        _text(_MARGIN - 4, _MARGIN + 4, f"{high:.4g}", "end"),
        _text(_MARGIN - 4, _HEIGHT - _MARGIN + 4, f"{low:.4g}", "end"),
        _text(_MARGIN, _HEIGHT - _MARGIN + 18, f"{left:.6g}", "start"),
        _text(_WIDTH - _MARGIN, _HEIGHT - _MARGIN + 18, f"{right:.6g}", "end"),
    ]
    for index, (name, curve) in enumerate(finite.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        line = " ".join(place(point) for point in _thinned(curve))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(_WIDTH - _MARGIN, _MARGIN + 16 * index, name, "end", colour))
    return "".join([*parts, "</svg>"])


def _thinned(curve: Curve) -> Curve:
    """At most `_MAX_POINTS` points, evenly chosen, the last one among them."""
    every = math.ceil(len(curve) / _MAX_POINTS)
    return curve if every <= 1 else [*curve[:-1:every], curve[-1]]


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
