"""The compiled loop of language identification: a text through py3langid's automaton, and the classes' probabilities.

This module imports numba: import it inside the function that needs it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zen_pipeline.corpus.duplicates.text_kernels import cached


@cached
def classify(
    data: Any, moves: Any, rows: Any, features: Any, weights: Any, priors: Any, labels: Any, counts: Any, seen: Any
) -> Any:
    """The likeliest label and its probability, by naive Bayes over the features that the automaton meets.

    The logarithm of 1 + count weighs each feature, and the square root of the length tempers the probabilities, as
    py3langid does.

    Args:
        data: (bytes,) uint8, the text in UTF-8.
        moves: the next state, at 256 times the row of a state plus the byte.
        rows: (states,) the row of each state.
        features: (states,) the feature that is met in a state, or -1.
        weights: (features, classes) float32, log P(feature | class).
        priors: (classes,) float32, log P(class).
        labels: (classes,) the label of each class; several classes may have the same.
        counts: (features,) int32 zeros; zeros again afterwards.
        seen: (features,) int32, room for the features of the text.
    """
    state, met = np.int64(0), 0
    for byte in data:
        state = np.int64(moves[np.int64(rows[state]) * 256 + byte])
        feature = features[state]
        if feature >= 0:
            if counts[feature] == 0:
                seen[met] = feature
                met += 1
            counts[feature] += 1
    classes = len(priors)
    scores = np.zeros(classes, np.float32)
    if met:
        scores[:] = priors
    for place in range(met):
        feature = seen[place]
        weight = np.float32(math.log1p(counts[feature]))
        counts[feature] = 0
        row = weights[feature]
        for each in range(classes):
            scores[each] += weight * row[each]
    tempered = scores / np.float32(math.sqrt(max(len(data), 1)))
    shares = np.exp(tempered - tempered.max())
    probabilities = np.zeros(labels.max() + 1, np.float32)
    for each in range(classes):
        probabilities[labels[each]] += shares[each]
    best = np.argmax(probabilities)
    return best, probabilities[best] / shares.sum()
