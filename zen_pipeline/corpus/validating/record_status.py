"""What becomes of every record: 24 bytes each, whatever the length of its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.duplicates.contamination import NO_VERDICTS, Verdicts
from zen_pipeline.corpus.duplicates.exact import NO_ROW
from zen_pipeline.corpus.duplicates.minhash import Alike
from zen_pipeline.corpus.duplicates.normal_form import Hashes, Integers
from zen_pipeline.corpus.split import NUMBER, Splits

KEPT, DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = "", "duplicate", "near duplicate", "contaminated"
_FIRST_REASONS = (KEPT, DUPLICATE, NEAR_DUPLICATE, CONTAMINATED)

# What stays of equals: what is in a test file, then what is in a validation file, then what comes first. A text of
# the test set must leave the training set, and not the other way round.
_PRIORITY = np.array([2, 2, 1, 0], np.int8)  # by the number of the role: none, train, valid, test


class RecordStates:
    """Columns over all records, in the order of the corpus.

    Attributes:
        names: the reasons, by their numbers; the first is the empty one of records that stay.
        reasons: number of the reason, int16.
        roles: number of the split that the record's file names, int8.
        splits: number of the split, int8; 0 until it is assigned.
        groups: the position of the record's group, uint64.
        originals: row of the record that this one repeats, int64; -1 for none.
        likeness: how much of that record it repeats, float32.
        verdicts: the contaminated rows.
    """

    def __init__(self, prepared: Iterable[tuple[list[str], Splits, Hashes]]) -> None:
        self.names = list(_FIRST_REASONS)
        numbers = {name: number for number, name in enumerate(self.names)}
        reasons, roles, groups = [], [], []
        for part_reasons, part_roles, part_groups in prepared:
            for name in part_reasons:
                if name not in numbers:
                    numbers[name] = len(self.names)
                    self.names.append(name)
            reasons.append(np.array([numbers[name] for name in part_reasons], np.int16))
            roles.append(part_roles)
            groups.append(part_groups)
        self.firsts = np.concatenate([[0], np.cumsum([len(r) for r in reasons], dtype=np.int64)])
        self.reasons = np.concatenate([np.empty(0, np.int16), *reasons])
        self.roles: Splits = np.concatenate([np.empty(0, np.int8), *roles])
        self.groups: Hashes = np.concatenate([np.empty(0, np.uint64), *groups])
        self.splits = np.zeros(len(self.reasons), np.int8)
        self.originals = np.full(len(self.reasons), NO_ROW, np.int64)
        self.likeness = np.zeros(len(self.reasons), np.float32)
        self.verdicts = NO_VERDICTS

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Which records stay, so far."""
        kept: npt.NDArray[np.bool_] = self.reasons == 0
        return kept

    @property
    def exact_duplicates(self) -> int:
        """How many records have the text of another, whether they are set aside or not."""
        near = self.reasons == _FIRST_REASONS.index(NEAR_DUPLICATE)
        return int(((self.originals != NO_ROW) & ~near).sum())

    @property
    def priority(self) -> npt.NDArray[np.int8]:
        """The lowest stays of equals."""
        return _PRIORITY[self.roles]

    def candidates(self) -> Integers:
        """The rows that stay so far, those first that should stay of equals."""
        rows = np.flatnonzero(self.kept)
        return rows[np.argsort(self.priority[rows], kind="stable")]

    def set_duplicates(self, originals: Integers, *, remove: bool) -> None:
        """Note which record each repeats, and set the repetitions aside if they are to be removed."""
        rows = np.flatnonzero(originals != NO_ROW)
        self.originals[rows], self.likeness[rows] = originals[rows], 1.0
        if remove:
            self.reasons[rows] = _FIRST_REASONS.index(DUPLICATE)

    def set_near_duplicates(self, alike: Alike) -> None:
        """Set aside what resembles another record."""
        self.originals[alike.rows], self.likeness[alike.rows] = alike.originals, alike.likeness
        self.reasons[alike.rows] = _FIRST_REASONS.index(NEAR_DUPLICATE)

    def set_contaminated(self, verdicts: Verdicts) -> None:
        """Set aside what shares too much with the evaluation data."""
        self.verdicts = verdicts
        self.reasons[verdicts.rows] = _FIRST_REASONS.index(CONTAMINATED)

    def in_split(self, split: str) -> npt.NDArray[np.bool_]:
        """Which records stay in a split."""
        inside: npt.NDArray[np.bool_] = self.kept & (self.splits == NUMBER[split])
        return inside

    def parts(self) -> Iterator[slice]:
        """The rows of every part."""
        for first, end in zip(self.firsts[:-1], self.firsts[1:], strict=True):
            yield slice(int(first), int(end))

    def counts(self) -> dict[str, int]:
        """Records by reason, without those that stay; sorted by name."""
        numbers, counts = np.unique(self.reasons[~self.kept], return_counts=True)
        return dict(sorted((self.names[n], int(c)) for n, c in zip(numbers, counts, strict=True)))
