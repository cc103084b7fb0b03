from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from zen_pipeline.reporting.charts import Bar, Line, bar_chart, line_chart, smoothed, thinned, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3.1, 8.9, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
        (1.0, 900.0, [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]),
    ],
)
def test_ticks_are_round_and_span_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_equal_values_still_have_an_axis() -> None:
    values = ticks(2.0, 2.0)
    assert values[0] < values[-1]


def test_smoothing_is_a_trailing_mean() -> None:
    points = [(1.0, 4.0), (2.0, 2.0), (3.0, 6.0)]
    assert smoothed(points, 2) == [(1.0, 4.0), (2.0, 3.0), (3.0, 4.0)]


def test_thinning_keeps_both_ends() -> None:
    points = [(float(x), 0.0) for x in range(1000)]
    kept = thinned(points, 10)
    assert len(kept) == 10
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert thinned(points[:5], 10) == points[:5]


def test_bars_are_as_long_as_their_values() -> None:
    root = ET.fromstring(bar_chart([Bar("bigram", 2.0), Bar("a <model>", 1.0, kind="good")], title="bits"))
    widths = [float(rect.attrib["width"]) for rect in root.iter("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
    assert [t.text for t in root.iter("text")] == ["bigram", "2.000", "a <model>", "1.000"]


def test_a_falling_curve_falls_inside_the_picture() -> None:
    chart = line_chart([Line("loss", [(1, 4.0), (2, 3.0), (3, 1.0)])], title="t", x_label="steps", y_label="nats")
    root = ET.fromstring(chart[chart.index("<svg") :])
    (curve,) = (p.attrib["points"] for p in root.iter("polyline"))
    points = [tuple(map(float, p.split(","))) for p in curve.split()]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # downwards is a larger y
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_a_spike_and_a_nan_do_not_hide_the_rest() -> None:
    usual = [(float(x), 3.0 + x / 100) for x in range(99)]
    chart = line_chart([Line("", [*usual, (99.0, 1e6), (100.0, float("nan"))])], title="t", x_label="x", y_label="y")
    labels = [float(v) for v in re.findall(r'class="axis name"[^>]*>([^<]+)<', chart)]
    assert max(labels) < 10
    assert "nan" not in chart


def test_nothing_to_join_is_no_chart() -> None:
    assert line_chart([Line("loss", [(1, 2.0)])], title="t", x_label="x", y_label="y") == ""
