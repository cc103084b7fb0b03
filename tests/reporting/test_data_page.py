"""The validation page: its first line says what must not be overlooked, and everything foreign is escaped."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.reporting.untranslated import record_untranslated
from zen_pipeline.blocks import Table, phrase
from zen_pipeline.corpus.expectations.findings import Finding
from zen_pipeline.corpus.expectations.suites import SUITE_NAMES, load_suites
from zen_pipeline.reporting.data_page import DataReport, Drift, Reason, data_page, much_set_aside
from zen_pipeline.reporting.wording import CHINESE


def summary(aside: int, **reasons: int) -> dict[str, Any]:
    unreadable = aside - sum(reasons.values())
    return {
        "records_in": 100,
        "records": 100 - aside,
        "set_aside": aside,
        "share_set_aside": aside / 100,
        "unreadable": unreadable,
        "reasons": reasons,
        "bytes": 1000,
    }


def finding(action: str, *, success: bool = False, **more: Any) -> Finding:
    given = {"suite": "records", "column": "characters, kind", "expected": "min 1", "observed": "0", **more}
    return Finding(expectation="x", success=success, action=action, advice=f"advice of {action}", **given)


def head(page: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", page, re.S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (summary(10, duplicate=10), []),
        (summary(34, contaminated=33, duplicate=1), ["34%", "33 of 34", "contaminated"]),
        (summary(40, duplicate=5), ["40%", "35 of 40", "could not be read"]),
        ({"tokens": 5}, []),
    ],
)
def test_a_large_share_set_aside_is_in_the_first_line(held: dict[str, Any], said: list[str]) -> None:
    line = much_set_aside(held)
    assert (line is not None) == bool(said)
    assert all(word in str(line) for word in said)
    first = head(data_page(DataReport(title="Validation", summary=held, findings=[])))
    assert (str(line) in first) if line else ("set aside" not in first)


@pytest.mark.parametrize(
    ("actions", "verdict", "word"),
    [
        (["stop", "warn"], "bad", "Refused"),
        (["warn", "set_aside"], "warn", "Accepted, with warnings"),
        (["set_aside"], "good", "Accepted"),
    ],
)
def test_the_worst_finding_decides_the_verdict(actions: list[str], verdict: str, word: str) -> None:
    findings = [*(finding(action) for action in actions), finding("stop", success=True)]
    page = data_page(DataReport(title="Validation", summary={}, findings=findings))
    assert f'<span class="status {verdict}">{word}</span>' in head(page)
    assert f"1 of {len(findings)} " in head(page)
    places = [page.index(f"Advice of {action}") for action in ("stop", "set_aside", "warn") if action in actions]
    assert places == sorted(places)


def full(languages: dict[str, int]) -> DataReport:
    return DataReport(
        title=phrase("Validation of {name}", name="x"),
        summary={**summary(40, x=40), "languages": languages, "share_duplicates": 0.1},
        findings=[
            *(finding(a, offenders=["<id>"], suite="x", column="x") for a in ("stop", "set_aside", "warn")),
            finding("stop", success=True, suite="x", column="x.y"),
        ],
        reasons=[Reason("x", "x", 3, [("<id>", "<b>text")]), Reason("x", "x", 1, [])],
        lengths={3: 5, 5: 1},
        kept={title: [("x", 1, 2_000_000)] for title in ("Kind", "Split", "Language", "Source")},
        excerpts={"<id>": "<i>excerpt"},
        drift=Drift("x", {"length": [("8", 0.5, 0.25)], "kind": [("", 0.1, 0.2)], "language": []}),
        more=[Table(("type", "found"), [("x", 1)], title="Personal data"), Table(("type",), [], title="Cleaning")],
        notes=["<u>note"],
    )


def test_everything_that_was_found_is_shown_and_escaped() -> None:
    page = data_page(full({"en": 1}))
    for part in (
        "&lt;b&gt;text", "&lt;i&gt;excerpt", "&lt;u&gt;note", "&lt;id&gt;", "0.75", "8 to 15 characters", "50.00%",
        "-25.00", "all others", "2.00 MB", "10.0%", "60", "Personal data",
    ):  # fmt: skip
        assert part in page, part
    assert not re.search("<id>|<b>text|<i>excerpt|<u>", page)
    assert "Cleaning" not in page


def test_a_chinese_page_leaves_nothing_of_ours_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = record_untranslated(monkeypatch)
    assert '<html lang="zh">' in data_page(full({"zh": 1}))
    assert missing <= {"x", "length", "kind", "", *(f"Advice of {action}" for action in ("stop", "warn", "set_aside"))}


def test_the_advice_of_every_shipped_suite_has_a_chinese_text() -> None:
    advice = {entry.advice for entries in load_suites(None, SUITE_NAMES).values() for entry in entries}
    assert {a[:1].upper() + a[1:] for a in advice if a} <= set(CHINESE)
