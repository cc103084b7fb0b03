from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from zen_pipeline.blocks import Bar, Bars, Curve, Curves, Histogram, Scatter
from zen_pipeline.reporting.charts import (
    Drawing,
    draw_bars,
    draw_curves,
    draw_histogram,
    draw_scatter,
    legend,
    smoothed,
    thinned,
    ticks,
)
from zen_pipeline.reporting.rendering import picture


def parsed(drawing: Drawing | None) -> ET.Element:
    assert drawing is not None
    return ET.fromstring(drawing.__html__())


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
    chart = Bars("bits", [Bar("bigram", 2.0), Bar("a <model>", 1.0, "good"), Bar("diverged", math.nan)])
    root = parsed(draw_bars(chart))
    widths = [float(rect.attrib["width"]) for rect in root.iter("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
    texts = [t.text for t in root.iter("text")]
    assert texts == ["bigram", "2.000", "a <model>", "1.000", "diverged", "nan"]
    assert [g.attrib["class"] for g in root.iter("g")] == ["bar", "bar main good", "bar"]


def test_a_falling_curve_falls_inside_the_picture() -> None:
    chart = Curves("t", [Curve("loss", [(1, 4.0), (2, 3.0), (3, 1.0)])], x="steps", y="nats")
    root = parsed(draw_curves(chart))
    (curve,) = (p.attrib["points"] for p in root.iter("polyline"))
    points = [tuple(map(float, p.split(","))) for p in curve.split()]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # downwards is a larger y
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_a_spike_and_a_nan_do_not_hide_the_rest() -> None:
    usual = [(float(x), 3.0 + x / 100) for x in range(99)]
    root = parsed(draw_curves(Curves("t", [Curve("", [*usual, (99.0, 1e6), (100.0, float("nan"))])], x="x", y="y")))
    labels = [float(t.text or "") for t in root.iter("text") if t.attrib["class"] == "axis end" and t.text != "x"]
    assert labels
    assert max(labels) < 10
    assert not any("nan" in p.attrib["points"] for p in root.iter("polyline"))


def test_a_long_curve_is_drawn_from_its_first_to_its_last_point_by_a_few_hundred() -> None:
    curve = Curve("loss", [(float(x), 1.0 / (x + 1)) for x in range(5000)])
    root = parsed(draw_curves(Curves("t", [curve], x="step", y="nats")))
    (points,) = (p.attrib["points"].split() for p in root.iter("polyline"))
    assert len(points) <= 400
    first, last = (float(p.split(",")[0]) for p in (points[0], points[-1]))
    assert (first, last) == (58.0, 626.0)


def test_nothing_to_join_is_no_chart() -> None:
    chart = Curves("t", [Curve("loss", [(1, 2.0)]), Curve("none", [(1, math.nan), (2, math.inf)])], x="x", y="y")
    assert draw_curves(chart) is None
    assert picture(chart) is None
    assert legend(chart) == []


def test_columns_are_as_tall_as_their_counts_and_an_empty_bin_has_none() -> None:
    chart = Histogram("lengths", [(1, 1, 4), (2, 3, 0), (4, 7, 8)], x="characters")
    root = parsed(draw_histogram(chart))
    heights = [float(rect.attrib["height"]) for rect in root.iter("rect")]
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.1)
    assert heights[1] == 0
    assert {"1", "2", "4", "8", "characters"} <= {t.text for t in root.iter("text")}


def test_a_map_draws_every_point_and_no_name_over_an_earlier_one() -> None:
    points = [("first", 0.1, 0.1), ("covered", 0.1, 0.1001), ("<b>城市", 1.0, 1.0)]
    root = parsed(draw_scatter(Scatter("words", points)))
    assert [t.text for t in root.iter("text")] == ["first", "<b>城市"]
    assert [t.text for c in root.iter("circle") for t in c.iter("title")] == ["first", "covered", "<b>城市"]
    low, high = (float(c.attrib["cy"]) for c in root.findall("circle")[::2])
    assert high < low  # y points upwards
    right = next(t for t in root.iter("text") if t.text == "<b>城市")
    assert float(right.attrib["x"]) < float(root.attrib["viewBox"].split()[2]) - 40


def test_a_picture_is_a_file_of_its_own_with_title_and_names() -> None:
    curves = [Curve("a < b", [(0.0, 2.0), (1.0, 1.0)]), Curve("held out", [(0.0, 2.0), (1.0, 1.5)], "second")]
    text = picture(Curves("loss <of> it", curves, x="step", y="nats"))
    assert text is not None
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    shown = {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"loss <of> it (nats)", "a < b", "held out", "step"} <= shown
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
