from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from flows.picture import line_chart_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_each_curve_is_a_line_from_its_first_to_its_last_point() -> None:
    curve = [(float(x), 1.0 / (x + 1)) for x in range(5000)]
    picture = ElementTree.fromstring(
        line_chart_svg("a < b", {"loss": curve, "other": [(0.0, 0.5), (10.0, math.nan)]}, x="step", y="nats")
    )

    first, other = picture.iter(f"{SVG}polyline")
    points = first.attrib["points"].split()
    assert len(points) <= 402
    assert (points[0], points[-1]) == ("48.0,48.0", "672.0,312.0")
    assert len(other.attrib["points"].split()) == 1
    assert {"a < b", "step", "nats"} <= {text.text for text in picture.iter(f"{SVG}text")}


def test_there_is_nothing_to_draw_without_a_finite_point() -> None:
    with pytest.raises(ValueError, match="no finite point"):
        line_chart_svg("loss", {"loss": [(0.0, math.nan)]}, x="step", y="nats")
