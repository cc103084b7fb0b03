"""GloVe (Pennington, Socher and Manning 2014): vectors whose products fit the logarithms of co-occurrence counts.

The objective is the sum over all pairs with X_ij > 0 of f(X_ij) (w_i . c_j + b_i + b'_j - log X_ij)^2 / 2, with
f(x) = min(1, (x / x_max)^alpha). The steps are the original program's AdaGrad; what is returned is w + c.

Pairs are cut into blocks by (word mod parts, context word mod parts). Blocks that share neither words nor context words
are trained side by side (stratified descent, Gemulla et al. 2011), so any number of threads gives the same bits, and a
block's vectors stay in the cache.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.cooccurrence import Cooccurrences, count_cooccurrences, discard_counts
from zen_pipeline.embeddings.thread_counts import usable_threads
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.errors import DataError

_LANES = 16
_PARTS = (
    16  # blocks of about a sixteenth of the words; their vectors fit into the second cache level up to 20,000 words
)
_FIXED = 1e30  # a sum of squares that lets no step through
_PAIR_BYTES = 16


@dataclass(frozen=True)
class GloveSettings:
    """All that decides the vectors besides the corpus; defaults are those of the original program's demo.

    Attributes:
        dimensions: width of a vector.
        window: largest distance of two words that are counted.
        epochs: passes over the pairs.
        x_max: counts from here on have full weight.
        alpha: power of the weight below.
        learning_rate: of AdaGrad.
        seed: of the first vectors and the order of the pairs.
        deterministic: the same bits for any number of threads; else lock-free threads take what comes.
        threads: default: all cores.
        memory: bytes that counts and pairs may take each before they go to disk.
    """

    dimensions: int = 100
    window: int = 10
    epochs: int = 25
    x_max: float = 10.0
    alpha: float = 0.75
    learning_rate: float = 0.05
    seed: int = 0
    deterministic: bool = True
    threads: int | None = None
    memory: int = 1 << 30


@dataclass
class GloveResult:
    """Trained vectors and how the training went.

    Attributes:
        vectors: word plus context vectors.
        words: (words, dimensions) float32, word vectors alone.
        contexts: the same, context vectors alone.
        biases: (2, words) float32, of words and of contexts.
        losses: mean loss per pair of each epoch, taken before each step.
        pairs: training pairs of one epoch: the entries of X that are not zero.
        count_seconds: time of counting and ordering the pairs.
        seconds: time of the training alone.
        compile_seconds: time until the compiled code was ready.
    """

    vectors: WordVectors
    words: NDArray[np.float32]
    contexts: NDArray[np.float32]
    biases: NDArray[np.float32]
    losses: list[float] = field(default_factory=list)
    pairs: int = 0
    count_seconds: float = 0.0
    seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def pairs_per_second(self) -> float:
        """Training pairs per second, all epochs together."""
        return self.pairs * len(self.losses) / max(self.seconds, 1e-9)


def train_glove(
    corpus: WordCorpus,
    settings: GloveSettings,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GloveResult:
    """Word vectors of a corpus.

    Args:
        corpus: from `encode_corpus`.
        settings: what decides the result.
        checkpoint: where to go on from, and to write to; the counts too, when they do not fit into the memory.
        progress: called with (pairs done, pairs in all) now and then.

    Raises:
        DataError: no two words of the vocabulary are near each other, or the vectors are not finite at the end.
    """
    if len(corpus.words) < 2:
        raise DataError(f"a vocabulary of {len(corpus.words)} has no pairs to learn from: add text")
    began = time.monotonic()
    _compile()
    compiled = time.monotonic()
    folder = checkpoint.folder if checkpoint else None
    counted = count_cooccurrences(corpus, settings.window, memory=settings.memory, folder=folder)
    if not len(counted.keys):
        raise DataError(
            "every document has one word that is frequent enough, so there are no pairs: add longer documents"
        )
    pairs = TrainingPairs(counted, settings, folder)
    ready = time.monotonic()
    run = _Run(len(corpus.words), settings, pairs, checkpoint)
    with checkpoint.holding_signals() if checkpoint else nullcontext():
        run.train(progress)
    if folder is not None:
        discard_counts(folder)
    return _result(corpus, settings, run.tables, losses=run.losses, pairs=len(pairs), count_seconds=ready - compiled,
                   seconds=time.monotonic() - ready, compile_seconds=compiled - began)  # fmt: skip


class TrainingPairs:
    """Both directions of all pairs, block by block, shuffled within each; in memory, or in mapped files.

    Attributes:
        parts: blocks are numbered row part * parts + column part.
        starts: (parts * parts + 1,) int64, where each block starts.
        arrays: rows int32, columns int32, log X float32, f(X) float32, each (pairs,).
    """

    def __init__(self, counted: Cooccurrences, settings: GloveSettings, folder: Path | None = None) -> None:
        from zen_pipeline.embeddings import glove_kernel as kernel

        self.parts = max(1, min(_PARTS, counted.vocabulary // 64))
        sizes = np.zeros(self.parts**2, np.int64)
        for keys, _ in counted.blocks():
            kernel.block_sizes(keys, counted.vocabulary, self.parts, sizes)
        self.starts = np.concatenate(([0], np.cumsum(sizes)))
        total = int(self.starts[-1])
        in_memory = total * _PAIR_BYTES <= settings.memory
        self.arrays = [_array(total, kind, None if in_memory else folder, in_memory)
                       for kind in (np.int32, np.int32, np.float32, np.float32)]  # fmt: skip
        cursors = self.starts[:-1].copy()
        for keys, counts in counted.blocks():
            kernel.fill_blocks(keys, counts, counted.vocabulary, self.parts, float(counted.unit), settings.x_max,
                               settings.alpha, cursors, *self.arrays)  # fmt: skip
        key = np.uint64(np.random.SeedSequence([settings.seed, 5]).generate_state(1, np.uint64)[0])
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            kernel.shuffle(*self.arrays, start, end, key)

    def __len__(self) -> int:
        return int(self.starts[-1])


def _array(size: int, kind: Any, folder: Path | None, in_memory: bool) -> NDArray[Any]:
    if in_memory:
        return np.empty(size, kind)
    import tempfile

    with tempfile.TemporaryFile(dir=folder) as file:
        length = size * np.dtype(kind).itemsize
        if length and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, length)  # a page that a full disk refuses later would end the process
        else:
            file.truncate(length)
        return np.asarray(np.memmap(file, kind, "r+", 0, (size,)))


class _Run:
    """The tables that the compiled code works on, and where the training is."""

    def __init__(
        self, words: int, settings: GloveSettings, pairs: TrainingPairs, checkpoint: Checkpoint | None
    ) -> None:
        self._settings, self._pairs, self._checkpoint = settings, pairs, checkpoint
        self.tables = first_tables(words, settings.dimensions, settings.seed)
        self._names = ("words", "contexts", "word_squares", "context_squares")
        self.losses: list[float] = []

    def train(self, progress: Callable[[int, int], None] | None) -> None:
        """All epochs, from where the checkpoint is."""
        epochs, total = self._settings.epochs, len(self._pairs)
        state = self._checkpoint.load(self._arrays()) if self._checkpoint else None
        state = state or {"epoch": 0, "group": 0, "loss": 0.0, "done": 0, "losses": []}
        self.losses = state["losses"]
        with ThreadPoolExecutor(usable_threads(self._settings.threads)) as pool:
            for epoch in range(state["epoch"], epochs):
                for number, blocks in list(enumerate(self._groups(epoch)))[state["group"] :]:
                    state["loss"] += sum(pool.map(self._block, blocks))  # in the order of the blocks: the same bits
                    state["done"] += sum(int(self._pairs.starts[b + 1] - self._pairs.starts[b]) for b in blocks)
                    if progress is not None:
                        progress(state["done"], total * epochs)
                    if self._checkpoint and self._checkpoint.due():
                        here = {**state, "epoch": epoch, "group": number + 1, "losses": self.losses}
                        self._checkpoint.save(self._arrays(), here)
                self.losses.append(state["loss"] / total)
                state.update(group=0, loss=0.0)

    def _groups(self, epoch: int) -> list[list[int]]:
        """The blocks of an epoch in groups that are trained one after the other.

        Blocks of one group share no word. Lock-free, all blocks are one group, and threads may meet at a word.
        """
        parts = self._pairs.parts
        order = np.random.Generator(np.random.PCG64([self._settings.seed, epoch, 6])).permutation(parts)
        groups = [[row * parts + (row + int(shift)) % parts for row in range(parts)] for shift in order]
        return groups if self._settings.deterministic else [[block for group in groups for block in group]]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return dict(zip(self._names, self.tables, strict=True))

    def _block(self, block: int) -> float:
        from zen_pipeline.embeddings.glove_kernel import train_pairs

        start, end = self._pairs.starts[block], self._pairs.starts[block + 1]
        return float(
            train_pairs(*self.tables, *self._pairs.arrays, start, end, np.float32(self._settings.learning_rate))
        )  # fmt: skip


def _result(
    corpus: WordCorpus, settings: GloveSettings, tables: tuple[NDArray[np.float32], ...], **figures: Any
) -> GloveResult:
    width = settings.dimensions
    words, contexts = tables[0], tables[1]
    if not (np.isfinite(words).all() and np.isfinite(contexts).all()):
        raise DataError(
            f"the word vectors are not finite after training: embed.learning_rate {settings.learning_rate} is too high"
        )
    return GloveResult(
        vectors=WordVectors(corpus.words, corpus.counts, words[:, :width] + contexts[:, :width]),
        words=np.ascontiguousarray(words[:, :width]),
        contexts=np.ascontiguousarray(contexts[:, :width]),
        biases=np.stack([words[:, width], contexts[:, width + 1]]),
        **figures,
    )


def first_tables(words: int, dimensions: int, seed: int) -> tuple[NDArray[np.float32], ...]:
    """Words, contexts and their sums of squares, each (words, width) float32; see `glove_kernel.train_pairs`.

    Vectors and biases are uniform in ±1 / (2 dimensions), as in the original program.
    """
    width = -(-(dimensions + 2) // _LANES) * _LANES
    drawn = np.random.Generator(np.random.PCG64([seed, 7])).random((2, words, dimensions + 1), dtype=np.float32)
    drawn = (drawn - np.float32(0.5)) / np.float32(dimensions)
    tables = [np.zeros((words, width), np.float32) for _ in range(2)]
    squares = [np.ones((words, width), np.float32) for _ in range(2)]
    for side, (bias, one) in enumerate([(dimensions, dimensions + 1), (dimensions + 1, dimensions)]):
        tables[side][:, :dimensions] = drawn[side, :, :dimensions]
        tables[side][:, bias] = drawn[side, :, dimensions]
        tables[side][:, one] = 1.0
        squares[side][:, one] = _FIXED
    return (*tables, *squares)


def _compile() -> None:
    """Have the compiled code ready, from disk or made now, so that it is not timed."""
    corpus = WordCorpus(["a", "b"], np.ones(2, np.int64), np.array([0, 1], np.int32), np.array([0, 2]), 2)
    settings = GloveSettings(dimensions=2, epochs=1, window=1, threads=1)
    _Run(2, settings, TrainingPairs(count_cooccurrences(corpus, 1), settings), None).train(None)
