"""Blocks that a report page is made of: plain data without markup, which a task or a stage returns.

`zen_pipeline.reporting` draws them; who fills them writes no HTML and knows neither the page's language nor its style.
Two kinds of text are told apart. A *label* (title, note, head of a column, name of a curve) is ours: English, shown in
Chinese on a Chinese page where `reporting.wording` has a translation. A *cell* that is a `str` is data: shown as it is.
Everything is escaped when the page is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

Verdict = Literal["", "good", "bad", "warn", "aside"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Phrase:
    """A sentence or a term of ours, shown in the page's language; `values` fill its `{names}`."""

    text: str
    values: Mapping[str, str | int | float | Phrase] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text.format(**self.values) if self.values else self.text


Label = str | Phrase


def phrase(text: str, **values: str | int | float | Phrase) -> Phrase:
    """A phrase with its values as keywords; a value that is to be translated is a phrase itself."""
    return Phrase(text, values)


# --- cells ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    """A name, path or digest, set in a fixed width."""

    text: str


@dataclass(frozen=True)
class Quote:
    """A text of a record or a model, in which `code` in backticks is shown as code."""

    text: str


@dataclass(frozen=True)
class Amount:
    """A number that is written already, with its unit; set to the right."""

    text: str


@dataclass(frozen=True)
class Share:
    """A number from 0 to 1, with a small bar."""

    value: float


@dataclass(frozen=True)
class Status:
    """A short word with the colour and the sign of a verdict."""

    label: Label
    verdict: Verdict = ""


@dataclass(frozen=True)
class Example:
    """A record by name, and the beginning of its text."""

    name: str
    text: str


@dataclass(frozen=True)
class Lines:
    """Several cells in one, below each other."""

    cells: Sequence[Cell]


Cell = None | bool | int | float | str | Phrase | Code | Quote | Amount | Share | Status | Example | Lines


# --- blocks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """A paragraph that explains."""

    text: Label


@dataclass(frozen=True)
class Table:
    """Rows under heads; a column of numbers is set to the right.

    Attributes:
        columns: heads.
        rows: cells, as many as there are columns.
        title: above the table.
        note: between title and table.
        stacked: turn each row into a block on a narrow screen; for long texts.
        shown: rows before the rest is folded away; None: all.
        folded: the line that unfolds the whole table; empty for a table in the open.
    """

    columns: Sequence[Label]
    rows: Sequence[Sequence[Cell]]
    title: Label = ""
    note: Label = ""
    stacked: bool = False
    shown: int | None = None
    folded: Label = ""


@dataclass(frozen=True)
class Facts:
    """Names with their values.

    Attributes:
        rows: (name, value).
        title: above the list.
        folded: the line that unfolds the list; empty for a list in the open.
    """

    rows: Sequence[tuple[Label, Cell]]
    title: Label = ""
    folded: Label = ""


@dataclass(frozen=True)
class Bar:
    """One bar from zero; `verdict` colours the one that the chart is about."""

    label: Label
    value: float
    verdict: Verdict = ""


@dataclass(frozen=True)
class Bars:
    """Figures of one unit as bars, one below the other, in the order given."""

    title: Label
    bars: Sequence[Bar]
    digits: int = 3


@dataclass(frozen=True)
class Curve:
    """One curve of (x, y) points; those that are not finite are left out.

    Attributes:
        label: its name in the legend.
        points: in the order of x.
        style: `main` and `second` stand out, `faint` is the background.
    """

    label: Label
    points: Sequence[Point]
    style: Literal["main", "second", "faint"] = "main"


@dataclass(frozen=True)
class Curves:
    """Curves over common axes, each of one unit; left out when no curve has two points.

    Attributes:
        title: above the chart, and what a screen reader says.
        curves: drawn in this order.
        x: what the horizontal axis counts.
        y: the unit of the vertical axis.
    """

    title: Label
    curves: Sequence[Curve]
    x: Label
    y: Label


@dataclass(frozen=True)
class Histogram:
    """Counts in bins that stand side by side.

    Attributes:
        title: what is counted.
        bins: (lowest value, highest value, count), in order.
        x: what the bins divide, with its unit.
    """

    title: Label
    bins: Sequence[tuple[int, int, int]]
    x: Label


@dataclass(frozen=True)
class Scatter:
    """A map of named points; names are drawn where they cover no earlier one.

    Attributes:
        title: what is mapped.
        points: (name, x, y), the most important first; both coordinates in 0 … 1, y upwards.
    """

    title: Label
    points: Sequence[tuple[str, float, float]]


@dataclass(frozen=True)
class Passages:
    """Texts side by side that go on from the same beginning; the first is the model's.

    Attributes:
        given: the beginning, shown in grey before each text.
        texts: (name, text).
    """

    given: str
    texts: Sequence[tuple[Label, str]]


Block = Note | Table | Facts | Bars | Curves | Histogram | Scatter | Passages


# --- pages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """One large number.

    Attributes:
        value: the number as people write it.
        label: its name and unit.
        verdict: `good` or `bad` for a figure that was compared.
        more: what it was compared with.
    """

    value: str
    label: Label
    verdict: Verdict = ""
    more: Label = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with a title; one without blocks is left out.

    Attributes:
        name: its anchor.
        title: at its head.
        blocks: in the order shown.
        of: the model that it is about, on a page with several; set by the page.
    """

    name: str
    title: Label
    blocks: Sequence[Block]
    of: str = ""


@dataclass(frozen=True)
class ModelReport:
    """One model's evaluation as the page shows it: what a task returns of its metrics and examples.

    Attributes:
        verdict: the result and the baseline in one sentence.
        cards: the deciding figure first.
        sections: scores, samples, answers: whatever shows what the model can do.
    """

    verdict: Phrase
    cards: Sequence[Card] = ()
    sections: Sequence[Section] = ()


@dataclass(frozen=True)
class Page:
    """A whole page, from the result down to the settings.

    Attributes:
        title: what the page is about, above the verdict and in the browser's tab.
        verdict: sentences that give the result.
        status: a word before the verdict, such as `Refused`.
        about: facts below the verdict.
        cards: large numbers.
        sections: in the order shown; one without blocks is left out.
        language: of the page.
    """

    title: Label
    verdict: Sequence[Label]
    status: Status | None = None
    about: Sequence[tuple[Label, Cell]] = ()
    cards: Sequence[Card] = ()
    sections: Sequence[Section] = ()
    language: Literal["en", "zh"] = "en"


# --- files ------------------------------------------------------------------------------------------------------------

_TAG = "is"  # the key that names the class
_CLASSES: Mapping[str, Any] = {
    made.__name__: made
    for made in (Phrase, Code, Quote, Amount, Share, Status, Example, Lines, Note, Table, Facts, Bar, Bars, Curve,
                 Curves, Histogram, Scatter, Passages, Card, Section, ModelReport)
}  # fmt: skip


def to_json(value: Any) -> Any:
    """Blocks, or a mapping or sequence of them, as JSON values."""
    if is_dataclass(value):
        return {_TAG: type(value).__name__, **{f.name: to_json(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """The blocks that `to_json` was given; sequences come back as tuples.

    Raises:
        KeyError: a class that is no block.
    """
    if isinstance(value, list):
        return tuple(map(from_json, value))
    if not isinstance(value, dict):
        return value
    items = {key: from_json(item) for key, item in value.items() if key != _TAG}
    return _CLASSES[value[_TAG]](**items) if _TAG in value else items
