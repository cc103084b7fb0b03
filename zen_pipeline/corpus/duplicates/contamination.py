"""Contamination: training documents that share long runs of words with what the model will be tested on.

As in GPT-3 (Brown et al. 2020, appendix C): texts are compared by runs of 13 words in lower case without punctuation,
and runs that occur in more than ten training documents are ignored, being phrases and boilerplate rather than a leak.
Where a script writes no spaces, characters count instead of words (`text_kernels` says how the two are mixed). Runs
that are mostly numbers are no evidence: labels, tables and dates are alike by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.duplicates.normal_form import Hashes, Integers, Texts, code_point_classes, normal_form
from zen_pipeline.settings.data import ContaminationConfig

_BITS_PER_KEY = 16  # of the bitmap: one look-up in 16 of those that find nothing goes on to the sorted keys
_PRUNE_AT = 8 << 20  # matches, 24 bytes each


class Window(NamedTuple):
    """How long the compared runs are: a word weighs `word`, a character that stands alone `alone`, a run `total`."""

    word: int
    alone: int
    total: int

    @classmethod
    def of(cls, settings: ContaminationConfig) -> Window:
        """Runs of so many words, or of so many characters, or of both in proportion."""
        return cls(settings.characters, settings.words, settings.words * settings.characters)


def window_hashes(texts: Texts, window: Window) -> tuple[Hashes, Integers]:
    """The hashes of all windows, text after text, and how many each text has. Texts are in their normal form."""
    from zen_pipeline.corpus.duplicates.text_kernels import windows

    hashes = np.empty(_most_windows(texts), np.uint64)
    counts = np.empty(len(texts.starts), np.int64)
    filled = windows(*texts, code_point_classes(), *window, hashes, counts)
    return hashes[:filled].copy(), counts


def run_in(text: str, key: np.uint64, window: Window) -> str:
    """The first run of a text with this hash, in its normal form; empty where there is none."""
    from zen_pipeline.corpus.duplicates.text_kernels import locate

    data = normal_form(text).encode("utf-8", "replace")
    start, end = locate(np.frombuffer(data, np.uint8), code_point_classes(), *window, key)
    return data[start:end].decode().strip() if start >= 0 else ""


def _most_windows(texts: Texts) -> int:
    """A unit has at least two bytes: a letter and what ends it, or a character beyond ASCII."""
    return len(texts.data) // 2 + len(texts.starts) + 1


class Protected:
    """The windows of everything that must not be trained on, in files that several processes can map.

    Attributes:
        keys: their hashes, sorted, each once.
        owners: of which text each was first seen: a row of the corpus, or -1 - n for the n-th of the evaluation data.
    """

    def __init__(self, keys: Hashes, owners: Integers, bitmap: Hashes) -> None:
        self.keys, self.owners, self._bitmap = keys, owners, bitmap

    @classmethod
    def build(cls, seen: Iterable[tuple[Hashes, Integers]]) -> Protected:
        """From the hashes of windows and their owners, best owners first."""
        hashes, owners = (np.concatenate(column) for column in zip(*seen, strict=True))
        keys, first = np.unique(hashes, return_index=True)
        bits = max(6, int(len(keys) * _BITS_PER_KEY).bit_length())
        bitmap = np.zeros(1 << (bits - 6), np.uint64)
        slots = keys >> np.uint64(64 - bits)
        np.bitwise_or.at(bitmap, (slots >> np.uint64(6)).astype(np.int64), np.uint64(1) << (slots & np.uint64(63)))
        return cls(keys, owners[first], bitmap)

    def save(self, folder: Path) -> None:
        """Write the three arrays into an existing folder."""
        for name, array in (("keys", self.keys), ("owners", self.owners), ("bitmap", self._bitmap)):
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def open(cls, folder: Path) -> Protected:
        """What `save` wrote, mapped into memory."""
        keys, owners, bitmap = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("keys", "owners", "bitmap"))
        return cls(keys, owners, bitmap)

    def look_up(self, texts: Texts, window: Window) -> Matches:
        """The windows of the texts, in their normal form, that are protected."""
        from zen_pipeline.corpus.duplicates.text_kernels import find

        found = np.empty(_most_windows(texts), np.int64)
        counts, matches = (np.empty(len(texts.starts), np.int64) for _ in range(2))
        bits = (len(self._bitmap) - 1).bit_length() + 6
        filled = find(
            *texts, code_point_classes(), *window, self.keys, self._bitmap, bits, found, counts, matches
        )  # fmt: skip
        places = np.repeat(np.arange(len(counts)), matches)
        pairs, times = np.unique(np.stack([places, found[:filled]], axis=1), axis=0, return_counts=True)
        return Matches(pairs[:, 0], pairs[:, 1], times, counts)


class Matches(NamedTuple):
    """What look-ups found: text, window and how often, for every pair once; and how many windows each text has."""

    texts: Integers
    keys: Integers
    times: Integers
    windows: Integers


class Verdicts(NamedTuple):
    """Contaminated rows: how many of how many windows are protected, whose most of them are, and one of those."""

    rows: Integers
    shared: Integers
    windows: Integers
    owners: Integers
    runs: Hashes


_NONE = np.empty(0, np.int64)
NO_VERDICTS = Verdicts(_NONE, _NONE, _NONE, _NONE, np.empty(0, np.uint64))


class Evidence:
    """Gathers the matches of the training documents, and judges when all are known."""

    def __init__(self, protected: Protected, settings: ContaminationConfig) -> None:
        self._owners, self._keys, self._settings = protected.owners, protected.keys, settings
        self._documents = np.zeros(len(protected.keys), np.int64)  # training documents that hold each window
        self._matches: list[npt.NDArray[np.int64]] = []  # columns: row, key, times
        self._windows: list[tuple[Integers, Integers]] = []
        self._unpruned = 0

    def add(self, matches: Matches, rows: Integers) -> None:
        """The matches of some documents that are these rows of the corpus."""
        np.add.at(self._documents, matches.keys, 1)
        self._matches.append(np.stack([rows[matches.texts], matches.keys, matches.times]))
        hit = np.unique(matches.texts)
        self._windows.append((rows[hit], matches.windows[hit]))
        self._unpruned += len(matches.keys)
        if self._unpruned > _PRUNE_AT:  # what is boilerplate already never becomes evidence again
            self._matches, self._unpruned = [self._without_boilerplate()], 0

    @property
    def boilerplate(self) -> int:
        """How many protected windows are ignored because too many training documents hold them."""
        limit = self._settings.boilerplate_documents
        return 0 if limit is None else int((self._documents > limit).sum())

    def _without_boilerplate(self) -> npt.NDArray[np.int64]:
        matches = np.concatenate(self._matches, axis=1) if self._matches else np.empty((3, 0), np.int64)
        limit = self._settings.boilerplate_documents
        return matches if limit is None else matches[:, self._documents[matches[1]] <= limit]

    def verdicts(self) -> Verdicts:
        """The documents of which more than the allowed share is protected."""
        rows, keys, times = self._without_boilerplate()
        contaminated, place = np.unique(rows, return_inverse=True)
        shared = np.bincount(place, times, len(contaminated)).astype(np.int64)
        hit_rows, hit_windows = (
            np.concatenate(column) for column in zip(*self._windows, (np.empty(0, np.int64),) * 2, strict=True)
        )
        ranked = np.argsort(hit_rows)
        windows = hit_windows[ranked][np.searchsorted(hit_rows[ranked], contaminated)]
        over = shared > self._settings.max_overlap * windows
        owners = _most_frequent(place, self._owners[keys], times, len(contaminated))
        theirs = np.flatnonzero(self._owners[keys] == owners[place])
        _, first = np.unique(place[theirs], return_index=True)
        runs = self._keys[keys[theirs[first]]]
        return Verdicts(contaminated[over], shared[over], windows[over], owners[over], runs[over])


def _most_frequent(places: Integers, owners: Integers, times: Integers, count: int) -> Integers:
    """For each place the owner with the most matches; of equals the one with the lowest number."""
    pairs, inverse = np.unique(np.stack([places, owners], axis=1), axis=0, return_inverse=True)
    totals = np.bincount(inverse.ravel(), times, len(pairs))
    ranked = np.lexsort((pairs[:, 1], -totals, pairs[:, 0]))
    best = np.empty(count, np.int64)
    best[pairs[ranked[::-1], 0]] = pairs[ranked[::-1], 1]  # written last: the first of each place
    return best
