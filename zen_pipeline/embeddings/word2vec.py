"""Word2Vec: skip-gram and CBOW with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words …").

Noise words by the 3/4 power of their counts, subsampling of frequent words, windows of random width (skip-gram takes
their expectation), a learning rate that falls linearly. The same bits whatever else the machine does: every random
number follows from the seed, the epoch and the position, documents are visited in an order that follows from the seed,
and threads take turns at the vectors in a fixed order (`word2vec_kernel`). Threads without locks (Recht et al. 2011)
are an option; they meet only at the vectors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.thread_counts import usable_threads
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.errors import DataError

_NOISE_POWER = 0.75
_LOWEST_RATE = 1e-4  # as a share of the first one, as in the original program
# Chosen on WikiText-2 by held-out loss and by how well the neighbours of two seeds agree (docs/experiments.md).
_RATES = {"skipgram": 0.035, "cbow": 0.065}
_NOISE_WORDS = {"skipgram": 64, "cbow": 16}
_CENTRES = {"skipgram": 16, "cbow": 64}  # of a block
_GROUPS = {"skipgram": 1, "cbow": 8}  # of a block, alternating, each with noise words of its own
_CALL_WORDS = 200_000  # words per call of the compiled code, under a tenth of a second: how soon Ctrl-C is heard
_LANES = 2  # of the kernel: they decide the bits, so they do not follow the cores
_LONGEST = 10_000  # words; a longer document is cut, as in gensim, so that lanes and calls are about equal
_UNDISTURBED = 1.7  # cores that two threads have when nothing else wants them
_COMPARE_EVERY = 64  # calls between two looks whether the other number of threads is faster, the first half way


@dataclass(frozen=True)
class Word2VecSettings:
    """All that decides the vectors besides the corpus; defaults are those of the original program where it has them.

    Attributes:
        method: `skipgram` predicts each context word from the centre, `cbow` the centre from the mean of its context.
        dimensions: width of a vector.
        window: largest distance w between a word and its context. CBOW's centres draw their own from 1 … w; skip-gram
            weighs a word at distance d by the chance of that, (w + 1 - d) / w.
        negatives: noise words per pair, in expectation.
        noise_words: that a group of 16 centres shares (skip-gram; neighbours) or one of 8 (CBOW; every eighth of 64
            neighbours), fewer at the end of a document; default: 64 and 16. More lessen the chance in the vectors
            and take longer.
        epochs: passes over the corpus.
        subsample: threshold t of the frequent-word subsampling; 0 keeps every occurrence.
        learning_rate: the first learning rate; default: 0.035 for skip-gram, 0.065 for CBOW.
        seed: of the first vectors, the order of documents and every draw.
        deterministic: the same bits every time, on one or two threads; else lock-free threads.
        threads: at most so many; default: all cores.
    """

    method: Literal["skipgram", "cbow"] = "skipgram"
    dimensions: int = 100
    window: int = 5
    negatives: int = 5
    noise_words: int | None = None
    epochs: int = 3
    subsample: float = 1e-4
    learning_rate: float | None = None
    seed: int = 0
    deterministic: bool = True
    threads: int | None = None

    @property
    def first_rate(self) -> float:
        """The learning rate that counts."""
        return self.learning_rate if self.learning_rate is not None else _RATES[self.method]

    @property
    def shared_noise(self) -> int:
        """The shared noise words that count."""
        return self.noise_words if self.noise_words is not None else _NOISE_WORDS[self.method]


@dataclass
class Word2VecResult:
    """Trained vectors and how the training went.

    Attributes:
        vectors: the input vectors.
        contexts: (words, dimensions) float32, the output vectors.
        losses: mean loss of each epoch in nats, per (centre, context) pair by its weight or, for CBOW, per centre; from
            every 32nd block.
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


