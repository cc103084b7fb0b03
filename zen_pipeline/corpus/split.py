"""Which records train, validate and test: a salted hash of the group, so that new data never moves old records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.records import SPLITS
from zen_pipeline.corpus.units import Hashes
from zen_pipeline.errors import DataError

NONE = 0
NUMBER = {name: number for number, name in enumerate(SPLITS, 1)}  # train 1, valid 2, test 3; 0 is no split
Splits = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Divided:
    """The split of every record as its number in `NUMBER`, and what had to be done so that none is empty, in words."""

    splits: Splits
    notes: list[str]


def position(name: str, salt: str) -> float:
    """Where a group falls in [0, 1)."""
    return position_bits(name, salt) / 2**64


def position_bits(name: str, salt: str) -> int:
    """The position times 2^64: the first 64 bits of SHA-256 over salt and name."""
    digest = hashlib.sha256(f"{salt}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def assign(
    groups: Hashes,
    roles: Splits,
    record_positions: Callable[[], Hashes],
    *,
    validation_fraction: float,
    test_fraction: float,
) -> Divided:
    """Divide a corpus.

    A record with a role of its own (its file is called train, valid or test) keeps it. The others follow their
    group's position: below `test_fraction` it tests, in the next `validation_fraction` it validates, else it trains.
    A split that stays empty is filled with the lowest groups of another, training first. When there are too few
    groups for that, every record is a group of its own. Both are said in the notes.

    Args:
        groups: the position of every record's group as 64 bits, which stand for the group.
        roles: number of the split that the record's file names, 0 for none.
        record_positions: the position of every record by its own id; asked for only when groups are too few.
        validation_fraction: share of the groups that validate.
        test_fraction: share of the groups that test.

    Raises:
        DataError: there are not enough records for three splits.
    """
    fractions = {"test": test_fraction, "valid": validation_fraction}
    for by_record in (False, True):
        notes = ["there are too few groups, so each record is split on its own"] if by_record else []
        positions = record_positions() if by_record else groups
        splits = _by_position(positions, roles, fractions)
        if _fill_empty(splits, positions, roles, fractions, notes):
            return Divided(splits, notes)
    names = {NONE: "no role"} | {number: name for name, number in NUMBER.items()}
    counts = sorted((names[int(role)], int(n)) for role, n in zip(*np.unique(roles, return_counts=True), strict=True))
    found = ", ".join(f"{n} with {role}" for role, n in counts)
    raise DataError(
        "training, validation and test need at least one record each; after validation there are "
        f"{len(roles)} ({found}): add text, or lower validate.min_characters"
    )


def _by_position(positions: Hashes, roles: Splits, fractions: dict[str, float]) -> Splits:
    share = positions / 2**64
    held_out = np.where(share < fractions["test"], NUMBER["test"], NUMBER["valid"])
    fallen = np.where(share < fractions["test"] + fractions["valid"], held_out, NUMBER["train"])
    return np.where(roles != NONE, roles, fallen).astype(np.int8)


def _fill_empty(
    splits: Splits, positions: Hashes, roles: Splits, fractions: dict[str, float], notes: list[str]
) -> bool:
    """Fill the empty splits in place; whether none is empty now."""
    for split in SPLITS:
        if (splits == NUMBER[split]).any():
            continue
        units = sum(len(np.unique(positions[roles == role])) for role in np.unique(roles))
        donors = _donors(splits, positions, roles)[: max(1, round(fractions.get(split, 0.0) * units))]
        if not len(donors):
            return False
        for role, where in donors:
            splits[(roles == role) & (positions == where)] = NUMBER[split]
        notes.append(f"no group fell into {split}: it got {len(donors)} of the others, those with the lowest hashes")
    return True


def _donors(splits: Splits, positions: Hashes, roles: Splits) -> list[tuple[int, np.uint64]]:
    """The groups (role, position) that may move into an empty split, lowest position first.

    One stays in the split that they come from. Training gives first. What a file's name calls valid or test stays.
    """
    for giver in SPLITS:
        here = splits == NUMBER[giver]
        sizes = {role: np.unique(positions[here & (roles == role)]) for role in np.unique(roles[here])}
        movable = (NONE, NUMBER["train"]) if giver == "train" else (NONE,)
        free = [(int(role), where) for role in movable for where in sizes.get(np.int8(role), ())]
        if (count := sum(map(len, sizes.values()))) > 1 and free:
            return sorted(free, key=lambda unit: (unit[1], unit[0]))[: count - 1]
    return []
