"""Random draws of `word2vec_kernel`: the words that stay, the widths of windows, and noise words.

Everything follows from a key and a position. This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zen_pipeline.embeddings.compiled import compiled, mix

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's part of 2^64
_S32, _LOW32 = np.uint64(32), np.uint64(0xFFFFFFFF)


@compiled
def sample_document(
    ids: Any, start: int, end: int, keep: Any, key: Any, window: int, words: Any, reach: Any
) -> int:  # fmt: skip
    """Write the words that survive the subsampling and widths of CBOW's windows (uniform in 1 … window);
    returns how many."""
    kept = 0
    for p in range(start, end):
        r = mix(key + np.uint64(p) * _GOLDEN)
        if (r >> _S32) < keep[ids[p]]:
            words[kept] = ids[p]
            reach[kept] = np.int64(((r & _LOW32) * np.uint64(window)) >> _S32) + 1
            kept += 1
    return kept


@compiled
def sample_noise(ends: Any, guide: Any, key: Any, first: int, noise_words: Any) -> None:
    """Draws number `first` and following, from `word2vec.noise_table`.

    Their places in the distribution are a shifted sequence of multiples of the golden ratio (Weyl 1916): any stretch of
    it is spread evenly, so that each word is drawn about as often as it should be, not only on average.
    """
    last = len(ends) - 1
    for j in range(len(noise_words)):
        place = key + np.uint64(first + j) * _GOLDEN
        word = guide[np.int64(((place >> _S32) * np.uint64(len(guide))) >> _S32)]
        while word < last and ends[word] <= place:
            word += 1
        noise_words[j] = word
