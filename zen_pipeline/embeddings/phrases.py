"""Phrases: pairs of words that stand together more often than their counts explain, joined into one word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PHRASE_THRESHOLD = 100.0  # the original program's


def join_phrases(
    words: list[str], ids: NDArray[np.int32], offsets: NDArray[np.int64], min_count: int, threshold: float
) -> tuple[list[str], NDArray[np.int32], NDArray[np.int64]]:
    """One pass of phrase detection (Mikolov et al. 2013, equation 6, times the words of the text as in word2phrase).

    The score of two neighbours is (count(ab) - min_count) / (count(a) count(b)) * words of the text; neighbours above
    the threshold are joined from left to right, so that no word is in two phrases.

    Args:
        words: what the ids stand for.
        ids: the text.
        offsets: start of each document in `ids`, plus the end; no phrase crosses it.
        min_count: rarer words are in no phrase.
        threshold: lowest score of a phrase.

    Returns:
        words, ids and offsets with the phrases; a phrase is its words with `_` between them.
    """
    counts = np.bincount(ids, minlength=len(words))
    inside = np.ones(max(len(ids) - 1, 0), bool)
    inside[offsets[(offsets > 0) & (offsets < len(ids))] - 1] = False
    left, right = ids[:-1].astype(np.int64), ids[1:].astype(np.int64)
    places = np.flatnonzero(inside & (counts[left] >= min_count) & (counts[right] >= min_count))
    pairs, which, together = np.unique(
        left[places] * len(words) + right[places], return_inverse=True, return_counts=True
    )
    first, second = pairs // len(words), pairs % len(words)
    good = (together - min_count) * float(len(ids)) > threshold * counts[first] * counts[second].astype(np.float64)
    if not good.any():
        return words, ids, offsets
    words, number = _named(words, first, second, good)
    joined = places[good[which]]
    joined_as = number[which[good[which]]]
    chosen = _left_to_right(joined)
    out = ids.copy()
    out[joined[chosen]] = joined_as[chosen]
    kept = np.ones(len(ids), bool)
    kept[joined[chosen] + 1] = False
    before = np.concatenate(([0], np.cumsum(kept)))
    return words, out[kept], before[offsets]


def _named(
    words: list[str], first: NDArray[np.int64], second: NDArray[np.int64], good: NDArray[np.bool_]
) -> tuple[list[str], NDArray[np.int32]]:
    """The words with the phrases behind them, and the number of each phrase; one that is a word already keeps its."""
    words = list(words)
    known = {word: index for index, word in enumerate(words)}
    number = np.full(len(good), -1, np.int32)
    for index in np.flatnonzero(good).tolist():
        name = f"{words[first[index]]}_{words[second[index]]}"
        if name not in known:
            known[name] = len(words)
            words.append(name)
        number[index] = known[name]
    return words, number


def _left_to_right(places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of places in rising order, those that remain when each taken place forbids the one right behind it."""
    new_run = np.concatenate(([True], np.diff(places) != 1))
    start = np.maximum.accumulate(np.where(new_run, np.arange(len(places)), 0))
    return np.asarray((np.arange(len(places)) - start) % 2 == 0)
