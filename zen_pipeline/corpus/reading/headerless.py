"""Tables without a header: whether the first row names the columns, and what the columns are if it does not.

Told by types and lengths: a name is short and unlike the values below it; of the values, texts are long and differ,
labels are few and come again, numbers, dates, links and attributions are none of both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple

from zen_pipeline.corpus.kinds.kinds import LANGUAGE_CODES, language_code
from zen_pipeline.corpus.language.identify import UNKNOWN, guess_language

_NUMBER = re.compile(r"\s*[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?%?\s*")
_DATE = re.compile(r"\s*(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4})(?:[T ][\d:.+Z-]*)?\s*")
_ABOUT = re.compile(r"CC[- ]?(?:BY|0)\b|tatoeba|https?://|www\.|^\S+@\S+$", re.I)  # attributions, links
_CODE = re.compile(r"(?=\S*\d)[\x21-\x7e]+|[\da-f]{8}-[\da-f-]{20,}", re.I)  # `gj04`, `train-17`
_LABEL = re.compile(r"\w[\w \-/&+:.]{0,38}\w|\w")
_LETTER = re.compile(r"[^\W\d_]")
_NAME = re.compile(r"[^\W\d][\w.\-]*(?:[ ][\w.()\-/]+){0,3}|#|")  # of a column; the one of an index is often empty
_WRITTEN_AS_NAME = re.compile(r"[a-z]+(?:_\w+)+|[a-z]+[A-Z]\w*|[A-Z]+(?:_[A-Z]+)+|\w+ ?(?:id|ID|Id)|[A-Za-z]+_?\d")
_NAMES = frozenset(
    """
    id index idx no nr num number title body name date time year text content description url link source target author
    user username lang language score rating stars label labels class category type tag topic comment message question
    answer subject summary abstract headline tweet review sentence document article paragraph input output prompt
    response instruction context translation original key value status country city age gender price email split
    english german french spanish italian portuguese dutch russian chinese japanese korean arabic turkish polish
    """.split()  # noqa: SIM905 - reads better than seventy quoted words
)
_LONGEST_NAME = 40
_FEW = 0.5  # labels are at most so many of the rows

ColumnType = Literal["text", "label", "other"]


class Columns(NamedTuple):
    """What the columns of a table are, by their places from 0: the fields of a row, and what is said of it."""

    kind: Literal["document", "classification", "translation"]
    texts: tuple[int, ...]
    label: int | None = None
    languages: tuple[str, str] = ("", "")

    def fields(self, cells: Sequence[str]) -> dict[str, str]:
        """The fields of one row."""
        texts = [cells[place] for place in self.texts]
        if self.kind == "translation":
            languages = dict(zip(("source_language", "target_language"), self.languages, strict=True))
            return {"source": texts[0], "target": texts[1], **languages}
        fields = {"text": "\n\n".join(text for text in texts if text.strip())}
        return fields if self.label is None else {**fields, "label": cells[self.label]}

    def __str__(self) -> str:
        places = " and ".join(str(place + 1) for place in self.texts)
        if self.kind == "translation":
            return f"translations, columns {places}"
        label = "" if self.label is None else f", label in column {self.label + 1}"
        return f"{self.kind}s, text in column {places}{label}"


def is_header(rows: Sequence[Sequence[str]]) -> bool:
    """True if the first row names the columns of the others: short, without repetition, and unlike the values below."""
    first, rest = [cell.strip() for cell in rows[0]], [row for row in rows[1:] if len(row) == len(rows[0])]
    shaped = all(len(cell) <= _LONGEST_NAME and _NAME.fullmatch(cell) for cell in first)
    if not shaped or len({cell for cell in first if cell}) < len([cell for cell in first if cell]) or not any(first):
        return False
    if any(row[place].strip() == cell for place, cell in enumerate(first) for row in rest if cell):
        return False  # a label comes again, a name does not
    if any(cell.lower() in _NAMES or _WRITTEN_AS_NAME.fullmatch(cell) for cell in first):
        return True
    for place, cell in enumerate(first):
        values = [row[place] for row in rest]
        if not values:
            continue
        if sum(_NUMBER.fullmatch(value) is not None for value in values) > len(values) / 2:
            return True  # a word above numbers
        if median(map(len, values)) > max(4 * len(cell), _LONGEST_NAME):
            return True
    return False


def recognise(rows: Sequence[Sequence[str]], name: str = "") -> Columns | str:
    """What the columns of some rows without a header are, or why that cannot be told.

    Args:
        rows: the first ones.
        name: of the file; `fra.txt` names the other language.
    """
    count = max((len(row) for row in rows), key=[len(row) for row in rows].count, default=0)
    whole = [row for row in rows if len(row) == count]
    values = [[row[place].strip() for row in whole] for place in range(count)]
    types = [_type(column) for column in values]
    texts = [place for place, kind in enumerate(types) if kind == "text"]
    labels = [place for place, kind in enumerate(types) if kind == "label"]
    if not texts:
        return "no column holds texts"
    if len(texts) == 1:
        return Columns("classification" if labels else "document", (texts[0],), _best(labels, values))
    languages = [_language(values[place]) for place in texts]
    if count == len(texts) == 3 and languages[0] != languages[1] and all(languages[:2]):
        texts, languages = texts[:2], languages[:2]  # the third says where the pair is from
    if len(texts) == 2 and (not labels or (languages[0] != languages[1] and all(languages))):
        if languages[0] and languages[0] == languages[1]:
            return f"two columns hold texts in one language ({languages[0]})"
        languages[1] = languages[1] or language_code(name.rpartition("/")[2].partition(".")[0])
        return Columns("translation", (texts[0], texts[1]), languages=(languages[0], languages[1]))
    if len(texts) == 2:
        return Columns("classification", tuple(texts), _best(labels, values))
    return f"{len(texts)} columns hold texts"


def _best(labels: Sequence[int], values: Sequence[Sequence[str]]) -> int | None:
    """Of several columns of labels the one with the fewest different ones."""
    return min(labels, key=lambda place: len(set(values[place])), default=None)


def _language(texts: Sequence[str]) -> str:
    """The language of many short texts, which is surer than that of one; nothing when it stays unknown."""
    language = guess_language("\n".join(texts[:50]))
    return "" if language == UNKNOWN else language


def _type(values: Sequence[str]) -> ColumnType:
    filled = [value for value in values if value]
    if not filled:
        return "other"
    if _most(_DATE, filled) or sum(_ABOUT.search(value) is not None for value in filled) > len(filled) / 2:
        return "other"
    different = len(set(filled))
    comes_again = 1 < different <= max(_FEW * len(filled), 2 if len(filled) > 2 else 0)
    codes = all(value.lower() in LANGUAGE_CODES or value == r"\N" for value in filled)
    if _most(_NUMBER, filled):
        whole = all(value.lstrip("+-").isdigit() for value in filled)
        return "label" if whole and comes_again and len(filled) == len(values) else "other"
    if all(_LABEL.fullmatch(value) for value in filled) and (comes_again or (different == 1 and len(values) > 2)):
        return "other" if codes or different == 1 or len(filled) < len(values) else "label"
    if codes or _most(_CODE, filled):
        return "other"
    return "text" if sum(_LETTER.search(value) is not None for value in filled) > len(filled) / 2 else "other"


def _most(pattern: re.Pattern[str], values: Sequence[str]) -> bool:
    return sum(pattern.fullmatch(value) is not None for value in values) > 0.9 * len(values)
