"""How much a text repeats itself: Rae et al. 2021, appendix A1.1, table A1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

NGram = tuple[str, ...]

_PARAGRAPHS = re.compile(r"\n\s*\n")
# (n, share of the characters of all words) above which a text is too repetitive
TOP_N_GRAMS = ((2, 0.20), (3, 0.18), (4, 0.16))
DUPLICATE_N_GRAMS = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))


def failed_repetition(text: str, words: Sequence[str]) -> list[str]:
    """Names of the rules that a text with these words does not meet."""
    failed = []
    for name, pieces in (("lines", text.split("\n")), ("paragraphs", _PARAGRAPHS.split(text))):
        share, characters = duplicates([p for piece in pieces if (p := piece.strip())])
        if share > 0.30:
            failed.append(f"gopher: too many duplicate {name}")
        if characters > 0.20:
            failed.append(f"gopher: too many characters in duplicate {name}")
    return failed + _failed_n_grams(words)


def _failed_n_grams(words: Sequence[str]) -> list[str]:
    """The rules about n-grams. Each n looks only where the (n-1)-gram before and behind it both occur twice or more."""
    failed = []
    total = sum(map(len, words))
    limits = {**dict(TOP_N_GRAMS), **dict(DUPLICATE_N_GRAMS)}
    starts: Sequence[int] = range(len(words) - 1)
    for n, limit in sorted(limits.items()):
        n_grams = _n_grams(words, n, starts)
        counts = Counter(n_grams)
        if len(counts) == len(n_grams):  # nothing occurs twice, and so does nothing longer
            break
        if n <= TOP_N_GRAMS[-1][0]:
            if most_frequent(counts) > limit * total:
                failed.append(f"gopher: one {n}-gram too often")
        elif repeated(n_grams, starts, n) > limit * total:
            failed.append(f"gopher: too many duplicate {n}-grams")
        twice = [start for start, n_gram in zip(starts, n_grams, strict=True) if counts[n_gram] > 1]
        starts = [start for start, following in pairwise(twice) if following == start + 1]
    return failed


def duplicates(pieces: Sequence[str]) -> tuple[float, float]:
    """The share of the pieces that have occurred before, and their share of the characters."""
    distinct = set(pieces)
    if len(distinct) == len(pieces):
        return 0.0, 0.0
    total = sum(map(len, pieces))
    return 1 - len(distinct) / len(pieces), 1 - sum(map(len, distinct)) / total


def most_frequent(counts: Counter[NGram]) -> int:
    """Characters in all occurrences of the n-gram that occurs most often; 0 when none occurs twice.

    Datatrove takes a single occurrence for a repetition, so that a text of four words fails.
    """
    n_gram, count = max(counts.items(), key=itemgetter(1))
    return sum(map(len, n_gram)) * count if count > 1 else 0


def repeated(n_grams: Sequence[NGram], starts: Sequence[int], n: int) -> int:
    """Characters in n-grams that have occurred before, each character counted once, from left to right."""
    seen: set[NGram] = set()
    characters, free = 0, 0  # words before `free` are counted already
    for start, n_gram in zip(starts, n_grams, strict=True):
        if start < free:
            continue
        if n_gram in seen:
            characters += sum(map(len, n_gram))
            free = start + n
        else:
            seen.add(n_gram)
    return characters


def _n_grams(words: Sequence[str], n: int, starts: Sequence[int]) -> list[NGram]:
    if isinstance(starts, range):  # everywhere
        return list(zip(*(words[first:] for first in range(n)), strict=False))
    return [tuple(words[start : start + n]) for start in starts]
