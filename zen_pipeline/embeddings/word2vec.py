"""Word2Vec: skip-gram with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words …").

Noise words by the 3/4 power of their counts, subsampling of frequent words, windows of random width, a learning rate
that falls linearly. One thread, and the same bits whatever else the machine does: every random number is a hash of
the seed, the epoch and the position, and documents are visited in an order that follows from the seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.errors import DataError

_NOISE_POWER = 0.75
_LOWEST_RATE = 1e-4  # as a share of the first one, as in the original program
_CALL_WORDS = 200_000  # words per call of the compiled code, a tenth of a second: how soon Ctrl-C is heard


@dataclass(frozen=True)
class SkipGramSettings:
    """What decides the vectors, besides the corpus; defaults are those of the original program where it has them.

    Attributes:
        dimensions: width of a vector.
        window: largest distance between a word and its context; each centre draws its own from 1 … window.
        negatives: noise words per pair (in expectation: a block of centres shares its noise words).
        epochs: passes over the corpus.
        subsample: threshold t of the frequent-word subsampling; 0 keeps every occurrence.
        learning_rate: the first learning rate.
        seed: of the first vectors, the order of documents and every draw.
    """

    dimensions: int = 100
    window: int = 5
    negatives: int = 5
    epochs: int = 3
    subsample: float = 1e-4
    learning_rate: float = 0.025
    seed: int = 0


@dataclass
class SkipGramResult:
    """Trained vectors and how the training went.

    Attributes:
        vectors: the input vectors.
        contexts: (words, dimensions) float32, the output vectors.
        losses: mean loss per (centre, context) pair of each epoch, in nats, from every 16th block.
        words: corpus words visited, all epochs together, before subsampling.
        seconds: time of the training alone.
        compile_seconds: time until the compiled code was ready (found on disk or made now).
    """

    vectors: WordVectors
    contexts: NDArray[np.float32]
    losses: list[float] = field(default_factory=list)
    words: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def words_per_second(self) -> float:
        """Corpus words visited per second of training."""
        return self.words / max(self.seconds, 1e-9)


def train_skipgram(
    corpus: WordCorpus, settings: SkipGramSettings, *, progress: Callable[[int, int], None] | None = None
) -> SkipGramResult:
    """Word vectors of a corpus.

    Args:
        corpus: from `encode_corpus`.
        settings: what decides the result.
        progress: told (words done, words in all) a few times a second.

    Raises:
        DataError: fewer than two words in the vocabulary, or the vectors are not finite at the end.
    """
    if len(corpus.words) < 2:
        raise DataError(f"a vocabulary of {len(corpus.words)} has no pairs to learn from: add text")
    started = time.monotonic()
    run = _Run(corpus, settings)
    run.call(_hash_key(settings.seed, 0), np.empty(0, np.int64), 0)  # compiles
    ready = time.monotonic()

    losses: list[float] = []
    done = 0
    for epoch in range(settings.epochs):
        loss, pairs = 0.0, 0
        key = _hash_key(settings.seed, epoch)
        for documents, words in _batches(corpus, settings.seed, epoch):
            part, part_pairs = run.call(key, documents, done)
            loss, pairs, done = loss + part, pairs + part_pairs, done + words
            if progress is not None:
                progress(done, run.total)
        losses.append(loss / max(pairs, 1))
    width = settings.dimensions
    if not (np.isfinite(run.inputs).all() and np.isfinite(run.outputs).all()):
        raise DataError(
            f"the word vectors are not finite after training: embed.learning_rate {settings.learning_rate} is too high"
        )
    return SkipGramResult(
        vectors=WordVectors(corpus.words, corpus.counts, np.ascontiguousarray(run.inputs[:, :width])),
        contexts=np.ascontiguousarray(run.outputs[:, :width]),
        losses=losses,
        words=done,
        seconds=time.monotonic() - ready,
        compile_seconds=ready - started,
    )


class _Run:
    """The arrays that the compiled code works on."""

    def __init__(self, corpus: WordCorpus, settings: SkipGramSettings) -> None:
        from zen_pipeline.embeddings import skipgram_kernel as kernel

        self._kernel = kernel
        self._corpus = corpus
        self._settings = settings
        self.total = len(corpus.ids) * settings.epochs
        shape = (len(corpus.words), -(-settings.dimensions // kernel.LANES) * kernel.LANES)
        self.inputs = np.zeros(shape, np.float32)
        self.inputs[:, : settings.dimensions] = first_vectors(len(corpus.words), settings.dimensions, settings.seed)
        self.outputs = np.zeros(shape, np.float32)
        self._keep = _in_32_bits(keep_probabilities(corpus.counts, settings.subsample))
        shares, self._alias = alias_table(corpus.counts.astype(np.float64) ** _NOISE_POWER)
        self._threshold = _in_32_bits(shares)

    def call(self, key: np.uint64, documents: NDArray[np.int64], done: int) -> tuple[float, int]:
        """Train on some documents; the loss and the pairs of the sampled blocks."""
        settings = self._settings
        loss, pairs, _blocks = self._kernel.train(
            self.inputs, self.outputs, self._corpus.ids,
            self._corpus.offsets[:-1][documents], self._corpus.offsets[1:][documents],
            self._keep, self._threshold, self._alias, key, settings.window, np.float32(settings.negatives),
            settings.learning_rate, settings.learning_rate * _LOWEST_RATE, done, max(self.total, 1),
        )  # fmt: skip
        return float(loss), int(pairs)


def first_vectors(words: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """(words, dimensions) float32, uniform in ±1 / (2 dimensions) as in the original program."""
    drawn = np.random.Generator(np.random.PCG64([seed, 1])).random((words, dimensions), dtype=np.float32)
    return (drawn - np.float32(0.5)) / np.float32(dimensions)


def keep_probabilities(counts: NDArray[np.int64], threshold: float) -> NDArray[np.float64]:
    """For each word the share of its occurrences that is trained on.

    sqrt(t / f) + t / f for a word of frequency f, at most 1: the original program's form of the paper's rule.
    """
    if threshold <= 0:
        return np.ones(len(counts))
    ratio = threshold * counts.sum() / counts
    return np.asarray(np.minimum(1.0, np.sqrt(ratio) + ratio), np.float64)


def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Walker's alias table: draw a slot, keep it with its share, else take its alias (Vose's construction, 1991).

    Args:
        weights: (n,) not negative, not all zero.

    Returns:
        shares: (n,) float64 in 0 … 1.
        alias: (n,) int64.
    """
    n = len(weights)
    scaled = (np.asarray(weights, np.float64) * (n / weights.sum())).tolist()
    shares, alias = [1.0] * n, list(range(n))
    small = [i for i in range(n) if scaled[i] < 1.0]
    large = [i for i in range(n) if scaled[i] >= 1.0]
    while small and large:
        low, high = small.pop(), large[-1]
        shares[low], alias[low] = scaled[low], high
        scaled[high] -= 1.0 - scaled[low]
        if scaled[high] < 1.0:
            small.append(large.pop())
    return np.array(shares), np.array(alias, np.int64)


def _in_32_bits(shares: NDArray[np.float64]) -> NDArray[np.uint64]:
    return (shares * 2.0**32).astype(np.uint64)


def _hash_key(seed: int, epoch: int) -> np.uint64:
    return np.uint64(np.random.SeedSequence([seed, epoch, 2]).generate_state(1, np.uint64)[0])


def _batches(corpus: WordCorpus, seed: int, epoch: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """The documents of one epoch in shuffled order, in batches of about `_CALL_WORDS` words, with their words."""
    sizes = np.diff(corpus.offsets)
    order = np.random.Generator(np.random.PCG64([seed, epoch, 3])).permutation(len(sizes))
    reached = np.cumsum(sizes[order])
    first = 0
    while first < len(order):
        before = reached[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(reached, before + _CALL_WORDS, side="right")))
        yield order[first:last], int(reached[last - 1] - before)
        first = last
