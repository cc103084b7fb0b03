"""How often words are near each other, counted as GloVe does, in bounded memory.

X_ij is the sum of 1 / d over all places where the words i and j are d <= window words apart in one document
(Pennington et al. 2014, section 4.2). The sums are kept as whole numbers in units of 1 / lcm(1 … window), so they are
exact and no order of adding changes them: what was merged from files equals what was counted in memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.logs import get_logger

_SLOT_BYTES = 16
_MERGE_ENTRIES = 1 << 20  # of each run at a time
_LARGEST_UNIT = 1 << 32  # windows above 22 are counted in this unit, to a relative error of 1e-9

log = get_logger(__name__)


@dataclass(frozen=True)
class Cooccurrences:
    """The upper triangle of the symmetric matrix X, without its zeros.

    Attributes:
        keys: int64, rising, row * vocabulary + column with row <= column.
        counts: int64, X * unit.
        unit: what the counts are to be divided by.
        vocabulary: number of words.
        runs: sorted runs that were merged; 1 when all fitted into memory.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    unit: int
    vocabulary: int
    runs: int

    def blocks(self, size: int = 1 << 20) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Keys and counts, some at a time."""
        for first in range(0, len(self.keys), size):
            yield np.asarray(self.keys[first : first + size]), np.asarray(self.counts[first : first + size])


def count_cooccurrences(
    corpus: WordCorpus, window: int, *, memory: int = 1 << 30, folder: Path | None = None
) -> Cooccurrences:
    """Count the pairs of a corpus.

    Args:
        corpus: from `encode_corpus`.
        window: largest distance, in words of the vocabulary.
        memory: bytes that counting may take; what does not fit is written to disk as sorted runs and merged.
        folder: where; default: the system's folder for temporary files. Nothing is left there.
    """
    unit = min(math.lcm(*range(1, window + 1)), _LARGEST_UNIT)
    words = len(corpus.words)
    with tempfile.TemporaryDirectory(dir=folder, prefix="cooccurrences-") as temporary:
        runs = _Runs(Path(temporary))
        _count(corpus, window, unit, _slots(corpus, window, memory), runs)
        if len(runs.all) == 1:
            [(keys, counts)] = runs.all
        else:
            log.info("co-occurrences: merging %d sorted runs", len(runs.all))
            keys, counts = _on_disk(runs.merged(), folder)
    return Cooccurrences(keys, counts, unit, words, len(runs.all))


class _Runs:
    """Sorted pieces of the counts; the only one stays in memory, several lie in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.all: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, keys: NDArray[np.int64], counts: NDArray[np.int64], *, last: bool) -> None:
        order = np.argsort(keys)
        run = keys[order], counts[order]
        if self.all or not last:
            run = self._written(run[0]), self._written(run[1])
        self.all.append(run)

    def _written(self, array: NDArray[np.int64]) -> NDArray[np.int64]:
        path = self._folder / f"{len(list(self._folder.iterdir()))}.int64"
        array.tofile(path)
        return np.asarray(np.memmap(path, np.int64, "r", 0, (len(array),)) if len(array) else array)

    def merged(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """All entries by rising key, equal keys added up, in bounded memory."""
        at = [0] * len(self.all)
        while open_runs := [n for n, (keys, _) in enumerate(self.all) if at[n] < len(keys)]:
            # every key up to `border` has been reached in every run
            border = min(self.all[n][0][min(at[n] + _MERGE_ENTRIES, len(self.all[n][0])) - 1] for n in open_runs)
            parts = []
            for n in open_runs:
                keys, counts = self.all[n]
                end = at[n] + int(np.searchsorted(keys[at[n] : at[n] + _MERGE_ENTRIES], border, side="right"))
                parts.append((keys[at[n] : end], counts[at[n] : end]))
                at[n] = end
            keys = np.concatenate([k for k, _ in parts])
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
            yield keys[first], np.add.reduceat(np.concatenate([c for _, c in parts])[order], first)


def _slots(corpus: WordCorpus, window: int, memory: int) -> int:
    """Slots of the hash table: a power of two, within the memory, no more than there can be pairs."""
    # sorting a full table takes as much again
    most = max(memory // (2 * _SLOT_BYTES), 64 + 4 * window)
    possible = min(len(corpus.ids) * window, len(corpus.words) * (len(corpus.words) + 1) // 2)
    return int(min(2 ** int(math.log2(most)), 2 ** math.ceil(math.log2(2 * possible + 64 + 4 * window))))


def _count(corpus: WordCorpus, window: int, unit: int, slots: int, runs: _Runs) -> None:
    from zen_pipeline.embeddings.glove_kernel import EMPTY, count_pairs

    weights = np.array([0, *(round(unit / d) for d in range(1, window + 1))], np.int64)
    keys, values = np.full(slots, EMPTY, np.int64), np.zeros(slots, np.int64)
    document = position = 0
    documents = len(corpus.offsets) - 1
    while True:
        document, position, _used = count_pairs(
            corpus.ids, corpus.offsets, weights, len(corpus.words), keys, values, document, position, 0
        )
        taken = keys != EMPTY
        runs.add(keys[taken], values[taken], last=document == documents)
        if document == documents:
            return
        keys.fill(EMPTY)
        values.fill(0)


def _on_disk(
    entries: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]], folder: Path | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys and counts in two mapped files without a name, so that they end with their last user."""
    with tempfile.TemporaryFile(dir=folder) as keys, tempfile.TemporaryFile(dir=folder) as counts:
        total = 0
        for some_keys, some_counts in entries:
            keys.write(some_keys.tobytes())
            counts.write(some_counts.tobytes())
            total += len(some_keys)
        keys.flush()
        counts.flush()
        mapped = [np.memmap(file, np.int64, "r", 0, (total,)) for file in (keys, counts)]
    return np.asarray(mapped[0]), np.asarray(mapped[1])
