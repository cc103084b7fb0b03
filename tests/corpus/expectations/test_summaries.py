"""Expectations about one number of all rows, each with data that meets it and data that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from zen_pipeline.corpus.expectations.findings import Finding
from zen_pipeline.corpus.expectations.judge import Judge
from zen_pipeline.corpus.expectations.suites import Entry
from zen_pipeline.errors import ConfigError


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def ask(judge: Judge, frame: pd.DataFrame, kind: str, **kwargs: Any) -> Finding:
    (finding,) = judge.findings(frame, [Entry("records", "suite.json, expectation 1", kind, kwargs, "stop", "")])
    return finding


@pytest.mark.parametrize(("limit", "met"), [(0.2, False), (0.25, True)])
def test_share_of_duplicates(judge: Judge, limit: float, met: bool) -> None:
    frame = pd.DataFrame({"duplicate_of": ["", "a", "", ""]})
    finding = ask(
        judge, frame, "expect_column_share_of_duplicates_to_be_at_most", column="duplicate_of", max_share=limit
    )
    assert (finding.success, finding.observed) == (met, "0.25")


@pytest.mark.parametrize(("limit", "met"), [(0.4, False), (0.5, True)])
def test_share_of_personal_data(judge: Judge, limit: float, met: bool) -> None:
    frame = pd.DataFrame({"personal": [0, 3, 1, 0]})
    finding = ask(
        judge, frame, "expect_column_share_of_personal_data_to_be_at_most", column="personal", max_share=limit
    )
    assert (finding.success, finding.observed) == (met, "0.5")


@pytest.mark.parametrize(
    ("languages", "share"), [(None, "0.25"), (["en"], "0.25"), (["fr"], "0.75"), (["en", "fr"], "0")]
)
def test_share_of_foreign_language_leaves_the_unknown_out(
    judge: Judge, languages: list[str] | None, share: str
) -> None:
    frame = pd.DataFrame({"language": pd.Categorical(["en", "en", "fr", "en", "und", "und"])})
    kwargs = {"column": "language", "max_share": 0.1, **({"languages": languages} if languages else {})}
    finding = ask(judge, frame, "expect_column_share_of_foreign_language_to_be_at_most", **kwargs)
    assert (finding.success, finding.observed) == (share == "0", share)


@pytest.mark.parametrize(("limit", "met"), [(0.009, False), (0.01, True)])
def test_share_of_unknown_characters_counts_characters_and_not_records(judge: Judge, limit: float, met: bool) -> None:
    frame = pd.DataFrame({"replacement_share": [1.0, 0.0], "characters": [10, 990]})
    kind = "expect_column_share_of_unknown_characters_to_be_at_most"
    finding = ask(judge, frame, kind, column="replacement_share", weight_column="characters", max_share=limit)
    assert (finding.success, finding.observed) == (met, "0.01")


@pytest.mark.parametrize(("labels", "met"), [(["a", "b"] * 5, True), (["a"] * 99 + ["b"], False), (["a"] * 5, True)])
def test_label_balance(judge: Judge, labels: list[str], met: bool) -> None:
    frame = pd.DataFrame({"label": pd.Categorical(labels, categories=["a", "b", "never seen"])})
    assert (
        ask(judge, frame, "expect_column_label_balance_to_be_at_least", column="label", min_balance=0.5).success is met
    )


def distribution(before: list[int], now: list[int]) -> pd.DataFrame:
    bins = [str(n) for n in range(len(before))]
    return pd.DataFrame({"distribution": "length", "bin": bins, "before": before, "now": now})


@pytest.mark.parametrize(
    ("before", "now", "met"),
    [
        ([500, 300, 200], [490, 310, 200], True),
        ([500, 300, 200], [200, 300, 500], False),
        ([3, 2, 1], [1, 2, 3], True),  # so few records differ as much by chance
        ([500, 500, 0], [400, 400, 200], False),  # a bin that was empty
    ],
)
def test_the_stability_index_stops_what_moved_further_than_chance(
    judge: Judge, before: list[int], now: list[int], met: bool
) -> None:
    kind = "expect_population_stability_index_to_be_less_than"
    finding = ask(judge, distribution(before, now), kind, distribution="length", max_value=0.1)
    assert finding.success is met
    assert "chance alone gives up to" in finding.observed


@pytest.mark.parametrize(("now", "met"), [([50, 30, 20], True), ([20, 30, 50], False), ([0, 0, 5], False)])
def test_the_jensen_shannon_distance(judge: Judge, now: list[int], met: bool) -> None:
    kind = "expect_jensen_shannon_distance_to_be_less_than"
    frame = distribution([500, 300, 200], now)
    assert ask(judge, frame, kind, distribution="length", max_value=0.1).success is met


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("expect_column_label_balance_to_be_at_least", {"column": "before"}, "min_balance must be given"),
        (
            "expect_column_share_of_unknown_characters_to_be_at_most",
            {"column": "bin", "weight_column": "now", "max_share": 1},
            "could not be computed over 2 rows .*convert string to float",
        ),
        (
            "expect_population_stability_index_to_be_less_than",
            {"distribution": "colour", "max_value": 1},
            "no distribution 'colour'; known: length",
        ),
        (
            "expect_column_share_of_duplicates_to_be_at_most",
            {"column": "nope", "max_share": 1},
            "no measure 'nope'; known: distribution, bin, before, now",
        ),
    ],
)
def test_a_number_that_cannot_be_computed_is_the_users_mistake(
    judge: Judge, kind: str, kwargs: dict[str, Any], message: str
) -> None:
    frame = distribution([1, 2], [3, 4]).assign(bin=["a", "b"])
    with pytest.raises(ConfigError, match=rf"expectation 1.*{message}"):
        ask(judge, frame, kind, **kwargs)


def test_what_is_computed_from_nothing_is_not_met(judge: Judge) -> None:
    frame = distribution([0, 0], [3, 4])
    kind = "expect_jensen_shannon_distance_to_be_less_than"
    with np.errstate(invalid="ignore"):
        finding = ask(judge, frame, kind, distribution="length", max_value=1)
    assert (finding.success, finding.observed) == (False, "nan")


def test_only_the_chosen_rows_count(judge: Judge) -> None:
    frame = pd.DataFrame({"duplicate_of": ["", "a", "", ""]})
    made = Entry(
        "incoming",
        "suite.json, expectation 1",
        "expect_column_share_of_duplicates_to_be_at_most",
        {"column": "duplicate_of", "max_share": 0.4},
        "stop",
        "",
    )
    (finding,) = judge.findings(frame, [made], rows=np.array([True, True, False, False]))
    assert finding.observed == "0.5"
    assert finding.stops
