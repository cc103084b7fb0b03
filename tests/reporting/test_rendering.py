"""Every block on a page: shown, escaped, in the page's language."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from zen_pipeline import blocks
from zen_pipeline.blocks import (
    Amount,
    Bar,
    Bars,
    Card,
    Code,
    Curve,
    Curves,
    Example,
    Facts,
    Histogram,
    Lines,
    ModelReport,
    Note,
    Page,
    Passages,
    Quote,
    Scatter,
    Section,
    Share,
    Status,
    Table,
    from_json,
    phrase,
    to_json,
)
from zen_pipeline.reporting.formatting import flattened, number
from zen_pipeline.reporting.rendering import render, with_code

HOSTILE = '<script>alert("1")</script>'
CELLS = (
    None, True, 1234567, 0.5, "text", phrase("{n} of {m}", n=1, m=phrase("steps")), Code("a.b"), Quote("do `it`"),
    Amount("3 MB"), Share(0.25), Status("stop", "bad"), Example("id7", "its text"), Lines(["first", Code("second")]),
)  # fmt: skip
BLOCKS = (
    Note("a note"),
    Table(("cell",), [(cell,) for cell in CELLS], title="a table", note="of cells"),
    Table(("a", "b"), [(1, "x"), (2, "y"), (3, "z")], stacked=True, shown=2),
    Table(("folded",), [("inside",)], folded="unfold it"),
    Facts([("steps", 7)], title="some facts"),
    Facts([("hidden", 8)], folded="unfold them"),
    Bars("some bars", [Bar("one", 1.0, "good")]),
    Curves("some curves", [Curve("loss", [(1.0, 2.0), (2.0, 1.0)])], x="steps", y="nats"),
    Histogram("a histogram", [(1, 1, 3)], x="characters"),
    Scatter("a map", [("dot", 0.5, 0.5)]),
    Passages("once ", [("model", "upon"), ("truth", "a time")]),
)
REPORT = ModelReport(
    phrase("it reaches {f1}", f1=0.5),
    [Card("0.5", "F1", "good", "best baseline: 0.4")],
    [Section("s", "Title", BLOCKS)],
)


def hostile(value: Any) -> Any:
    """The same blocks with a script in place of every text; verdicts and styles stay."""
    if is_dataclass(value):
        kept = {"verdict", "style", "stacked", "shown", "digits"} - (
            {"verdict"} if isinstance(value, ModelReport) else set()
        )
        changed = {f.name: getattr(value, f.name) for f in fields(value)}
        changed = {k: v if k in kept else hostile(v) for k, v in changed.items()}
        return type(value)(**changed)  # type: ignore[call-arg]
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(map(hostile, value))
    return HOSTILE if isinstance(value, str) and value else value


def page(report: ModelReport, **more: Any) -> str:
    return render(Page("a title", [report.verdict], cards=report.cards, sections=report.sections, **more))


def shown(text: str) -> str:
    """The text of a page, as a reader sees it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text.split("</style>")[1])).split())


def test_every_kind_of_block_and_cell_is_shown() -> None:
    text = shown(page(REPORT))
    for part in (
        "it reaches 0.5", "best baseline: 0.4", "1,234,567", "yes", "1 of steps", "do it", "3 MB", "0.25",
        "id7 its text", "second", "unfold it", "inside", "unfold them", "hidden", "some bars", "some curves",
        "a histogram", "a map", "once upon", "a time", "1 more",
    ):  # fmt: skip
        assert part in text, part
    held = {type(cell).__name__ for cell in CELLS} | {type(block).__name__ for block in BLOCKS}
    kinds = {getattr(kind, "__name__", str(kind)) for union in (blocks.Cell, blocks.Block) for kind in union.__args__}
    assert kinds == held  # a new block belongs in this test


def test_whatever_a_text_holds_it_stays_a_text() -> None:
    text = page(hostile(REPORT), about=[(HOSTILE, HOSTILE)], status=Status(HOSTILE, "bad"))
    assert "<script" not in text
    assert text.count("alert(") > 30


def test_a_page_asks_nobody() -> None:
    assert not re.search(r"https?:|src\s*=|@import|url\(", page(REPORT))


def test_numbers_stand_to_the_right_and_nothing_else() -> None:
    table = Table(("name", "amount", "mixed"), [("a", Amount("1 MB"), 1), ("b", None, "x")])
    text = render(Page("t", ["v"], sections=[Section("s", "S", [table])]))
    assert re.findall(r'<th scope="col"( class="number")?>', text) == ["", ' class="number"', ""]


def test_a_section_without_blocks_is_left_out() -> None:
    text = render(Page("t", ["v"], sections=[Section("none", "Empty", []), Section("some", "Full", [Note("n")])]))
    assert "Empty" not in text
    assert '<section id="some">' in text


def test_blocks_survive_a_file() -> None:
    again = from_json(json.loads(json.dumps(to_json({"chat": REPORT}))))
    assert page(again["chat"]) == page(REPORT)
    nan = Curve("loss", ((1.0, math.nan),))
    assert math.isnan(from_json(json.loads(json.dumps(to_json(nan)))).points[0][1])


@pytest.mark.parametrize(
    ("value", "text"),
    [(12, "12"), (1234567, "1,234,567"), (0.123456, "0.1235"), (3.0, "3"), (True, "yes"), (math.inf, "inf")],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert number(value) == text


def test_code_is_marked_after_escaping() -> None:
    assert with_code("What does `a<b>` do? <i>") == "What does <code>a&lt;b&gt;</code> do? &lt;i&gt;"


def test_nested_settings_become_dotted_names() -> None:
    assert flattened({"a": {"b": 1, "c": None}, "d": [1, 2]}) == [("a.b", "1"), ("d", "1, 2")]
