"""Near duplicates: MinHash signatures, locality-sensitive hashing in bands, and leaders whom the others resemble.

Two texts are alike by the Jaccard similarity of their sets of shingles (runs of words). Signatures estimate it (Broder
1997); texts that agree in all minima of one band are candidates (Leskovec, Rajaraman, Ullman: Mining of Massive
Datasets, 3.4); the whole signatures confirm them. Signatures and bands lie on disk, one band is looked at at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.duplicates.exact import equal_groups
from zen_pipeline.corpus.duplicates.normal_form import Bytes, Hashes, Integers, Texts, code_point_classes
from zen_pipeline.settings.data import NearDuplicatesConfig

_DETECTION = 0.99  # probability that a pair at the threshold shares a band at all
_SEED = 20_231_104  # of the permutations; any number, but always the same
_LEADERS = 64  # see `text_kernels.leaders`


class Signed(NamedTuple):
    """Which of some texts have shingles enough to resemble another without being equal, and their MinHashes."""

    which: Integers
    signatures: Bytes
    bands: Hashes


class Alike(NamedTuple):
    """What was found: rows, whom each resembles, and the estimated similarity."""

    rows: Integers
    originals: Integers
    likeness: npt.NDArray[np.float32]


class MinHash:
    """The permutations and bands of one set of settings."""

    def __init__(self, settings: NearDuplicatesConfig) -> None:
        self.shingle = settings.shingle
        self.threshold = settings.threshold
        self.permutations = settings.permutations
        self.rows = _rows(settings.permutations, settings.threshold)
        self.bands = settings.permutations // self.rows
        # Of fewer shingles, a single one that is not shared is already too much.
        self.fewest = ceil(settings.threshold / (1 - settings.threshold) - 1e-9)
        random = np.random.Generator(np.random.PCG64(_SEED))
        numbers = random.integers(0, 1 << 32, (2, settings.permutations), dtype=np.uint64)
        self._factors, self._terms = (numbers[0] | 1).astype(np.uint32), numbers[1].astype(np.uint32)

    def sign(self, texts: Texts) -> Signed:
        """The signatures of the texts, which are in their normal form."""
        from zen_pipeline.corpus.duplicates.text_kernels import min_hashes

        count = len(texts.starts)
        signatures = np.empty((count, self.permutations), np.uint8)
        bands = np.empty((self.bands, count), np.uint64)
        shingles = np.empty(count, np.int64)
        min_hashes(
            *texts, code_point_classes(), self.shingle, self._factors, self._terms, self.rows,
            signatures, bands, shingles,
        )  # fmt: skip
        which = np.flatnonzero(shingles >= self.fewest)
        return Signed(which, signatures[which], np.ascontiguousarray(bands[:, which]))


def _rows(permutations: int, threshold: float) -> int:
    """The longest bands with which a pair at the threshold is found with a probability of 99 %."""
    for rows in range(permutations, 1, -1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= _DETECTION:
            return rows
    return 1


class SignatureFiles:
    """Signatures and bands on disk: written in the order of the corpus, then searched; a context manager."""

    def __init__(self, folder: Path, minhash: MinHash) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._minhash = minhash
        self._signatures = folder / "signatures.u8"
        self._bands = [folder / f"band{number:03}.u64" for number in range(minhash.bands)]
        self._open = ExitStack()
        self._files: list[IO[bytes]] = [
            self._open.enter_context(p.open("wb")) for p in (self._signatures, *self._bands)
        ]
        self._rows: list[Integers] = []

    def __enter__(self) -> SignatureFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._open.close()

    def add(self, signed: Signed, first_row: int) -> None:
        """Append what was signed of a part of the corpus that begins at a row."""
        self._rows.append(signed.which + first_row)
        self._files[0].write(signed.signatures.tobytes())
        for file, band in zip(self._files[1:], signed.bands, strict=True):
            file.write(band.tobytes())

    def find(self, taking_part: npt.NDArray[np.bool_], priority: npt.NDArray[np.int8]) -> Alike:
        """Everything that resembles a record that stays. The files must be complete.

        Candidates of all bands that are alike are joined to clusters. In a cluster the first leads, who resembles
        nobody before him leads too, and the others follow whom they resemble: so a chain of small differences does
        not remove what has little in common with the record that stays.

        Args:
            taking_part: for every row of the corpus, whether it is still there.
            priority: for every row its class; the lowest stays, among equals the first.
        """
        rows = np.concatenate(self._rows) if self._rows else np.empty(0, np.int64)
        order = np.flatnonzero(taking_part[rows])
        order = order[np.argsort(priority[rows[order]], kind="stable")]
        if len(order) < 2:
            return Alike(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        from zen_pipeline.corpus.duplicates.text_kernels import join, roots

        parents = np.arange(len(rows))
        for path in self._bands:
            keys = np.memmap(path, np.uint64, "r")
            for follower, leader, _ in self._followers(keys, order):
                join(parents, leader, follower)
        roots(parents)
        clustered = order[_in_clusters(parents)[order]]
        found = list(self._followers(parents.astype(np.uint64) << np.uint64(32), clustered))
        if not found:
            return Alike(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        followers, leaders, likeness = (np.concatenate(column) for column in zip(*found, strict=True))
        return Alike(rows[followers], rows[leaders], likeness)

    def _followers(self, keys: Hashes, order: Integers) -> Iterator[tuple[Integers, Integers, npt.NDArray[np.float32]]]:
        """(followers, their leaders, likeness) within the groups of equal keys."""
        from zen_pipeline.corpus.duplicates.text_kernels import leaders

        # Opened anew each time: the pages of a mapping that is gone no longer count as memory of this process.
        signatures = np.memmap(self._signatures, np.uint8, "r").reshape(-1, self._minhash.permutations)
        for members, firsts in equal_groups([keys], order):
            leader = np.empty(len(members), np.int64)
            likeness = np.empty(len(members), np.float32)
            leaders(members, firsts, signatures, self._minhash.threshold, _LEADERS, leader, likeness)
            follows = leader != members
            yield members[follows], leader[follows], likeness[follows]


def _in_clusters(parents: Integers) -> npt.NDArray[np.bool_]:
    """Which are joined with another."""
    joined = np.not_equal(parents, np.arange(len(parents)))
    joined[parents[joined]] = True
    return joined
