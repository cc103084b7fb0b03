"""Telephone numbers, by their shape where that is certain, else by the words around them.

No check digit tells a telephone number from any other, and the form for calls within a country differs in every one
(ITU-T E.123). So `+41 44 668 18 00` and `(212) 555-0147` are taken as they are; `044 668 18 00` only after a word such
as "phone", "Tel." or 电话, or before one such as "office".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zen_pipeline.corpus.cleaning.identifiers import RUN

Span = tuple[int, int]

_EXTENSION = r"(?:\s?(?:x|ext\.?|extension)\s?\d{1,6})?"
# `+` or `00`, a country, and 6 to 13 digits more; or the ten digits of North America in groups of 3, 3 and 4.
_CERTAIN = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+[1-9]\d{0,2}(?:[ .\-/\u00a0]?\(?\d{1,5}\)?){2,6}"
    r"|00[1-9]\d{0,2}[ .-](?:\(?\d{1,5}\)?[ .-]?){2,5}\d{2,5}"
    r"|(?:\+?1[ .-]|001[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}" + _EXTENSION + r")(?![\w]|[.-]\d)",
    re.ASCII,
)
_LIKELY = re.compile(
    r"(?<![\w.,+/-])\(?\d(?:[ .\-/\u00a0()]{0,2}\d){5,14}" + _EXTENSION + r"(?![\w]|[.,:/-]\d)", re.ASCII
)
_WORD = (
    r"(?:\b(?:tele)?phones?\b|\bmobile\b|\bcell(?:phone)?\b|\btel\b|\bfax\b|\bcall(?:ed|ing)?\b|\bdial\b|\breach\b"
    r"|\bwhatsapp\b|\bhotline\b|\banswering at\b|\bmessages? (?:to|on)\b|\btext me\b|\bcontact (?:me|us|number)\b"
    r"|\btelefon\w{0,20}|\bhandy\w{0,20}|\bmobil\w{0,20}|\brufnummer\b|\banrufen\b|\btéléphone|\bportable\b|\bappel\w{0,20}"
    r"|\bteléfono|\bmóvil|\bllám\w{0,20}|电话|電話|手机|手機|致电|拨打|传真|联系方式|热线)"
)
_BEFORE = re.compile(rf"{_WORD}[^\d]{{0,25}}$|\b(?:desk|office)\W{{0,3}}$", re.IGNORECASE)
_RIGHT_BEFORE = re.compile(rf"{_WORD}\W{{0,6}}$", re.IGNORECASE)  # for fewer than 7 digits
_AFTER = re.compile(r"[ \-,:(]{0,3}(?:office|fax|mobile|cell|desk|home|work|tel|phone)\b", re.IGNORECASE)
_DECIMAL = re.compile(r"\+\d{1,40}\.\d{1,40}")
_DATE = re.compile(r"(?:1[89]|20)\d\d[-/. ]\d\d?[-/. ]\d\d?|\d\d?[-/.]\d\d?[-/.](?:1[89]|20)?\d\d|\d{4} ?[-/] ?\d{4}")


def find_phones(text: str) -> Iterator[Span]:
    """Where telephone numbers of 7 to 15 digits stand; of 6 or more after a word that says so."""
    for run in RUN.finditer(text):
        start, end = max(run.start() - 1, 0), min(run.end() + 12, len(text))
        for match in _CERTAIN.finditer(text, start, end):
            if 7 <= _digits(match[0]) <= 21 and not _DECIMAL.fullmatch(match[0]):
                yield match.span()
        for match in _LIKELY.finditer(text, start, end):
            if not _DATE.fullmatch(match[0]) and _is_announced(text, match):
                yield match.span()


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _is_announced(text: str, number: re.Match[str]) -> bool:
    before = _BEFORE if _digits(number[0]) >= 7 else _RIGHT_BEFORE
    if before.search(text[max(number.start() - 60, 0) : number.start()]):
        return True
    return bool(_AFTER.match(text, number.end(), number.end() + 14))
