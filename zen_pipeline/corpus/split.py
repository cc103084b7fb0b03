"""Which records train, validate and test: a salted hash of the group, so that new data never moves old records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.duplicates.normal_form import Hashes
from zen_pipeline.corpus.records import SPLITS
from zen_pipeline.errors import DataError
from zen_pipeline.settings.data import RecordKind

NONE = 0
KINDS = get_args(RecordKind)
NUMBER = {name: number for number, name in enumerate(SPLITS, 1)}  # train 1, valid 2, test 3; 0 is no split
Splits = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Divided:
    """What became of every record.

    Attributes:
        splits: the split of every record as its number in `NUMBER`.
        notes: what had to be done so that no split is empty, in words.
        missing: what could not be done: which split holds no record of which kind.
    """

    splits: Splits
    notes: list[str]
    missing: list[str]


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
    kinds: npt.NDArray[np.int8],
    record_positions: Callable[[], Hashes],
    *,
    validation_fraction: float,
    test_fraction: float,
) -> Divided:
    """Divide a corpus, so that every split holds records of every kind.

    A record with a role of its own (its file is called train, valid or test) keeps it, where there are others to
    train on. The others follow their group's position: below `test_fraction` it tests, in the next
    `validation_fraction` it validates, else it trains. A split without records of a kind gets the lowest groups of
    that kind from another, training first. When there are too few groups for that, every record of the kind is a group
    of its own. All of this is said in the notes.

    Args:
        groups: the position of every record's group as 64 bits, which stand for the group.
        roles: number of the split that the record's file names, 0 for none.
        kinds: the kind of every record, as its place in `KINDS`.
        record_positions: the position of every record by its own id; asked for only when groups are too few.
        validation_fraction: share of the groups that validate.
        test_fraction: share of the groups that test.

    Raises:
        DataError: there are not enough records for three splits.
    """
    fractions = {"test": test_fraction, "valid": validation_fraction}
    notes: list[str] = []
    missing: list[str] = []
    roles = _with_something_to_train_on(roles, kinds, notes)
    positions = groups.copy()
    splits = _by_position(positions, roles, fractions)
    for number in np.unique(kinds):
        inside, name = kinds == number, KINDS[number]
        done: list[str] = []
        for by_record in (False, True):
            if by_record:
                positions[inside] = record_positions()[inside]
                splits[inside] = _by_position(positions[inside], roles[inside], fractions)
                done = [f"{name}: there are too few groups, so each record is split on its own"]
            if _fill_empty(splits, positions, roles, inside, fractions, f"{name}: ", done):
                break
        else:
            empty = [split for split in SPLITS if not (splits[inside] == NUMBER[split]).any()]
            missing.append(f"{' and '.join(empty)} without any {name}: there are {_by_role(roles[inside])}")
        notes += done
    if any(not (splits == NUMBER[split]).any() for split in SPLITS):
        everything = np.ones(len(splits), bool)
        if not _fill_empty(splits, positions, roles, everything, fractions, "", notes):
            raise DataError(_too_few(roles))
    return Divided(splits, notes, missing)


def _with_something_to_train_on(roles: Splits, kinds: npt.NDArray[np.int8], notes: list[str]) -> Splits:
    """The roles without those that would leave a kind, or everything, without a record to train on."""
    roles = roles.copy()
    for number in np.unique(kinds):
        inside, name = kinds == number, KINDS[number]
        if not np.isin(roles[inside], (NONE, NUMBER["train"])).any() and (roles[inside] == NUMBER["valid"]).any():
            roles[inside & (roles == NUMBER["valid"])] = NONE
            notes.append(f"{name}: only files called validation or test hold any, so those called validation train too")
    if len(roles) and (roles == NUMBER["test"]).all():
        notes.append("only files called test are there, so they are divided as if they had another name")
        roles[:] = NONE
    return roles


def _too_few(roles: Splits) -> str:
    return (
        "training, validation and test need at least one record each; after validation there are "
        f"{_by_role(roles)}: add text, or lower validate.min_characters"
    )


def _by_role(roles: Splits) -> str:
    """`5 (3 with no role, 2 with test)`."""
    names = {NONE: "no role"} | {number: name for name, number in NUMBER.items()}
    counts = sorted((names[int(role)], int(n)) for role, n in zip(*np.unique(roles, return_counts=True), strict=True))
    return f"{len(roles)} ({', '.join(f'{n} with {role}' for role, n in counts)})"


def _by_position(positions: Hashes, roles: Splits, fractions: dict[str, float]) -> Splits:
    share = positions / 2**64
    held_out = np.where(share < fractions["test"], NUMBER["test"], NUMBER["valid"])
    fallen = np.where(share < fractions["test"] + fractions["valid"], held_out, NUMBER["train"])
    return np.where(roles != NONE, roles, fallen).astype(np.int8)


def _fill_empty(
    splits: Splits,
    positions: Hashes,
    roles: Splits,
    inside: npt.NDArray[np.bool_],
    fractions: dict[str, float],
    what: str,
    notes: list[str],
) -> bool:
    """Fill in place the splits that hold none of the records `inside`; whether all hold some now."""
    for split in ("train", "test", "valid"):  # two records are to train on and to test with
        if (splits[inside] == NUMBER[split]).any():
            continue
        units = sum(len(np.unique(positions[inside & (roles == role)])) for role in np.unique(roles[inside]))
        wanted = max(1, round(fractions.get(split, 0.0) * units))
        donors = _donors(splits[inside], positions[inside], roles[inside])[:wanted]
        if not len(donors):
            return False
        for role, where in donors:
            splits[(roles == role) & (positions == where)] = NUMBER[split]
        count = len(donors)
        notes.append(f"{what}no group fell into {split}: it got {count} of the others, those with the lowest hashes")
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
