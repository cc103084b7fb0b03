"""Splits: stable under new data, true to file names, never empty."""

from __future__ import annotations

import pytest

from zen_pipeline.corpus.split import Splits, assign
from zen_pipeline.errors import DataError

Rows = list[tuple[str, str, str | None]]


def split(rows: Rows, salt: str = "zen") -> Splits:
    return assign(rows, validation_fraction=0.05, test_fraction=0.1, salt=salt)


def many(count: int) -> Rows:
    return [(f"r{n}", f"g{n // 2}", None) for n in range(count)]


def test_shares_are_about_what_was_asked_and_groups_stay_together() -> None:
    rows = many(8000)
    found = split(rows)
    splits = [found.of(*row) for row in rows]
    assert splits[0::2] == splits[1::2]
    assert 0.08 < splits.count("test") / len(rows) < 0.12
    assert 0.035 < splits.count("valid") / len(rows) < 0.065
    assert not found.notes


def test_new_data_moves_no_old_record_and_another_salt_does() -> None:
    rows = many(2000)
    before, after, other = split(rows), split(many(5000)), split(rows, "salt")
    assert all(before.of(*row) == after.of(*row) for row in rows)
    assert any(before.of(*row) != other.of(*row) for row in rows)


def test_roles_of_file_names_are_kept_even_within_one_group() -> None:
    rows: Rows = [("a", "same", "train"), ("b", "same", "test"), ("c", "same", "valid"), ("d", "same", "train")]
    found = split(rows)
    assert [found.of(*row) for row in rows] == ["train", "test", "valid", "train"]
    assert not found.notes


def test_empty_splits_are_filled_from_training_groups_and_it_is_said() -> None:
    rows = [(f"r{n}", f"g{n}", "train") for n in range(40)]
    found = split(rows)  # type: ignore[arg-type]
    splits = [found.of(*row) for row in rows]
    assert (splits.count("test"), splits.count("valid")) == (4, 2)
    assert ["test" in note or "valid" in note for note in found.notes] == [True, True]


def test_one_group_is_divided_by_records_and_it_is_said() -> None:
    rows: Rows = [(f"r{n}", "one file", None) for n in range(3)]
    found = split(rows)
    assert sorted(found.of(*row) for row in rows) == ["test", "train", "valid"]
    assert "each record is split on its own" in found.notes[0]


@pytest.mark.parametrize("salt", [str(n) for n in range(30)])
def test_three_groups_always_fill_three_splits(salt: str) -> None:
    rows: Rows = [(f"r{n}", f"g{n}", None) for n in range(3)]
    found = assign(rows, validation_fraction=0.4, test_fraction=0.4, salt=salt)
    assert sorted(found.of(*row) for row in rows) == ["test", "train", "valid"]


@pytest.mark.parametrize(
    "rows", [[("a", "g", None)], [("a", "g", None), ("b", "h", None)], [(f"r{n}", "g", "test") for n in range(9)]]
)
def test_too_few_records_are_an_error_with_numbers(rows: Rows) -> None:
    with pytest.raises(DataError, match=f"there are {len(rows)} "):
        split(rows)
