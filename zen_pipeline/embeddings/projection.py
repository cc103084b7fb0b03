"""A map of the most frequent content words in two dimensions, by t-SNE."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors

# A word more frequent than this is taken for a function word, in any language; English has about fifty of them.
_FUNCTION_WORD_SHARE = 2.5e-3


@dataclass(frozen=True)
class WordMap:
    """Words with their places.

    Attributes:
        words: most frequent first.
        points: (words, 2) float64, both coordinates in 0 … 1.
    """

    words: list[str]
    points: NDArray[np.float64]

    def entries(self) -> list[dict[str, Any]]:
        """The content of `map.json`."""
        return [
            {"word": w, "x": round(float(x), 4), "y": round(float(y), 4)}
            for w, (x, y) in zip(self.words, self.points, strict=True)
        ]


def content_words(vectors: WordVectors, n: int) -> list[str]:
    """The `n` most frequent words that mean something by themselves, as far as rules can say.

    Left out: words more frequent than one in 400, English stop words, words of one or two letters (one character in
    Han, kana and Hangul).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    limit = vectors.counts.sum() * _FUNCTION_WORD_SHARE
    found = [
        w for w, c in zip(vectors.words, vectors.counts, strict=True) if c <= limit and _may_mean(w, ENGLISH_STOP_WORDS)
    ]
    if len(found) < min(n, 10):  # a vocabulary so small that every word is frequent
        found = [w for w in vectors.words if _may_mean(w, ENGLISH_STOP_WORDS)] or vectors.words
    return found[:n]


def _may_mean(word: str, stop: frozenset[str]) -> bool:
    shortest = 2 if unicodedata.category(word[0]) == "Lo" else 3
    return len(word) >= shortest and word not in stop and "'" not in word


def project(vectors: WordVectors, words: list[str], *, seed: int = 0) -> WordMap:
    """Place words so that neighbours by cosine are near each other.

    t-SNE (van der Maaten and Hinton 2008) from a PCA start, on one thread so that the result is the same every time;
    PCA alone for fewer than 10 words.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = vectors.unit[[vectors.index[w] for w in words]].astype(np.float64)
    with threadpool_limits(1):
        if len(words) < 10:
            size = min(2, len(words) - 1, rows.shape[1])
            points = np.zeros((len(words), 2))
            if size:
                points[:, :size] = PCA(size, svd_solver="full").fit_transform(rows)
        else:
            near = min(20.0, (len(words) - 1) / 3)
            tsne = TSNE(perplexity=near, init="pca", learning_rate="auto", max_iter=750, random_state=seed)
            points = np.asarray(tsne.fit_transform(rows), np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return WordMap(words, (points - low) / np.maximum(high - low, 1e-12))
