"""Findings: the result of one expectation, in words that a log line and a report can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from zen_pipeline.corpus.expectations.suites import Entry

MOST_OFFENDERS = 20


@dataclass(frozen=True)
class Finding:
    """The result of one expectation.

    Attributes:
        suite: the name of its suite, such as `records`.
        expectation: its type, such as `expect_column_values_to_be_between`.
        column: the measures that it looks at, or the distribution; empty for a whole table.
        expected: its limits in words.
        observed: what was found, in words.
        success: whether it was met.
        action: `stop`, `set_aside` or `warn`.
        advice: what to do when it is not met.
        offenders: names of some rows that do not meet it: ids of records once `judge_data` gave them.
    """

    suite: str
    expectation: str
    column: str
    expected: str
    observed: str
    success: bool
    action: str
    advice: str
    offenders: list[str] = field(default_factory=list)

    @property
    def stops(self) -> bool:
        """True when the data must not be used."""
        return not self.success and self.action == "stop"

    @property
    def warns(self) -> bool:
        """True when it is not met, and the data may be used all the same."""
        return not self.success and self.action == "warn"

    @property
    def sets_aside(self) -> bool:
        """True when records were set aside for it."""
        return not self.success and self.action == "set_aside"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def finding(entry: Entry, observed: str, success: bool, offenders: Iterable[str] = ()) -> Finding:
    """The finding about an entry of a suite; of the offenders the first 20."""
    return Finding(
        suite=entry.suite,
        expectation=entry.type,
        column=entry.subject,
        expected=entry.limits or "—",
        observed=observed,
        success=success,
        action=entry.action,
        advice=entry.advice,
        offenders=list(offenders)[:MOST_OFFENDERS],
    )


def set_aside_finding(entry: Entry, aside: int, judged: int) -> Finding:
    """The finding about an entry with the action `set_aside`, from counts of records.

    Args:
        entry: of a suite.
        aside: records set aside for it.
        judged: records that it looked at.
    """
    return finding(entry, shown_share(aside, judged), aside == 0)


def shown_share(bad: int, total: int) -> str:
    """Rows that do not meet an expectation, in words."""
    return f"{bad:,} of {total:,} do not ({bad / max(total, 1):.2%})"


def shown_result(found: Mapping[str, Any]) -> str:
    """A result of Great Expectations in words: the value where there is one, else how many rows do not meet it."""
    if "observed_value" in found:
        return shown_value(found["observed_value"])
    return shown_share(found.get("unexpected_count", 0), found.get("element_count", 0))


def shown_value(value: Any) -> str:
    """A number with four digits or thousands apart; anything else as it is."""
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
