"""From vectors of words to vectors of a tokenizer's tokens, to start a language model from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BATCH = 50_000


def token_vectors(tokenizer: Tokenizer, vectors: WordVectors) -> tuple[NDArray[np.float32], int]:
    """For each token the mean over the vectors of the words that it is part of, weighted by their counts.

    Every word is encoded as it stands and with a first capital letter, each with and without a space before it; a
    word counts once for a token however often it holds it.

    Args:
        tokenizer: a byte-level tokenizer of the `tokenizers` library.
        vectors: of the words.

    Returns:
        the vectors, (vocabulary of the tokenizer, dimensions) float32, zeros for tokens that are part of no word, and
        the number of tokens that are part of one.
    """
    from scipy import sparse

    size = tokenizer.get_vocab_size()
    tokens, rows = _pairs(tokenizer, vectors.words)
    weights = vectors.counts[rows].astype(np.float64)
    shares = sparse.csr_array((weights, (tokens, rows)), shape=(size, len(vectors.words)))
    totals = np.bincount(tokens, weights=weights, minlength=size)
    sums = shares @ vectors.matrix.astype(np.float64)
    means = sums / np.maximum(totals, 1.0)[:, None]
    return means.astype(np.float32), int((totals > 0).sum())


def _pairs(tokenizer: Tokenizer, words: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct (token, word) pairs in which the token is part of the word, as two int64 arrays."""
    codes: list[NDArray[np.int64]] = []
    for first in range(0, len(words), _BATCH):
        batch = words[first : first + _BATCH]
        forms = [form for word in batch for form in _forms(word)]
        encoded = tokenizer.encode_batch_fast(forms, add_special_tokens=False)
        lengths = np.array([len(e.ids) for e in encoded])
        rows = np.repeat(np.arange(len(forms)) // 4 + first, lengths)
        ids = np.array([i for e in encoded for i in e.ids], np.int64)
        codes.append(np.unique(ids * len(words) + rows))
    pairs = np.unique(np.concatenate(codes))
    return pairs // len(words), pairs % len(words)


def _forms(word: str) -> tuple[str, str, str, str]:
    capital = word[:1].upper() + word[1:]
    return word, f" {word}", capital, f" {capital}"
