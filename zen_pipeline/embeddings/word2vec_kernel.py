"""The compiled loop of Word2Vec over documents, blocks of words and their random draws.

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zen_pipeline.embeddings import cbow_kernel
from zen_pipeline.embeddings import skipgram_kernel as kernel

_LOSS_EVERY = 16  # the loss is taken on every 16th block: logarithms are dear
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)


@kernel.cached
def train(
    inputs: Any, outputs: Any, ids: Any, starts: Any, ends: Any, keep: Any, threshold: Any, alias: Any, key: Any,
    window: int, k: Any, rate: float, final_rate: float, done: int, total: int,
    cbow: bool,
) -> Any:  # fmt: skip
    """Train on some documents, in order; changes `inputs` and `outputs` in place.

    Args:
        inputs: (words, width) float32, width a multiple of `skipgram_kernel.LANES`.
        outputs: the same.
        ids: word ids of the corpus, int32.
        starts: first position of each document in `ids`, int64.
        ends: position after its last word, int64.
        keep: (words,) uint64, share of the occurrences that survive the subsampling, times 2^32.
        threshold: (words,) uint64, the alias table's shares times 2^32.
        alias: (words,) int64, the alias table's other words.
        key: uint64 of (seed, epoch).
        window: largest distance of a context word.
        k: noise words per pair, float32.
        rate: learning rate at the first word; it falls linearly with the words done.
        final_rate: lowest learning rate.
        done: words done before these documents.
        total: words of the whole training.
        cbow: its steps instead of skip-gram's.

    Returns:
        the loss summed over a sample of the blocks, float64; the pairs (CBOW: centres) in that sample; the blocks done.
    """
    longest = 0
    for d in range(len(starts)):
        longest = max(longest, ends[d] - starts[d])
    all_words = np.empty(longest, np.int64)
    all_reach = np.empty(longest, np.int64)
    noise_words = np.empty(kernel.NOISE, np.int64)
    buffers = kernel.make_buffers(inputs.shape[1], window)
    noise_key = kernel.mix(key ^ _MIX1)
    loss = 0.0
    loss_pairs = 0
    blocks = 0
    for d in range(len(starts)):
        size = ends[d] - starts[d]
        kept = kernel.sample_document(ids, starts[d], ends[d], keep, key, window, all_words, all_reach)
        words = all_words[:kept]
        reach = all_reach[:kept]
        for first in range(0, kept if kept > 1 else 0, kernel.CENTRES):
            # a document has fewer blocks than words, so its first position numbers them without overlap
            kernel.sample_noise(threshold, alias, noise_key, starts[d] + first // kernel.CENTRES, noise_words)
            progress = (done + size * first / kept) / total
            step = np.float32(max(final_rate, rate * (1.0 - progress)))
            wanted = blocks % _LOSS_EVERY == 0
            if cbow:
                part, pairs = cbow_kernel.block_step(
                    inputs, outputs, words, reach, first, noise_words, k, step, wanted, buffers
                )
            else:
                part, pairs = kernel.block_step(
                    inputs, outputs, words, reach, first, noise_words, k, step, wanted, buffers
                )
            if wanted:
                loss += part
                loss_pairs += pairs
            blocks += 1
        done += size
    return loss, loss_pairs, blocks
