"""The validation report: its first line says what must not be overlooked."""

from __future__ import annotations

from typing import Any

import pytest

from zen_pipeline.corpus.expectations.validation_report import Report, much_set_aside, render


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
    assert bool(line) == bool(said)
    assert all(word in line for word in said)
    first = render(Report(title="Validation", summary=held, findings=[])).partition("</p>")[0]
    assert (line in first) if line else ("set aside" not in first)
