"""Findings say what was seen and by which rows; records that do not meet an expectation can be set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from zen_pipeline.corpus.expectations.allowed import ALLOWED
from zen_pipeline.corpus.expectations.findings import set_aside_finding
from zen_pipeline.corpus.expectations.judge import Gate, Judge
from zen_pipeline.corpus.expectations.suites import Entry, load_suite
from zen_pipeline.corpus.expectations.summaries import SUMMARIES
from zen_pipeline.errors import ConfigError

RECORDS = pd.DataFrame({"kind": ["qa", "qa", "chat"], "id": ["a", "b", "c"], "characters": [10, 20, 3]})


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def entry(kind: str, action: str = "stop", suite: str = "records", **kwargs: Any) -> Entry:
    return Entry(suite, "suite.json, expectation 1", kind, kwargs, action, "do this")


def between(action: str = "stop", **kwargs: Any) -> Entry:
    return entry("expect_column_values_to_be_between", action, **kwargs)


def test_findings_come_in_the_order_of_the_file_with_the_rows_that_do_not_meet_them(judge: Judge) -> None:
    entries = [
        between(column="characters", min_value=5),
        entry("expect_column_label_balance_to_be_at_least", column="kind", min_balance=0.99),
        entry("expect_column_values_to_be_unique", column="id"),
        between("set_aside", column="characters", min_value=5),
        between("warn", column="characters", max_value=15),
    ]
    findings = judge.findings(RECORDS, entries)
    assert [(f.column, f.success, f.stops, f.warns) for f in findings] == [
        ("characters", False, True, False),
        ("kind", False, True, False),
        ("id", True, False, False),
        ("characters", False, False, True),
    ]
    assert (findings[0].offenders, findings[0].observed) == (["2"], "1 of 3 do not (33.33%)")
    assert (findings[3].offenders, findings[3].expected, findings[3].advice) == (["1"], "max 15", "do this")


def test_of_one_row_about_everything_the_value_is_shown(judge: Judge) -> None:
    frame = pd.DataFrame({"share_set_aside": [0.25]})
    (finding,) = judge.findings(frame, [between(column="share_set_aside", max_value=0.1)])
    assert (finding.observed, finding.offenders, finding.stops) == ("0.25", [], True)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (entry("expect_foo"), r"expectation 1 .expect_foo.*not found"),
        (between(column="nope", max_value=1), "no measure 'nope'; known: kind, id, characters"),
        (entry("expect_column_values_to_be_in_set", columns="id"), "columns"),
        (between(column="id", max_value=3), "could not be computed over 3 rows .*of the same type"),
    ],
)
def test_an_expectation_that_cannot_be_computed_is_the_users_mistake(judge: Judge, made: Entry, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        judge.findings(RECORDS, [made])


def test_great_expectations_knows_everything_that_a_suite_may_name(tmp_path: Path) -> None:
    from great_expectations.expectations.registry import get_expectation_impl

    sides = {"column_A": "translation.source_characters", "column_B": "translation.target_characters"}
    for kind in sorted(set(ALLOWED) - set(SUMMARIES)):
        kwargs = sides if "length_ratio" in kind else {}
        path = tmp_path / "translation.json"
        path.write_text(json.dumps({"expectations": [{"type": kind, "kwargs": kwargs}]}))
        (loaded,) = load_suite("translation", path)
        fields = set(get_expectation_impl(loaded.type).__fields__)
        assert set(loaded.kwargs) <= fields, kind
        assert loaded.type != kind or ALLOWED[kind] <= fields, kind


def test_records_are_set_aside_by_the_first_expectation_that_they_do_not_meet(judge: Judge) -> None:
    suites = {
        "records": [between("set_aside", column="characters", max_value=15), between(column="characters", max_value=1)],
        "qa": [between("set_aside", suite="qa", column="characters", min_value=15)],
    }
    frame = RECORDS.set_index(pd.Index([7, 8, 9]))
    aside = judge.set_aside(frame, suites)
    assert aside == {
        8: "expect_column_values_to_be_between on characters (max 15)",
        7: "expect_column_values_to_be_between on characters (min 15)",
    }, "9 is a chat, which the suite of questions does not judge; what stops sets nothing aside"


def test_parts_of_a_data_set_are_set_aside_as_the_whole(judge: Judge) -> None:
    suites = {"records": [between("set_aside", column="characters", min_value=11)]}
    frame = pd.DataFrame({"kind": "document", "characters": [5, 50, 11, 10, 12, 1]})
    whole = judge.set_aside(frame, suites)
    parts = judge.set_aside(frame[:3], suites) | judge.set_aside(frame[3:], suites)
    assert list(whole) == [0, 3, 5]
    assert parts == whole


@pytest.mark.parametrize(
    "made",
    [
        entry("expect_column_mean_to_be_between", "set_aside", column="characters", max_value=1),
        entry("expect_column_share_of_duplicates_to_be_at_most", "set_aside", column="id", max_share=0.5),
    ],
)
def test_what_looks_at_no_single_record_cannot_set_one_aside(judge: Judge, made: Entry) -> None:
    with pytest.raises(ConfigError, match="does not look at single records; use stop or warn"):
        judge.set_aside(RECORDS, {"records": [made]})


def test_the_gate_lets_kinds_pass_that_no_suite_sets_aside() -> None:
    gate = Gate(None)
    assert gate.set_aside(pd.DataFrame({"kind": ["document"], "characters": [1]})) == {}
    assert gate.seconds == 0, "nothing was asked"


def test_a_finding_about_records_set_aside_says_how_many() -> None:
    finding = set_aside_finding(between("set_aside", column="characters", min_value=5), 1, 4)
    assert (finding.sets_aside, finding.stops, finding.observed) == (True, False, "1 of 4 do not (25.00%)")
