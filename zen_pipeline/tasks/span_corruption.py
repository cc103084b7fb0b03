"""Span corruption, the objective of T5 (Raffel et al. 2020): short spans of a text are cut out and asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHARE = 0.15  # of the tokens are cut out
MEAN_SPAN = 3.0  # tokens of a span


def span_counts(length: int) -> tuple[int, int]:
    """Tokens that are cut out of a window of `length` (at least 2) tokens, and in how many spans."""
    cut = min(max(1, round(SHARE * length)), length - 1)
    return cut, min(max(1, round(cut / MEAN_SPAN)), length - cut)


def corrupt_spans(
    tokens: NDArray[np.int64], generator: np.random.Generator, *, first_sentinel: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the encoder reads, and what the decoder writes.

    The n-th span is replaced by the n-th sentinel. The target is each sentinel with the tokens of its span, and one
    more sentinel as the end. Kept and cut tokens are divided into their runs uniformly, none of which is empty; a
    window begins with kept tokens and ends with cut ones, as in T5's own code.

    Args:
        tokens: (B, T) token ids, T at least 2.
        generator: of all choices; the same state gives the same spans.
        first_sentinel: id of the first sentinel; the others follow it, one more than there are spans.

    Returns:
        Sources (B, T - cut + spans) and targets (B, cut + spans + 1), int64, with the counts of `span_counts`.
    """
    length = tokens.shape[1]
    cut, spans = span_counts(length)
    sentinels = first_sentinel + np.arange(spans + 1)
    sources = np.empty((len(tokens), length - cut + spans), np.int64)
    targets = np.empty((len(tokens), cut + spans + 1), np.int64)
    for row, window in enumerate(tokens):
        runs = np.stack((_divide(length - cut, spans, generator), _divide(cut, spans, generator)), axis=1)
        pieces = np.split(window, runs.ravel().cumsum()[:-1])
        marks = [sentinels[n : n + 1] for n in range(spans + 1)]
        sources[row] = np.concatenate([part for n in range(spans) for part in (pieces[2 * n], marks[n])])
        asked = [part for n in range(spans) for part in (marks[n], pieces[2 * n + 1])]
        targets[row] = np.concatenate([*asked, marks[spans]])
    return sources, targets


def _divide(total: int, parts: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Lengths of `parts` runs that make up `total`, none empty, every such division equally likely."""
    ends = np.sort(generator.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(ends, prepend=0, append=total)