def train_word2vec(
    corpus: WordCorpus,
    settings: Word2VecSettings,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Word2VecResult:
    """Word vectors of a corpus.

    Args:
        corpus: from `encode_corpus`.
        settings: what decides the result.
        checkpoint: where to go on from, and to write to.
        progress: called with (words done, words in all) a few times a second.

    Raises:
        DataError: fewer than two words in the vocabulary, or the vectors are not finite at the end.
    """
    if len(corpus.words) < 2:
        raise DataError(f"a vocabulary of {len(corpus.words)} has no pairs to learn from: add text")
    started = time.monotonic()
    run = _Run(corpus, settings)
    run.alone(_hash_key(settings.seed, 0), np.empty(0, np.int64), 0, _LANES)  # compiles
    ready = time.monotonic()
    with checkpoint.holding_signals() if checkpoint else nullcontext():
        losses = _train(run, checkpoint, progress)
    width = settings.dimensions
    inputs, outputs = (np.ascontiguousarray(table[:, :width]) for table in (run.inputs, run.outputs))
    return Word2VecResult(
        vectors=WordVectors(corpus.words, corpus.counts, _checked(inputs, settings)),
        contexts=_checked(outputs, settings),
        losses=losses,
        words=run.total,
        seconds=time.monotonic() - ready,
        compile_seconds=ready - started,
    )


def _checked(vectors: NDArray[np.float32], settings: Word2VecSettings) -> NDArray[np.float32]:
    """The vectors.

    Raises:
        DataError: they are not finite.
    """
    if not np.isfinite(vectors).all():
        raise DataError(
            f"the word vectors are not finite after training: embed.learning_rate {settings.first_rate} is too high"
        )
    return vectors


def _train(
    run: _Run, checkpoint: Checkpoint | None, progress: Callable[[int, int], None] | None
) -> list[float]:  # fmt: skip
    """All epochs, from where the checkpoint is; returns the loss of each."""
    settings = run.settings
    arrays = {"inputs": run.inputs, "outputs": run.outputs}
    state = checkpoint.load(arrays) if checkpoint else None
    state = state or {"epoch": 0, "batch": 0, "done": 0, "loss": 0.0, "predictions": 0.0, "losses": []}
    losses: list[float] = state["losses"]
    with ThreadPoolExecutor(usable_threads(settings.threads)) as pool:
        crew = _Together(run, pool) if settings.deterministic else _LockFree(run, pool)
        for epoch in range(state["epoch"], settings.epochs):
            key = _hash_key(settings.seed, epoch)
            batches = _batches(run.ends - run.starts, settings.seed, epoch)
            for first in range(state["batch"], len(batches), crew.batches):
                some = batches[first : first + crew.batches]
                for loss, predictions in crew.train(key, some, state["done"]):
                    state["loss"], state["predictions"] = state["loss"] + loss, state["predictions"] + predictions
                state["done"] += sum(words for _, words in some)
                if progress is not None:
                    progress(state["done"], run.total)
                if checkpoint and checkpoint.due():
                    checkpoint.save(arrays, {**state, "epoch": epoch, "batch": first + len(some)})
            losses.append(state["loss"] / (state["predictions"] or 1.0))
            state.update(batch=0, loss=0.0, predictions=0.0)
    return losses


_Batch = tuple[NDArray[np.int64], int]  # documents, and their words
_Outcome = tuple[float, float]  # loss and predictions of the sampled blocks of a lane


class _LockFree:
    """A batch for every thread."""

    def __init__(self, run: _Run, pool: ThreadPoolExecutor) -> None:
        self._run, self._pool = run, pool
        self.batches = usable_threads(run.settings.threads)

    def train(self, key: np.uint64, batches: list[_Batch], done: int) -> list[_Outcome]:
        before = [done + sum(words for _, words in batches[:n]) for n in range(len(batches))]
        alone = partial(self._run.alone, key, lanes=1)
        found = self._pool.map(alone, [documents for documents, _ in batches], before)
        return [outcome for outcomes in found for outcome in outcomes]


class _Together:
    """One batch at a time, by one thread or by two: the bits are the same, so whichever was faster of late.

    Two that wait for each other in every block are slow where other programs want their cores.
    """

    batches = 1

    def __init__(self, run: _Run, pool: ThreadPoolExecutor) -> None:
        self._ways = [run.alone]
        if usable_threads(run.settings.threads) > 1:
            self._ways.insert(0, partial(run.together, pool))
        self._pace = [0.0, math.inf][: len(self._ways)]  # seconds per word
        self._calls = 0

    def train(self, key: np.uint64, batches: list[_Batch], done: int) -> list[_Outcome]:
        [(documents, words)] = batches
        way = self._pace.index(min(self._pace))
        if self._calls % _COMPARE_EVERY == _COMPARE_EVERY // 2:
            way = len(self._ways) - 1 - way
        self._calls += 1
        began, used = time.perf_counter(), time.process_time()
        outcomes = self._ways[way](key, documents, done, _LANES)
        seconds = time.perf_counter() - began
        self._pace[way] = seconds / words
        if math.isinf(self._pace[-1]) and time.process_time() - used < _UNDISTURBED * seconds:
            self._pace[-1] = 0.0  # one thread is tried next
        return outcomes


class _Run:
    """The arrays that the compiled code works on."""

    def __init__(self, corpus: WordCorpus, settings: Word2VecSettings) -> None:
        from zen_pipeline.embeddings.products import COLUMNS

        self.corpus = corpus
        self.settings = settings
        self.starts, self.ends = cut_documents(corpus.offsets, _LONGEST)
        self.total = len(corpus.ids) * settings.epochs
        shape = (len(corpus.words), -(-settings.dimensions // COLUMNS) * COLUMNS)
        self.inputs, self.outputs = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.inputs[:, : settings.dimensions] = _first_vectors(len(corpus.words), settings.dimensions, settings.seed)
        self._keep = _in_32_bits(keep_probabilities(corpus.counts, settings.subsample))
        self._noise = noise_table(corpus.counts.astype(np.float64) ** _NOISE_POWER)

    def alone(self, key: np.uint64, documents: NDArray[np.int64], done: int, lanes: int) -> list[_Outcome]:
        """Train on some documents with this thread."""
        [work], _ = self._works(key, documents, done, lanes, threads=1)
        return work()

    def together(
        self, pool: ThreadPoolExecutor, key: np.uint64, documents: NDArray[np.int64], done: int, lanes: int
    ) -> list[_Outcome]:
        """The same with a thread for each lane, this one and some of the pool."""
        [own, *others], turns = self._works(key, documents, done, lanes, threads=lanes)
        try:
            running = [pool.submit(work) for work in others]
            outcomes = own()
        finally:
            turns[:] = np.iinfo(np.int64).max  # lets the others go if this thread was interrupted before it began
        for work in running:
            outcomes += work.result()
        return outcomes

    def _works(
        self, key: np.uint64, documents: NDArray[np.int64], done: int, lanes: int, threads: int
    ) -> tuple[list[Callable[[], list[_Outcome]]], NDArray[np.int64]]:
        """One function for each thread, with all its memory so that nothing in it can fail; the kernel's `turns`."""
        from zen_pipeline.embeddings import word2vec_kernel as kernel
        from zen_pipeline.embeddings.word2vec_blocks import Shape, make_block, make_rows, make_scratch

        settings, corpus, rate = self.settings, self.corpus, self.settings.first_rate
        starts, ends = self.starts[documents], self.ends[documents]
        before = done + np.concatenate([[0], np.cumsum(ends - starts)[:-1]]).astype(np.int64)
        method = settings.method
        # As much memory as for all lanes, whoever computes them, so that one compilation serves all.
        shape = Shape(_CENTRES[method], _GROUPS[method], settings.shared_noise, settings.window, method == "cbow")
        turns = kernel.make_turns(lanes)
        each = lanes // threads

        def work(first_lane: int) -> Callable[[], list[_Outcome]]:
            rows = tuple(make_rows(shape, self.inputs.shape[1]) for _ in range(_LANES))
            losses = np.zeros((each, 2))
            given = (
                self.inputs, self.outputs, corpus.ids, starts, ends, self._keep, *self._noise, key,
                settings.window, np.float32(settings.negatives), rate, rate * _LOWEST_RATE, before, max(self.total, 1),
                shape.cbow, lanes, np.arange(first_lane, first_lane + each), turns,
                np.empty((each, 2, int((ends - starts).max(initial=0))), np.int64),
                tuple(make_block(shape) for _ in range(2 * _LANES)), rows,
                make_scratch(shape, self.inputs.shape[1]), losses,
            )  # fmt: skip

            def call() -> list[_Outcome]:
                kernel.train(*given)
                return [(float(loss), float(predictions)) for loss, predictions in losses]

            return call

        return [work(thread * each) for thread in range(threads)], turns


def _first_vectors(words: int, dimensions: int, seed: int) -> NDArray[np.float32]:
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


def noise_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Tables for `word2vec_draws.sample_noise`, to look up the inverse of the distribution.

    Args:
        weights: (n,) not negative, not all zero.

    Returns:
        ends: (n,) uint64, where the share of each word ends, times 2^64; it begins where the one before ends.
        guide: (n,) int64, for each n-th of the places the first word whose share ends behind its beginning.
    """
    shares = np.cumsum(weights) / weights.sum()
    ends = (np.minimum(shares, 1.0 - 2.0**-53) * 2.0**64).astype(np.uint64)
    beginnings = (np.arange(len(ends), dtype=np.uint64) << np.uint64(32)) // np.uint64(len(ends)) << np.uint64(32)
    guide = np.searchsorted(ends, beginnings, side="right").astype(np.int64)
    return ends, np.minimum(guide, len(ends) - 1)


def _in_32_bits(shares: NDArray[np.float64]) -> NDArray[np.uint64]:
    return (shares * 2.0**32).astype(np.uint64)


def _hash_key(seed: int, epoch: int) -> np.uint64:
    return np.uint64(np.random.SeedSequence([seed, epoch, 2]).generate_state(1, np.uint64)[0])


def cut_documents(offsets: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First positions of documents, and those behind their last words, with long ones cut into pieces.

    Args:
        offsets: (documents + 1,) where each begins, and the end.
        longest: words of a piece.
    """
    sizes = np.diff(offsets)
    pieces = np.maximum(1, -(-sizes // longest))
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # within its document
    starts = np.repeat(offsets[:-1], pieces) + number * longest
    return starts, np.minimum(starts + longest, np.repeat(offsets[1:], pieces))


def _batches(sizes: NDArray[np.int64], seed: int, epoch: int) -> list[_Batch]:
    """The documents of one epoch in shuffled order, in batches of about `_CALL_WORDS` words, with their words."""
    order = np.random.Generator(np.random.PCG64([seed, epoch, 3])).permutation(len(sizes))
    reached = np.cumsum(sizes[order])
    first, batches = 0, []
    while first < len(order):
        before = reached[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(reached, before + _CALL_WORDS, side="right")))
        batches.append((order[first:last], int(reached[last - 1] - before)))
        first = last
    return batches
