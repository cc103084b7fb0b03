"""Pages as one HTML file each that needs nothing else: no web address, no script, no font, no second file.

A page is data (`zen_pipeline.blocks`); the files in `templates/` say how each block looks, one macro for each class of
`blocks.html`, and one stylesheet says in which colours. Everything that is not markup of a template is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from zen_pipeline.blocks import Amount, Bars, Curves, Histogram, Page, Scatter, Table, phrase
from zen_pipeline.reporting import charts
from zen_pipeline.reporting.formatting import number
from zen_pipeline.reporting.wording import Language, in_language, said

if TYPE_CHECKING:
    from jinja2 import Environment

_JOINTS = re.compile(r"[_/.](?=\w)")
_CODE = re.compile(r"`([^`\n]{1,200})`")


def render(page: Page) -> str:
    """The page as HTML text."""
    with in_language(page.language):
        return environment().get_template("page.html").render(page=page)


def picture(chart: Bars | Curves | Histogram | Scatter) -> str | None:
    """A chart as an SVG file of its own, in English; None when it has nothing to draw."""
    draw: dict[type, Callable[[Any], charts.Drawing | None]] = {
        Bars: charts.draw_bars,
        Curves: charts.draw_curves,
        Histogram: charts.draw_histogram,
        Scatter: charts.draw_scatter,
    }
    drawing = draw[type(chart)](chart)
    if drawing is None:
        return None
    title, keys = said(chart.title), []
    if isinstance(chart, Curves):
        title, keys = f"{title} ({said(chart.y)})", charts.legend(chart)
    return render_template("picture.svg", drawing=drawing, title=title, keys=keys, width=charts.WIDTH)


def render_template(name: str, *, language: Language = "en", **values: object) -> str:
    """A template other than the page's, filled."""
    with in_language(language):
        return environment().get_template(name).render(language=language, **values)


@cache
def environment() -> Environment:
    """Jinja2 with the project's templates: everything is escaped, and an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, for commands that draw no page

    made = Environment(
        loader=PackageLoader("zen_pipeline.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    made.globals.update(_=said, phrase=phrase)
    made.filters.update(
        said=said, kind=_kind, number=_number, with_code=with_code, breakable=breakable, numeric_columns=numeric_columns
    )
    made.filters.update(
        bars=charts.draw_bars,
        curves=charts.draw_curves,
        legend=charts.legend,
        histogram=charts.draw_histogram,
        scatter=charts.draw_scatter,
    )
    return made


def with_code(text: str) -> Markup:
    """Text in which `code` in backticks is shown as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def breakable(name: str) -> Markup:
    """A long name that may go on in the next line after `_`, `/` and `.`."""
    return Markup(_JOINTS.sub(r"\g<0><wbr>", str(escape(name))))


def numeric_columns(table: Table) -> list[bool]:
    """True for each column that holds numbers and nothing else."""
    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.columns))]
    return [bool(cells) and all(isinstance(c, int | float | Amount) for c in cells) for cells in columns]


def _kind(value: object) -> str:
    """Name of the macro that shows a block or a cell."""
    return type(value).__name__


def _number(value: float) -> str:
    if isinstance(value, bool):
        return said(number(value))
    return number(value) if math.isfinite(value) else "–"
