"""The suites: shipped ones that load, own ones that are checked, findings that say what was seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from zen_pipeline.corpus.expectations import SHIPPED, SUITE_NAMES, judge, load_suite, suite_digests
from zen_pipeline.corpus.report import histogram
from zen_pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
FRAMES = {
    "records": pd.DataFrame({"id": ["a", "b", "c"], "characters": [10, 20, 3]}),
    "corpus": pd.DataFrame({"records": [3], "share_set_aside": [0.25]}),
}


def suites(folder: Path, *records: dict[str, Any], corpus: list[dict[str, Any]] | None = None) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "records.json").write_text(json.dumps({"name": "records", "expectations": list(records)}))
    (folder / "corpus.json").write_text(json.dumps({"name": "corpus", "expectations": corpus or []}))
    return str(folder)


def between(column: str, action: str = "stop", **limits: float) -> dict[str, Any]:
    kwargs = {"column": column, **limits}
    meta = {"action": action, "advice": "do this"}
    return {"type": "expect_column_values_to_be_between", "kwargs": kwargs, "meta": meta}


def test_the_shipped_suites_are_the_ones_under_data() -> None:
    for name in SUITE_NAMES:
        assert (ROOT / "data" / "expectations" / f"{name}.json").resolve() == (SHIPPED / f"{name}.json").resolve()
        assert all(e["meta"]["advice"] for e in load_suite(SHIPPED / f"{name}.json"))


def test_findings_name_what_was_seen_and_by_which_records_in_the_order_of_the_file(tmp_path: Path) -> None:
    folder = suites(
        tmp_path,
        between("characters", min_value=5),
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
        between("characters", "warn", max_value=15),
        corpus=[between("share_set_aside", max_value=0.1)],
    )
    findings = judge(FRAMES, folder)
    assert [(f.column, f.success, f.stops) for f in findings] == [
        ("characters", False, True),
        ("id", True, False),
        ("characters", False, False),
        ("share_set_aside", False, True),
    ]
    assert (findings[0].offenders, findings[0].observed) == (["c"], "1 of 3 do not (33.33%)")
    assert (findings[3].observed, findings[3].advice) == ("0.25", "do this")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "expect_foo", "kwargs": {}}, "expectation 1 .expect_foo.*not found"),
        (between("nope", max_value=1), "no measure 'nope'; known: id, characters"),
        (between("characters", "explode"), "action must be one of stop, warn, found 'explode'"),
        ({"type": "expect_column_values_to_be_in_set", "kwargs": {"columns": "id"}}, "columns"),
        ({"kwargs": {}}, "must be an object with"),
    ],
)
def test_a_wrong_suite_is_the_users_mistake(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        judge(FRAMES, suites(tmp_path, entry))


def test_a_missing_or_broken_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"records\.json does not exist"):
        suite_digests(str(tmp_path))
    suites(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(ConfigError, match=r"corpus\.json cannot be read"):
        judge(FRAMES, str(tmp_path))


def test_the_histogram_counts_every_record() -> None:
    svg = histogram([1, 2, 3, 1000, 1023, 1024])
    assert "2 to 3 characters: 2 records" in svg
    assert "512 to 1,023 characters: 2 records" in svg
    assert svg.count("<rect") == 4
