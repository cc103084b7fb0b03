"""Personal data in a text: where it stands, and the text with placeholders in its place."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from zen_pipeline.corpus.cleaning import addresses, emails, identifiers, keys, phones

PLACEHOLDERS = {
    "key": "<KEY>",
    "login": "<LOGIN>",
    "email": "<EMAIL>",
    "iban": "<IBAN>",
    "card": "<CARD>",
    "ssn": "<SSN>",
    "ip": "<IP>",
    "phone": "<PHONE>",
    "person": "<PERSON>",
    "address": "<ADDRESS>",
}

# Digits and signs of other widths and scripts, one for one, so that places stay: `０１７１`, `٠١٢`.
_NARROW = (
    {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
    | {0x3000: 0x20}
    | {first + digit: 0x30 + digit for first in (0x660, 0x6F0, 0x966, 0x9E6, 0xE50) for digit in range(10)}
)
_WIDE = re.compile("[\uff01-\uff5e\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u0e50-\u0e59]")


class Finding(NamedTuple):
    """Personal data of one type at `text[start:end]`."""

    start: int
    end: int
    type: str


# In the order of trust: what an earlier one has found is not looked at by a later one.
DETECTORS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "key": keys.find_keys,
    "login": keys.find_logins,
    "email": emails.find_emails,
    "iban": identifiers.find_ibans,
    "card": identifiers.find_cards,
    "ssn": identifiers.find_ssns,
    "ip": addresses.find_addresses,
    "phone": phones.find_phones,
}
_DIGIT = re.compile(r"\d")
_OF_RUNS = frozenset({"card", "ssn", "phone"})
_OF_DIGITS = _OF_RUNS | {"iban"}


def find_personal(text: str, types: Collection[str], names: Sequence[Finding] = ()) -> list[Finding]:
    """What is found in a text, in order and without overlaps.

    Args:
        text: any text.
        types: which of `DETECTORS` to use.
        names: findings of a model; they give way to all others.
    """
    if not text.isascii() and _WIDE.search(text):
        text = text.translate(_NARROW)
    absent: frozenset[str] = frozenset()
    if identifiers.RUN_INSIDE.search(text) is None:
        absent = _OF_RUNS if _DIGIT.search(text) else _OF_DIGITS
    found: list[Finding] = []
    for kind, detect in DETECTORS.items():
        if kind in types and kind not in absent:
            found += [Finding(start, end, kind) for start, end in detect(text)]
    if not found and not names:
        return []
    return _without_overlaps([*found, *names])


def _without_overlaps(found: list[Finding]) -> list[Finding]:
    """The findings that overlap none before them in the list, by their place."""
    kept: list[Finding] = []  # in order
    for finding in found:
        place = bisect(kept, finding)
        after_last = place == 0 or kept[place - 1].end <= finding.start
        if after_last and (place == len(kept) or finding.end <= kept[place].start):
            kept.insert(place, finding)
    return kept


def replace_personal(text: str, found: Sequence[Finding]) -> str:
    """The text with the placeholder of its type for every finding."""
    parts, end = [], 0
    for finding in found:
        parts += [text[end : finding.start], PLACEHOLDERS[finding.type]]
        end = finding.end
    return "".join([*parts, text[end:]])
