"""Co-occurrence counts of words, as GloVe has them, in bounded memory.

X_ij is the sum of 1 / d over all places where the words i and j are d <= window words apart in one document
(Pennington et al. 2014, section 4.2). The sums are kept as whole numbers in units of 1 / lcm(1 … window), so they are
exact and no order of adding changes them: what was merged from files equals what was counted in memory, and a count
that was killed goes on behind its last finished file, with whatever memory there is now.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.files import write_atomically
from zen_pipeline.logs import get_logger

_SLOT_BYTES = 16
_MERGE_ENTRIES = 1 << 20  # of each run at a time
_LARGEST_UNIT = 1 << 32  # windows above 22 are counted in this unit, to a relative error of 1e-9
_FOLDER, _MANIFEST = "cooccurrences", "counted.json"

Entries = tuple[NDArray[np.int64], NDArray[np.int64]]  # keys and counts

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

    def blocks(self, size: int = 1 << 20) -> Iterator[Entries]:
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
        folder: where, in `cooccurrences`. A count of the same corpus and window that was killed there goes on behind
            its last run, and one that ended is taken as it is, until `discard_counts`. Default: a temporary folder.
    """
    unit = min(math.lcm(*range(1, window + 1)), _LARGEST_UNIT)
    place = tempfile.TemporaryDirectory(prefix="cooccurrences-") if folder is None else nullcontext(folder / _FOLDER)
    with place as opened:
        runs = _Runs(Path(opened), "" if folder is None else _identity(corpus, window))
        _count(corpus, window, unit, _slots(corpus, window, memory), runs)
        keys, counts = runs.together()
    return Cooccurrences(keys, counts, unit, len(corpus.words), runs.number)


def discard_counts(folder: Path) -> None:
    """Remove what `count_cooccurrences` keeps in a folder; arrays that it has returned stay valid."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _identity(corpus: WordCorpus, window: int) -> str:
    """Names what is counted; how much memory there is does not change the sums."""
    digest = hashlib.sha256(f"{len(corpus.words)} {window}".encode())
    for array in (corpus.ids, corpus.offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class _Runs:
    """Sorted pieces of the counts: an only one stays in memory, several lie in files.

    The manifest names the files that are whole and says where in the corpus the last run ends.

    Attributes:
        all: the runs, or what they were merged to.
        number: how many runs there were.
        document: where counting goes on.
        position: the same, in the ids.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity
        self._files: list[tuple[str, int]] = []  # names and entries
        self.all: list[Entries] = []
        self.number = self.document = self.position = 0
        if folder.exists():
            self._go_on()

    def _go_on(self) -> None:
        try:
            found = json.loads((self._folder / _MANIFEST).read_text(encoding="utf-8"))
            if found["identity"] == self._identity:
                files = [(name, entries) for name, entries in found["files"]]
                runs = [self._mapped(*file) for file in files]
                self.number, self.document, self.position = found["number"], found["document"], found["position"]
                self._files, self.all = files, runs
                log.info("co-occurrences: going on behind %d sorted runs in %s", self.number, self._folder)
        except FileNotFoundError:
            pass  # killed before the first run was whole
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be used (%s): the count starts again", self._folder, error)
        whole = {f"{name}.{kind}" for name, _ in self._files for kind in ("keys", "counts")}
        whole |= {_MANIFEST} if self.all else set()
        for path in self._folder.iterdir():
            if path.name not in whole:
                path.unlink()

    def add(self, entries: Entries, document: int, position: int, *, last: bool) -> None:
        """Take the entries of the corpus up to a place."""
        order = np.argsort(entries[0])
        run = entries[0][order], entries[1][order]
        self.number, self.document, self.position = self.number + 1, document, position
        if last and not self.all:
            self.all.append(run)
            return
        self._files.append(self._write(f"run-{self.number}", [run]))
        self._write_manifest()
        self.all.append(self._mapped(*self._files[-1]))

    def together(self) -> Entries:
        """All entries by rising key, equal keys added up."""
        if len(self.all) > 1:
            log.info("co-occurrences: merging %d sorted runs", len(self.all))
            merged, files = self._write("merged", self._merged()), self._files
            self._files = [merged]
            self._write_manifest()
            self.all = [self._mapped(*merged)]
            for name, _ in files:
                for kind in ("keys", "counts"):
                    (self._folder / f"{name}.{kind}").unlink()
        [entries] = self.all
        return entries

    def _write(self, name: str, pieces: Iterable[Entries]) -> tuple[str, int]:
        """Write entries to two files; returns their name, of this process alone, and how many there are."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name, entries = f"{name}-{os.getpid()}", 0
        with (self._folder / f"{name}.keys").open("wb") as keys, (self._folder / f"{name}.counts").open("wb") as counts:
            for some_keys, some_counts in pieces:
                keys.write(some_keys.data)
                counts.write(some_counts.data)
                entries += len(some_keys)
            for file in (keys, counts):
                file.flush()
                os.fsync(file.fileno())
        return name, entries

    def _mapped(self, name: str, entries: int) -> Entries:
        return self._array(f"{name}.keys", entries), self._array(f"{name}.counts", entries)

    def _array(self, name: str, entries: int) -> NDArray[np.int64]:
        path = self._folder / name
        if path.stat().st_size != 8 * entries:
            raise ValueError(f"{name} has {path.stat().st_size} bytes, not {8 * entries}")
        return np.asarray(np.memmap(path, np.int64, "r", 0, (entries,)) if entries else np.empty(0, np.int64))

    def _write_manifest(self) -> None:
        state = {"identity": self._identity, "number": self.number, "document": self.document,
                 "position": self.position, "files": self._files}  # fmt: skip
        write_atomically(self._folder / _MANIFEST, json.dumps(state))

    def _merged(self) -> Iterator[Entries]:
        """The entries of `together`, some at a time, in bounded memory."""
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

    documents = len(corpus.offsets) - 1
    if runs.all and runs.document == documents:
        return
    weights = np.array([0, *(round(unit / d) for d in range(1, window + 1))], np.int64)
    keys, values = np.full(slots, EMPTY, np.int64), np.zeros(slots, np.int64)
    while True:
        document, position, _used = count_pairs(
            corpus.ids, corpus.offsets, weights, len(corpus.words), keys, values, runs.document, runs.position, 0
        )
        taken = keys != EMPTY
        runs.add((keys[taken], values[taken]), document, position, last=document == documents)
        if document == documents:
            return
        keys.fill(EMPTY)
        values.fill(0)
