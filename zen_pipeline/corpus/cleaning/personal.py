"""Personal data in a text: where it stands, and the text with placeholders in its place."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from zen_pipeline.corpus.cleaning import identifiers, keys, phones

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

_LOCAL = re.compile(r"[A-Za-z0-9_.+%'-]{1,64}$")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,50})(?![\w-])")
# RFC 2606 and 6761: names that belong to nobody, used in documentation.
_NOBODY = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)$", re.IGNORECASE)


class Finding(NamedTuple):
    """Personal data of one type at `text[start:end]`."""

    start: int
    end: int
    type: str


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """Where e-mail addresses stand, without those of domains that are reserved for examples."""
    at = text.find("@")
    while at >= 0:
        local, domain = _LOCAL.search(text[max(at - 64, 0) : at]), _DOMAIN.match(text, at + 1)
        if local and domain and not _NOBODY.search(domain[0]):
            start = at - len(local[0].lstrip(".'+-%"))
            if start < at and text[start:at] != "git":  # `git@host:path` is an address of everybody's
                yield start, domain.end()
        at = text.find("@", at + 1)


# In the order of trust: what an earlier one has found is not looked at by a later one.
DETECTORS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "key": keys.find_keys,
    "login": keys.find_logins,
    "email": find_emails,
    "iban": identifiers.find_ibans,
    "card": identifiers.find_cards,
    "ssn": identifiers.find_ssns,
    "ip": identifiers.find_addresses,
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
