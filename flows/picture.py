"""A line chart as a small SVG text: a few curves over the steps, without starting a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 720, 360, 48
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_MAX_POINTS = 400  # more cannot be told apart at this width

Curve = Sequence[tuple[float, float]]


def line_chart_svg(title: str, curves: Mapping[str, Curve], *, x: str, y: str) -> str:
    """An SVG picture of (x, y) curves on shared axes, each of one unit.

    Args:
        title: shown above the picture.
        curves: points by name; points that are not finite are left out.
        x: what the horizontal axis counts.
        y: the unit of the vertical axis.

    Raises:
        ValueError: no curve has a finite point.
    """
    finite = {name: [p for p in c if all(map(math.isfinite, p))] for name, c in curves.items()}
    points = [point for curve in finite.values() for point in curve]
    if not points:
        raise ValueError("there is no finite point to draw")
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)

    def place(point: tuple[float, float]) -> str:
        across = _MARGIN + (point[0] - left) / ((right - left) or 1.0) * (_WIDTH - 2 * _MARGIN)
        down = _HEIGHT - _MARGIN - (point[1] - low) / ((high - low) or 1.0) * (_HEIGHT - 2 * _MARGIN)
        return f"{across:.1f},{down:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        _text(_WIDTH / 2, 20, title, "middle"),
        f'<path d="M{_MARGIN},{_MARGIN} V{_HEIGHT - _MARGIN} H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>',
        _text(_MARGIN - 4, _MARGIN + 4, f"{high:.4g}", "end"),
        _text(_MARGIN - 4, _HEIGHT - _MARGIN + 4, f"{low:.4g}", "end"),
        _text(_MARGIN, _HEIGHT - _MARGIN + 18, f"{left:.6g}", "start"),
        _text(_WIDTH - _MARGIN, _HEIGHT - _MARGIN + 18, f"{right:.6g}", "end"),
        _text(_WIDTH / 2, _HEIGHT - _MARGIN + 18, x, "middle"),
        _text(_MARGIN, _MARGIN - 10, y, "start"),
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


def _text(across: float, down: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{across}" y="{down}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
