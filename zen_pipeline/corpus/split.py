"""Which records train, validate and test: a salted hash of the group, so that new data never moves old records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zen_pipeline.corpus.records import SPLITS
from zen_pipeline.errors import DataError

Unit = tuple[str, str]  # what is assigned as a whole: the group (or one record), and the role that a file name gives


@dataclass(frozen=True)
class Splits:
    """The split of every record, and what had to be done so that none is empty, in words."""

    units: dict[Unit, str]
    by_record: bool
    notes: list[str]

    def of(self, identity: str, group: str, role: str | None) -> str:
        """The split of one record: `train`, `valid` or `test`."""
        return self.units[identity if self.by_record else group, role or ""]


def position(name: str, salt: str) -> float:
    """Where a group falls in [0, 1): the first 64 bits of SHA-256 over salt and name."""
    digest = hashlib.sha256(f"{salt}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(
    rows: Iterable[tuple[str, str, str | None]], *, validation_fraction: float, test_fraction: float, salt: str
) -> Splits:
    """Divide a corpus.

    A record with a role of its own (its file is called train, valid or test) keeps it. The others follow their
    group's position: below `test_fraction` it tests, in the next `validation_fraction` it validates, else it trains.
    A split that stays empty is filled with the lowest groups of another, training first. When there are too few
    groups for that, every record is a group of its own. Both are said in the notes.

    Args:
        rows: (id, group, role or None) of every record.
        validation_fraction: share of the groups that validate.
        test_fraction: share of the groups that test.
        salt: changes every position.

    Raises:
        DataError: there are not enough records for three splits.
    """
    records = list(rows)
    fractions = {"test": test_fraction, "valid": validation_fraction}
    for by_record in (False, True):
        notes = ["too few groups: each record is split on its own"] if by_record else []
        units = {(r[0] if by_record else r[1], r[2] or ""): "" for r in records}
        for unit in units:
            units[unit] = unit[1] or _by_position(position(unit[0], salt), fractions)
        if _fill_empty(units, fractions, lambda unit: position(unit[0], salt), notes):
            return Splits(units, by_record, notes)
    counts = Counter(role or "no role" for _, _, role in records)
    found = ", ".join(f"{n} with {role}" for role, n in sorted(counts.items()))
    raise DataError(
        "training, validation and test need at least one record each; after validation there are "
        f"{len(records)} ({found}): add text, or lower validate.min_characters"
    )


def _by_position(value: float, fractions: dict[str, float]) -> str:
    if value < fractions["test"]:
        return "test"
    return "valid" if value < fractions["test"] + fractions["valid"] else "train"


def _fill_empty(
    units: dict[Unit, str], fractions: dict[str, float], where: Callable[[Unit], float], notes: list[str]
) -> bool:
    """Fill the empty splits in place; whether none is empty now."""
    for split in SPLITS:
        if split in units.values():
            continue
        taken = _donors(units, where)[: max(1, round(fractions.get(split, 0.0) * len(units)))]
        if not taken:
            return False
        units.update(dict.fromkeys(taken, split))
        notes.append(f"no group fell into {split}: it got {len(taken)} of the others, those with the lowest hashes")
    return True


def _donors(units: dict[Unit, str], where: Callable[[Unit], float]) -> list[Unit]:
    """The units that may move into an empty split, lowest position first, leaving one in the split they come from.

    Training gives first. What a file's name calls valid or test stays.
    """
    sizes = Counter(units.values())
    for giver in SPLITS:
        free = [u for u, s in units.items() if s == giver and (not u[1] or (u[1] == giver == "train"))]
        if sizes[giver] > 1 and free:
            return sorted(free, key=where)[: sizes[giver] - 1]
    return []
