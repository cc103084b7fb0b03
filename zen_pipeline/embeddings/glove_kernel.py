"""The compiled arithmetic of GloVe: counting pairs of words, and the steps of its weighted least squares.

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zen_pipeline.embeddings.compiled import cached, mix

EMPTY = np.int64(-1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# As everywhere here, and 1 / sqrt may come from the processor's estimate with a Newton step (22 correct bits).
_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}


@cached()
def count_pairs(
    ids: Any, offsets: Any, weights: Any, vocabulary: int, keys: Any, values: Any, document: int, position: int,
    used: int,
) -> Any:  # fmt: skip
    """Add the pairs of neighbouring words to a hash table until the text ends or the table is nearly full.

    Args:
        ids: word ids of the corpus, int32.
        offsets: start of each document in `ids`, plus the end, int64.
        weights: (window + 1,) int64, what a pair at each distance adds; weights[0] is not used.
        vocabulary: number of words.
        keys: (a power of two,) int64, `EMPTY` or smaller id * vocabulary + larger id.
        values: int64, the sums.
        document: where to go on.
        position: in `ids`, where to go on.
        used: slots of the table in use.

    Returns:
        document and position to go on at (document = len(offsets) - 1 at the end), and the slots in use.
    """
    window = len(weights) - 1
    mask = len(keys) - 1
    limit = len(keys) - len(keys) // 4 - window  # a fuller table is slow
    for d in range(document, len(offsets) - 1):
        first = offsets[d]
        start = max(position, first)
        for p in range(start, offsets[d + 1]):
            if used >= limit:
                return d, p, used
            a = np.int64(ids[p])
            for q in range(max(first, p - window), p):
                b = np.int64(ids[q])
                key = a * vocabulary + b if a < b else b * vocabulary + a
                # a word with itself: the two directions fall on one entry
                weight = weights[p - q] * 2 if a == b else weights[p - q]
                slot = np.int64(mix(np.uint64(key) * _GOLDEN) & np.uint64(mask))
                while keys[slot] != key and keys[slot] != EMPTY:
                    slot = (slot + 1) & mask
                if keys[slot] == EMPTY:
                    keys[slot] = key
                    used += 1
                values[slot] += weight
    return len(offsets) - 1, len(ids), used


@cached()
def block_sizes(keys: Any, vocabulary: int, parts: int, sizes: Any) -> None:
    """Add to sizes (parts * parts,) how many training pairs of these keys fall into each block."""
    for key in keys:
        a, b = key // vocabulary, key % vocabulary
        sizes[(a % parts) * parts + b % parts] += 1
        if a != b:
            sizes[(b % parts) * parts + a % parts] += 1


@cached()
def fill_blocks(
    keys: Any, counts: Any, vocabulary: int, parts: int, scale: float, x_max: float, alpha: float, cursors: Any,
    rows: Any, columns: Any, logs: Any, weights: Any,
) -> None:  # fmt: skip
    """Write both directions of these pairs to their blocks; `cursors` (parts * parts,) says where, and moves on."""
    for n in range(len(keys)):
        a, b = keys[n] // vocabulary, keys[n] % vocabulary
        x = counts[n] / scale
        log, weight = np.float32(np.log(x)), np.float32(min(1.0, (x / x_max) ** alpha))
        for direction in range(1 if a == b else 2):
            i, j = (a, b) if direction == 0 else (b, a)
            block = (i % parts) * parts + j % parts
            at = cursors[block]
            cursors[block] += 1
            rows[at], columns[at], logs[at], weights[at] = i, j, log, weight


@cached()
def shuffle(rows: Any, columns: Any, logs: Any, weights: Any, start: int, end: int, key: Any) -> None:
    """Bring the pairs start … end into random order (Durstenfeld 1964); the numbers are hashes of (key, position)."""
    for p in range(end - 1, start, -1):
        q = start + np.int64(mix(key + np.uint64(p) * _GOLDEN) % np.uint64(p - start + 1))
        rows[p], rows[q] = rows[q], rows[p]
        columns[p], columns[q] = columns[q], columns[p]
        logs[p], logs[q] = logs[q], logs[p]
        weights[p], weights[q] = weights[q], weights[p]


@cached(fastmath=_FAST)
def train_pairs(
    words: Any, contexts: Any, word_squares: Any, context_squares: Any, rows: Any, columns: Any, logs: Any,
    weights: Any, start: int, end: int, rate: Any,
) -> float:  # fmt: skip
    """One step of AdaGrad (Duchi et al. 2011) for each pair start … end, in order; changes the four tables in place.

    A row of `words` is a vector, its bias and a one; a row of `contexts` is a vector, a one and its bias: their
    product is w . c + b + b'. The ones stay, because their sums of squares are so large that no step moves them.

    Args:
        words: (words, width) float32, width a multiple of 16.
        contexts: the same.
        word_squares: the same shape, 1 + sum of the squares of (rate * gradient).
        context_squares: the same.
        rows: (pairs,) int32, the words.
        columns: (pairs,) int32, the context words.
        logs: (pairs,) float32, log X.
        weights: (pairs,) float32, f(X).
        start: first pair.
        end: behind the last pair.
        rate: float32.

    Returns:
        the sum of f(X) (w . c + b + b' - log X)^2 / 2 before each step.
    """
    loss = 0.0
    for p in range(start, end):
        i, j = rows[p], columns[p]
        score = np.float32(0.0)
        for t in range(words.shape[1]):
            score += words[i, t] * contexts[j, t]
        error = score - logs[p]
        loss += 0.5 * np.float64(weights[p] * error * error)
        g = rate * weights[p] * error
        for t in range(words.shape[1]):
            to_word, to_context = g * contexts[j, t], g * words[i, t]
            words[i, t] -= to_word / np.sqrt(word_squares[i, t])
            contexts[j, t] -= to_context / np.sqrt(context_squares[j, t])
            word_squares[i, t] += to_word * to_word
            context_squares[j, t] += to_context * to_context
    return loss
