"""Telephone numbers, by their shape where that is certain, else by the words around them.

No check digit tells a telephone number from any other, and the form for calls within a country differs in every one
(ITU-T E.123). So `+41 44 668 18 00` and `(212) 555-0147` are taken as they are, if such a number can be given out;
`044 668 18 00` only after a word such as "phone", "Tel." or 电话, or before one such as "office". A count ("call it
1000000 times"), a sum and a part number are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zen_pipeline.corpus.cleaning.code import is_bare_code
from zen_pipeline.corpus.cleaning.identifiers import RUN

Span = tuple[int, int]

_EXTENSION = r"(?:\s?(?:x|ext\.?|extension)\s?\d{1,6})?"
_NUMBER = re.compile(
    r"(?<![\w.+/-])(?<!\d,)\+?\(?\d(?:[ .\-/\u00a0()]{0,3}\d){5,16}" + _EXTENSION + r"(?![\w]|[.,:/-]\d| ?\d)", re.ASCII
)
# Groups with one kind of separator, or a bracketed area before them: `+49 30 901820`, `(03) 5327 5996`, `01.84.17.61`.
_GROUPS = re.compile(
    r"\+?\d{0,4}[ .\-/\u00a0]{0,3}(?:\(\d{1,5}\)[ \-/\u00a0]{0,3})?\d{1,17}(?P<one>[ \u00a0]|[.\-/])?\d{0,17}"
    r"(?:(?P=one)\d{1,17}){0,8}(?:[\-/]\d{1,17})?" + _EXTENSION,
    re.ASCII,
)
# Area, exchange and line of North America; neither of the first two begins with 0 or 1 or ends with 11, and no area is
# 200, 300, 400 or 600 or has a 9 in the middle (North American Numbering Plan).
_AREA = r"(?![2346]00|[2-9]11)[2-9][0-8]\d"
_AMERICAN = re.compile(
    rf"(?:(?:\+?1|001)[ .-])?(?:\({_AREA}\) ?|{_AREA}(?P<one>[.-]))(?!\d11)[2-9]\d\d(?(one)(?P=one)|[.-])\d{{4}}"
    + _EXTENSION,
    re.ASCII,
)

# Digits behind the country's code, by the national numbering plans that the ITU publishes (E.129); where a plan is not
# here, 6 to 12.
_LENGTHS = {
    code: range(low, high + 1)
    for (low, high), codes in {
        (10, 10): "1 7 30 52 58 90 91 98", (9, 9): "27 31 33 34 40 48 56 61 93 94 212 351 380 420 421 966",
        (8, 10): "20 60 63 64", (8, 9): "32 36 51 66 213 385 852 886 971 972", (9, 10): "44 81 84 92",
        (8, 8): "45 47 53 65 216 370 371 386 853", (9, 12): "41 86", (7, 10): "46 82 95", (8, 12): "62 57",
        (10, 11): "54 55", (4, 13): "43", (5, 13): "49", (6, 12): "39", (5, 11): "352 358", (7, 9): "353 354 359 372",
    }.items()
    for code in codes.split()
}  # fmt: skip
_OTHER_CODES = re.compile(r"2[1-6]\d|29[017-9]|3[578]\d|37\d|42\d|50\d|59\d|6[789]\d|80[08]|85\d|87[08]|88\d|9[679]\d")

_STRONG = (
    r"\b(?:tele)?phones?\b|\bt[eé]l\b|\bph\b|\btlf\b|\bfax\b|\bwhatsapp\b|\bhotline\b"
    r"|\banswering at\b|\bmessages? (?:to|on)\b|\btext me\b|\bcontact (?:me|us|number)\b"
    r"|\btelefon\w{0,20}|\brufnummer\b|\banrufen\b|\btéléphone|\bteléfono|\bmóvil"
    r"|\bcell ?phone\b|\b(?:mobile|cell|handy)(?=\W{0,3}[:.]| number\b| is\b)|\b(?:desk|office)(?=\W{0,3}$)"
    r"|\bтел(?:ефон\w{0,4})?\b|전화|电话|電話|手机|手機|致电|拨打|传真|联系方式|热线"
)
_WEAK = (
    r"\bmobile?\b|\bcell\b|\bhandy\w{0,20}|\bcall(?:ed|ing)?\b|\bdial\b|\breach\b|\bring\b|\bportable\b|\bappel\w{0,20}"
    r"|\bllám\w{0,20}"
)
# What may stand between such a word and its number.
_LINK = (
    r"(?:[\s:.,;#*_|(\-–—：，、]|\b(?:me|us|him|her|them|at|on|in|is|was|to|the|my|our|your|under|number|no|nr|num|numéro|"
    r"número|office|direct|home|work|now|back|please|registered|mobile|line|int|au|al|unter|ist|es|est|é)\b|是|为|号码|号|我|码){0,12}"
)
_AFTER_STRONG = re.compile(rf"(?:{_STRONG}){_LINK}$", re.IGNORECASE)
_AFTER_WEAK = re.compile(rf"(?:{_WEAK})(?!\({{1,2}}$){_LINK}$", re.IGNORECASE)
_BEFORE_WORD = re.compile(
    r"[ \-,:(]{0,3}(?:office|fax|mobile|cell|desk|home|work|tel|phone)\b(?! ?\w{0,3}\d)", re.IGNORECASE
)
# A word behind a number that does not make it a count of something.
_GOES_ON = re.compile(
    r"\s{1,3}(?:and|or|if|for|to|from|today|tomorrow|tonight|now|please|anytime|any|after|before|between|until|till|during|"
    r"with|at|on|in|as|when|whenever|by|is|was|instead|again|asap|office|fax|mobile|cell|desk|home|work|ext|so|but|und|"
    r"oder|an|bitte|heute|morgen|et|ou|y|o)\b"
)
_WORD_BEHIND = re.compile(r"[ \u00a0-]?[^\W\d_]")
_ARITHMETIC_BEHIND = re.compile(r"\s?(?:[*=<>^%×÷]|[/+] ?\d|\+\+)")
_ARITHMETIC_BEFORE = re.compile(r"[=*<>^%×÷]\s?$|\d\s?[+/]\s?$")
_OTHER_NUMBER = re.compile(
    r"\b(?:part|parts|code|codes|item|ticket|order|serial|model|table|section|page|case|lot|batch|invoice|article|art|sku|nr|no|\w{0,12}nummer|"
    r"ref|reference|id|isbn|issn|version|build|figure|fig|row|rows|sum|total|difference|seed|port)s?\b\.?[^.!?\n]{0,24}$",
    re.IGNORECASE,
)
_ALSO = re.compile(r"\s?(?:or|and|oder|und|ou|et|o|y|[,;/、]|或|和)\s?")  # between two numbers of the same person
_SINGLES = re.compile(r"\+?\d(?:[ .\-/]\d){3,20}")
_DECIMAL = re.compile(r"\+?\d{1,40}\.\d{1,40}")
_DATE = re.compile(
    r"(?:1[89]|20)\d\d[-/. ]\d\d?[-/. ]\d\d?|\d\d?[-/.]\d\d?[-/.](?:1[89]|20)?\d\d|\d{4} ?[-/] ?\d{4}"
    r"|(?:(?:1[89]|20)\d\d ?){1,5}"
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ .\u00a0]\d{3}){1,6}")


def find_phones(text: str) -> Iterator[Span]:
    """Where telephone numbers of 7 to 15 digits stand; of 6 or more after a word that says so."""
    last = -1
    for run in RUN.finditer(text):
        for match in _NUMBER.finditer(text, max(run.start() - 1, 0), min(run.end() + 12, len(text))):
            if _is_phone(text, match, follows=last >= 0 and _ALSO.fullmatch(text, last, match.start()) is not None):
                last = match.end()
                yield match.span()


def _is_phone(text: str, match: re.Match[str], *, follows: bool) -> bool:
    number, before = match[0], text[max(match.start() - 60, 0) : match.start()]
    if (
        _DATE.fullmatch(number)
        or _SINGLES.fullmatch(number)
        or _DECIMAL.fullmatch(number)
        or not _GROUPS.fullmatch(number)
    ):
        return False
    if _ARITHMETIC_BEFORE.search(before) or _ARITHMETIC_BEHIND.match(text, match.end(), match.end() + 8):
        return False
    if follows or _is_announced(text, match, before):
        return True
    if _OTHER_NUMBER.search(before) or is_bare_code(text, *match.span()):
        return False
    return bool(_AMERICAN.fullmatch(number)) or _is_international(number)


def _is_announced(text: str, match: re.Match[str], before: str) -> bool:
    number, digits = match[0], _digits(match[0])
    if not 6 <= digits <= 21:
        return False
    if _BEFORE_WORD.match(text, match.end(), match.end() + 14) and digits >= 6:
        return True
    looks_counted = number.isdigit() or _THOUSANDS.fullmatch(number)
    counts = number[0] in "123456789" and _is_count(text, match.end())
    if _AFTER_STRONG.search(before):
        return not (looks_counted and counts)
    enough = 6 if not looks_counted else 7
    return digits >= enough and not counts and bool(_AFTER_WEAK.search(before)) and not _OTHER_NUMBER.search(before)


def _is_count(text: str, end: int) -> bool:
    """A word stands behind that says what is counted, in a script that writes spaces."""
    behind = _WORD_BEHIND.match(text, end, end + 2)
    return behind is not None and behind[0][-1] < "\u2e80" and not _GOES_ON.match(text, end, end + 14)


def _is_international(number: str) -> bool:
    """`+` or `00` and separators, the code of a country, and as many digits as its numbers have."""
    if number.startswith("+"):
        digits = _national(number[1:])
    elif number.startswith("00") and not number.isdigit():
        digits = _national(number[2:])
    else:
        return False
    for length in (1, 2, 3):
        if digits[:length] in _LENGTHS:
            return len(digits) - length in _LENGTHS[digits[:length]]
    return bool(_OTHER_CODES.match(digits)) and 6 <= len(digits) - 3 <= 12


def _national(number: str) -> str:
    """The digits, without the 0 that is dialled only within the country: `41 (0)44 668 18 00`."""
    return re.sub(r"\D", "", re.sub(_EXTENSION + "$", "", number.replace("(0)", "")))


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))
