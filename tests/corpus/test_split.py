"""Splits: stable under new data, true to file names, never empty."""

from __future__ import annotations

import numpy as np
import pytest

from zen_pipeline.corpus.split import KINDS, NUMBER, assign, position_bits
from zen_pipeline.errors import DataError

Rows = list[tuple[str, str, str | None]]
_NAME = {number: name for name, number in NUMBER.items()}


def split(
    rows: Rows,
    salt: str = "zen",
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    kinds: list[str] | None = None,
) -> tuple[list[str], list[str]]:
    """The splits of (id, group, role) rows, and the notes."""
    divided = assign(
        np.array([position_bits(group, salt) for _, group, _ in rows], np.uint64),
        np.array([NUMBER.get(str(role), 0) for _, _, role in rows], np.int8),
        np.array([KINDS.index(kind) for kind in kinds or ["document"] * len(rows)], np.int8),
        lambda: np.array([position_bits(identity, salt) for identity, _, _ in rows], np.uint64),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )
    return [_NAME[int(number)] for number in divided.splits], divided.notes


def many(count: int) -> Rows:
    return [(f"r{n}", f"g{n // 2}", None) for n in range(count)]


def test_shares_are_about_what_was_asked_and_groups_stay_together() -> None:
    rows = many(8000)
    splits, notes = split(rows)
    assert splits[0::2] == splits[1::2]
    assert 0.08 < splits.count("test") / len(rows) < 0.12
    assert 0.035 < splits.count("valid") / len(rows) < 0.065
    assert not notes


def test_new_data_moves_no_old_record_and_another_salt_does() -> None:
    rows = many(2000)
    before, after, other = split(rows)[0], split(many(5000))[0], split(rows, "salt")[0]
    assert after[:2000] == before
    assert other != before


def test_roles_of_file_names_are_kept_even_within_one_group() -> None:
    rows: Rows = [("a", "same", "train"), ("b", "same", "test"), ("c", "same", "valid"), ("d", "same", "train")]
    assert split(rows) == (["train", "test", "valid", "train"], [])


def test_empty_splits_are_filled_from_training_groups_and_it_is_said() -> None:
    rows = [(f"r{n}", f"g{n}", "train") for n in range(40)]
    splits, notes = split(rows)  # type: ignore[arg-type]
    assert (splits.count("test"), splits.count("valid")) == (4, 2)
    assert ["test" in note or "valid" in note for note in notes] == [True, True]


def test_one_group_is_divided_by_records_and_it_is_said() -> None:
    rows: Rows = [(f"r{n}", "one file", None) for n in range(3)]
    splits, notes = split(rows)
    assert sorted(splits) == ["test", "train", "valid"]
    assert "each record is split on its own" in notes[0]


@pytest.mark.parametrize("salt", [str(n) for n in range(30)])
def test_three_groups_always_fill_three_splits(salt: str) -> None:
    rows: Rows = [(f"r{n}", f"g{n}", None) for n in range(3)]
    splits, _ = split(rows, salt, validation_fraction=0.4, test_fraction=0.4)
    assert sorted(splits) == ["test", "train", "valid"]


@pytest.mark.parametrize(
    "rows", [[("a", "g", None)], [("a", "g", None), ("b", "h", None)], [("a", "g", "train"), ("b", "h", "test")]]
)
def test_too_few_records_are_an_error_with_numbers(rows: Rows) -> None:
    with pytest.raises(DataError, match=f"there are {len(rows)} "):
        split(rows)


@pytest.mark.parametrize("salt", [str(n) for n in range(5)])
def test_every_split_holds_every_kind(salt: str) -> None:
    rows: Rows = [(f"r{n}", f"g{n}", None) for n in range(200)] + [(f"d{n}", "one file", None) for n in range(4)]
    kinds = ["chat"] * 197 + ["qa"] * 3 + ["document"] * 4
    splits, notes = split(rows, salt, kinds=kinds)
    for kind in ("chat", "qa", "document"):
        assert {s for s, k in zip(splits, kinds, strict=True) if k == kind} == {"train", "valid", "test"}, kind
    assert any(note.startswith("document: there are too few groups") for note in notes)


def test_a_kind_that_a_test_file_does_not_hold_is_tested_with_some_of_the_others() -> None:
    rows: Rows = [(f"c{n}", f"c{n}", "test" if n < 5 else "train") for n in range(50)]
    rows += [(f"d{n}", f"d{n}", "train") for n in range(20)]
    splits, notes = split(rows, kinds=["chat"] * 50 + ["document"] * 20)
    assert splits[:5] == ["test"] * 5
    assert set(splits[50:]) == {"train", "valid", "test"}
    assert [note for note in notes if "document" in note and "test" in note]


def test_what_cannot_be_divided_is_said() -> None:
    rows: Rows = [(f"d{n}", f"d{n}", None) for n in range(20)] + [("c", "c", None)]
    divided = assign(
        np.array([position_bits(group, "zen") for _, group, _ in rows], np.uint64),
        np.zeros(21, np.int8),
        np.array([0] * 20 + [KINDS.index("chat")], np.int8),
        lambda: np.array([position_bits(identity, "zen") for identity, _, _ in rows], np.uint64),
        validation_fraction=0.05,
        test_fraction=0.05,
    )
    assert divided.missing == ["valid and test without any chat: there are 1 (1 with no role)"]


@pytest.mark.parametrize(
    ("roles", "trains"), [(["valid"] * 9, {"valid"}), (["test"] * 9, {"test"}), (["valid"] * 8 + ["test"], {"valid"})]
)
def test_a_role_by_name_counts_only_where_there_is_something_else_to_train_on(
    roles: list[str], trains: set[str]
) -> None:
    splits, notes = split([(f"r{n}", f"g{n}", role) for n, role in enumerate(roles)])
    assert set(splits) == {"train", "valid", "test"}
    assert {role for role, given in zip(roles, splits, strict=True) if given == "train"} == trains
    assert any("called" in note for note in notes)
