"""The suites: shipped ones that load, own ones that are checked, and what of them decides which records are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zen_pipeline.corpus.expectations.suites import (
    KIND_SUITES,
    ROW_SUITES,
    SHIPPED,
    SUITE_NAMES,
    load_suite,
    load_suites,
    set_aside_identity,
    suite_digests,
    suite_paths,
)
from zen_pipeline.corpus.kinds.kind_measures import KIND_COLUMNS
from zen_pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


def entry(kind: str, action: str = "stop", **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {"action": action, "advice": "do this"}}


def write(folder: Path, name: str, *entries: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"name": name, "expectations": list(entries)}))
    return str(folder)


def test_every_suite_is_shipped_and_lies_under_data() -> None:
    for name in SUITE_NAMES:
        assert (ROOT / "data" / "expectations" / f"{name}.json").resolve() == (SHIPPED / f"{name}.json").resolve()
        entries = load_suite(name, SHIPPED / f"{name}.json")
        assert entries
        assert all(e.advice for e in entries)
    assert {p.stem for p in SHIPPED.glob("*.json")} == set(SUITE_NAMES)


def test_the_suites_of_kinds_look_at_measures_that_their_kind_has() -> None:
    common = {"language", "characters"}
    for kind, entries in load_suites(None, KIND_SUITES).items():
        for e in entries:
            assert all(c in common or (c in KIND_COLUMNS and c.startswith(f"{kind}.")) for c in e.columns), e.where


def test_a_suite_that_the_user_has_replaces_the_shipped_one_and_the_others_stay(tmp_path: Path) -> None:
    folder = write(tmp_path, "qa", entry("expect_column_to_exist", column="id"))
    paths = suite_paths(folder)
    assert paths["qa"] == tmp_path / "qa.json"
    assert paths["corpus"] == SHIPPED / "corpus.json"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("record", '{"expectations": []}', r"record\.json is no suite .* did you mean records\.json"),
        ("corpus", "{", r"corpus\.json cannot be read"),
        ("corpus", "[]", r"corpus\.json must be"),
        ("corpus", '{"expectations": [{"kwargs": {}}]}', "expectation 1: must be an object with"),
        ("corpus", '{"expectations": [{"type": "a", "kwargs": []}]}', "must be objects"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_suites(str(tmp_path))


HARM = "@__import__('os').system('touch harmed')"


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        (
            "expect_column_values_to_be_between",
            {"column": "characters", "row_condition": HARM, "condition_parser": "pandas"},
            "'row_condition' is no argument",
        ),
        ("expect_column_values_to_be_between", {"column": "characters", "min_value": {"$PARAMETER": HARM}}, "a number"),
        ("expect_column_values_to_be_between", {"column": "characters", "max_value": HARM}, "must be a number"),
        ("expect_column_values_to_be_between", {"column": "characters", "max_value": float("nan")}, "must be a number"),
        ("expect_column_values_to_be_in_set", {"column": "kind", "value_set": [{"$PARAMETER": "now()"}]}, "a list of"),
        ("expect_column_values_to_be_in_set", {"column": ["kind"], "value_set": []}, "column must be a text"),
        ("expect_column_values_to_be_of_type", {"column": "kind", "type_": "np.load('x')"}, "must be a name"),
        ("expect_column_values_to_match_regex", {"column": "kind", "regex": "("}, "no regular expression"),
        ("expect_column_values_to_match_json_schema", {"column": "id", "json_schema": {}}, "there is no expectation"),
        ("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT 1"}, "there is no expectation"),
        ("expect_column_values_to_be_betwen", {"column": "id"}, "did you mean expect_column_values_to_be_between"),
    ],
)
def test_nothing_that_is_evaluated_can_stand_in_a_suite(
    tmp_path: Path, kind: str, kwargs: dict[str, Any], message: str
) -> None:
    folder = write(tmp_path, "records", entry(kind, "warn", **kwargs))
    with pytest.raises(ConfigError, match=message):
        load_suites(folder, ["records"])


SIDES = {"column_A": "translation.source_characters", "column_B": "translation.target_characters"}


@pytest.mark.parametrize(
    ("written", "kwargs", "type", "meant"),
    [
        (
            "expect_answer_to_be_in_context",
            {"column": "qa.answer_in_context", "mostly": 0.9},
            "expect_column_values_to_be_in_set",
            {"column": "qa.answer_in_context", "mostly": 0.9, "value_set": [1]},
        ),
        (
            "expect_column_values_to_have_supervised_tokens",
            {"column": "supervised_tokens"},
            "expect_column_values_to_be_between",
            {"column": "supervised_tokens", "min_value": 1},
        ),
        (
            "expect_translation_length_ratio_to_be_at_most",
            {**SIDES, "max_ratio": 4, "ignore_row_if": "neither"},
            "expect_column_values_to_be_between",
            {"column": "translation.length_ratio", "max_value": 4},
        ),
    ],
)
def test_what_a_core_expectation_says_is_given_to_it(
    tmp_path: Path, written: str, kwargs: dict[str, Any], type: str, meant: dict[str, Any]
) -> None:
    folder = write(tmp_path, "translation", entry(written, "warn", **kwargs))
    (loaded,) = load_suites(folder, ["translation"])["translation"]
    assert (loaded.type, loaded.kwargs) == (type, meant)


def test_a_ratio_of_lengths_that_nobody_measures_names_the_one_that_is(tmp_path: Path) -> None:
    kwargs = {"column_A": "characters", "column_B": "words", "max_ratio": 4}
    folder = write(tmp_path, "translation", entry("expect_translation_length_ratio_to_be_at_most", **kwargs))
    with pytest.raises(
        ConfigError, match=r"translation\.json, expectation 1: .*translation\.length_ratio and max_value"
    ):
        load_suites(folder, ["translation"])


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no suite"):
        suite_digests(str(tmp_path))


@pytest.mark.parametrize(
    ("suite", "made", "message"),
    [
        ("records", entry("expect_foo", "explode"), "action must be one of stop, set_aside, warn, found 'explode'"),
        ("corpus", entry("expect_foo", "set_aside"), "set_aside works in the suites records, document"),
        ("records", entry("expect_foo", "set_aside", mostly=0.9), "leave out mostly"),
        ("records", entry("expect_column_values_to_be_unique", "set_aside", column="id"), "compares records"),
    ],
)
def test_an_action_that_cannot_be_is_refused(tmp_path: Path, suite: str, made: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_suites(write(tmp_path, suite, made))


def test_only_what_sets_records_aside_is_identity(tmp_path: Path) -> None:
    limit = entry("expect_column_values_to_be_between", "set_aside", column="characters", min_value=5)
    first = set_aside_identity(write(tmp_path, "records", limit))
    warn = entry("expect_column_values_to_be_between", "warn", column="words", min_value=5)
    advised = {**limit, "meta": {"action": "set_aside", "advice": "other words"}}
    assert set_aside_identity(write(tmp_path, "records", warn, advised)) == first
    stricter = {**limit, "kwargs": {"column": "characters", "min_value": 6}}
    assert set_aside_identity(write(tmp_path, "records", stricter)) != first
    for name in ROW_SUITES:
        write(tmp_path, name, warn)
    assert set_aside_identity(str(tmp_path)) == {}
