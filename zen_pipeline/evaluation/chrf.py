"""chrF (Popović 2015) as sums over sentences, so that parts of a test set can be put together and left out.

The figure of all sums together is that of sacrebleu's `corpus_chrf` with its defaults: character n-grams up to six,
recall weighted twice, white space left out.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

ORDER, BETA = 6, 2


def chrf_sums(hypothesis: str, reference: str) -> NDArray[np.float64]:
    """(3 * ORDER,) counts of one sentence: n-grams of the hypothesis, of the reference, and in both, by order."""
    ours, theirs = "".join(hypothesis.split()), "".join(reference.split())
    counts = []
    for order in range(1, ORDER + 1):
        found, wanted = _grams(ours, order), _grams(theirs, order)
        counts += [found.total() if wanted else 0, wanted.total(), (found & wanted).total()]
    return np.array(counts, dtype=np.float64)


def chrf(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """chrF from 0 to 100 of (..., 3 * ORDER) sums of counts; orders without n-grams on one side do not count."""
    by_order = sums.reshape(*sums.shape[:-1], ORDER, 3)
    found, wanted, both = by_order[..., 0], by_order[..., 1], by_order[..., 2]
    counted = (found > 0) & (wanted > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = np.where(counted, both / np.maximum(found, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(counted, both / np.maximum(wanted, 1), 0.0).sum(axis=-1) / orders
    below = BETA**2 * precision + recall
    figure: NDArray[np.float64] = 100.0 * (1 + BETA**2) * precision * recall / np.where(below > 0, below, 1.0)
    return figure


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))
