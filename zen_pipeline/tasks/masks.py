"""Masks of masked language modelling: which tokens of a text are hidden in training (Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHARE = 0.15  # of the tokens are asked for
MASKED, REPLACED = 0.8, 0.1  # of those are masked, and replaced by a random token; the rest stay as they are


def mask_tokens(
    tokens: NDArray[np.int64],
    generator: np.random.Generator,
    *,
    mask_id: int,
    maskable: NDArray[np.bool_],
    word_starts: NDArray[np.bool_] | None = None,
    ignored: int = -100,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the model reads, and what it is asked for.

    Args:
        tokens: (B, T) token ids.
        generator: of all choices; the same state gives the same masks.
        mask_id: stands in the place of a masked token.
        maskable: (V,) which tokens may be asked for, and stand in for others: not the special ones.
        word_starts: (V,) which tokens start a word; whole words are chosen then.
        ignored: the target of a position that is not asked for.

    Returns:
        Inputs and targets, (B, T) int64. Each row is asked for `SHARE` of its tokens, rounded, one at least; whole
        words are taken until there are as many. A row without a maskable token is asked for nothing.
    """
    allowed = maskable[tokens]
    starts = np.ones_like(allowed) if word_starts is None else word_starts[tokens] | ~allowed
    starts[:, 0] = True
    starts[:, 1:] |= ~allowed[:, :-1]
    words = starts.cumsum(axis=1) - 1  # (B, T) number of the word that each token is part of
    order = generator.random(tokens.shape)  # of the words of a row; the lowest are chosen
    chosen = np.zeros_like(allowed)
    for row in range(len(tokens)):
        places = np.argsort(order[row, words[row]] + ~allowed[row], kind="stable")  # word by word, special ones last
        wanted = min(max(1, round(SHARE * int(allowed[row].sum()))), int(allowed[row].sum()))
        if wanted and word_starts is not None:  # up to the end of the word in which the number is reached
            last = words[row, places[wanted - 1]]
            wanted = int(np.flatnonzero((words[row, places] == last) & allowed[row, places])[-1]) + 1
        chosen[row, places[:wanted]] = True
    treatment = generator.random(tokens.shape)
    random = np.flatnonzero(maskable)[generator.integers(0, int(maskable.sum()), tokens.shape)]
    inputs = np.where(chosen & (treatment < MASKED), mask_id, tokens)
    inputs = np.where(chosen & (treatment >= MASKED) & (treatment < MASKED + REPLACED), random, inputs)
    return inputs, np.where(chosen, tokens, ignored)


def starts_of_words(vocabulary: Sequence[str]) -> NDArray[np.bool_]:
    """Which tokens of a byte-level vocabulary start a word, (V,): all that do not begin with a letter.

    A token in the middle of a word begins with one; a token after a space begins with `Ġ`, which stands for the
    space, and is one to Python, so it is named here. Scripts without spaces (Chinese, Japanese, Thai) have runs of
    many letters, which would be masked as one word: choose single tokens for them.
    """
    return np.array([token[:1] in _SPACES or not token[:1].isalpha() for token in vocabulary], dtype=np.bool_)


_SPACES = frozenset({"Ġ", "Ċ", "č", "ĉ"})  # space, newline, carriage return and tab in the byte-level alphabet
