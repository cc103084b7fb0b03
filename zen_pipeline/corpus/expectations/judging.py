"""Ask Great Expectations: which expectations are met, by which rows they are not, and which records to set aside."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from zen_pipeline.corpus.expectations.suites import KIND_SUITES, ROW_SUITES, Entry, load_suites
from zen_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

_MOST_OFFENDERS = 20
_SUMMARY = {"result_format": "SUMMARY", "partial_unexpected_count": _MOST_OFFENDERS}


@dataclass(frozen=True)
class Finding:
    """What one expectation found.

    Attributes:
        suite: the name of its suite, such as `records`.
        expectation: its type, such as `expect_column_values_to_be_between`.
        column: the measures that it looks at, or the distribution; empty for a whole table.
        expected: its limits in words.
        observed: what was found, in words.
        success: whether it was met.
        action: `stop`, `set_aside` or `warn`.
        advice: what to do when it is not met.
        offenders: names of some rows that do not meet it: ids of records once `judge_rows` gave them.
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
        """Whether the data must not be used."""
        return not self.success and self.action == "stop"

    @property
    def warns(self) -> bool:
        """Whether it is only said."""
        return not self.success and self.action == "warn"

    @property
    def sets_aside(self) -> bool:
        """Whether records were set aside for it."""
        return not self.success and self.action == "set_aside"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


class Judge:
    """Great Expectations, loaded and quiet; the first one in a process takes seconds to load it.

    Attributes:
        seconds: for judging, so far.
    """

    def __init__(self) -> None:
        self._source = _quiet_context().data_sources.add_pandas("measures")
        self.seconds = 0.0
        self._assets = 0

    def findings(self, frame: pd.DataFrame, entries: Sequence[Entry], rows: Any = None) -> list[Finding]:
        """One finding per entry that stops or warns, in their order.

        Args:
            frame: with a column for each measure; offenders are named by its index.
            entries: of one suite.
            rows: which rows are judged, a mask; default: all.

        Raises:
            ConfigError: an entry names an expectation, an argument or a column that does not exist.
        """
        mine = [entry for entry in entries if entry.action != "set_aside"]
        return [_finding(entry, *asked) for entry, asked in self._results(frame, rows, mine, _SUMMARY)]

    def set_aside(self, frame: pd.DataFrame, suites: Mapping[str, Sequence[Entry]]) -> dict[Any, str]:
        """The rows that do not meet an entry with the action `set_aside`: index of the row, reason.

        Each row is judged alone, so a frame may be any part of the data set. A record that fails several has the
        reason of the first.

        Args:
            frame: the measures of records that would be kept, with the column `kind`.
            suites: `records` and those of the kinds.

        Raises:
            ConfigError: as `findings`.
        """
        reasons: dict[Any, str] = {}
        frame = frame.assign(**{_ROW: frame.index.to_numpy()})
        wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": [_ROW]}
        for name, entries in suites.items():
            mine = [entry for entry in entries if entry.action == "set_aside"]
            rows = frame["kind"] == name if name in KIND_SUITES else frame["kind"] != ""
            if not mine or not rows.any():
                continue
            for entry, (result, judged) in self._results(frame, rows, mine, wanted):
                _check_computed(entry, result, judged)
                if "unexpected_index_list" not in result.result:
                    raise ConfigError(f"{entry.where}: {entry.type} does not look at single records; use stop or warn")
                for row in result.result["unexpected_index_list"] or []:
                    reasons.setdefault(row[_ROW], entry.reason)
        return reasons

    def _results(
        self, frame: pd.DataFrame, rows: Any, entries: Sequence[Entry], result_format: dict[str, Any]
    ) -> Iterator[tuple[Entry, tuple[Any, pd.DataFrame]]]:
        """Each entry with its result and the frame that it was asked of, in the order of the entries.

        Great Expectations copies the frame for each expectation, so it is given the columns that it needs and no more.
        """
        _check_columns(entries, [name for name in frame.columns if name != _ROW])
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            groups.setdefault(tuple(dict.fromkeys(entry.columns)), []).append(entry)
        found: dict[int, tuple[Any, pd.DataFrame]] = {}
        for columns, group in groups.items():
            picked = list(columns or frame.columns)
            if _ROW in frame.columns and _ROW not in picked:
                picked.append(_ROW)
            part = frame[picked] if rows is None else frame.loc[rows, picked]
            results = self._ask(part, group, result_format)
            found |= {id(entry): (result, part) for entry, result in zip(group, results, strict=True)}
        for entry in entries:
            yield entry, found[id(entry)]

    def _ask(self, frame: pd.DataFrame, entries: Sequence[Entry], result_format: dict[str, Any]) -> list[Any]:
        began = time.perf_counter()
        self._assets += 1
        asset = self._source.add_dataframe_asset(f"{entries[0].suite}-{self._assets}")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        results = batch.validate(_suite(entries), result_format=result_format).results
        self._source.delete_asset(asset.name)  # it would keep the frame alive
        self.seconds += time.perf_counter() - began
        return sorted(results, key=lambda result: result.expectation_config.meta["order"])


class Gate:
    """Sets records aside by the suites; loads Great Expectations only when an entry asks for it."""

    def __init__(self, folder: str | None) -> None:
        """Args: folder: of the user's suites; None for the shipped ones."""
        entries = {n: [e for e in es if e.action == "set_aside"] for n, es in load_suites(folder, ROW_SUITES).items()}
        self._suites = {name: mine for name, mine in entries.items() if mine}
        self._judge: Judge | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is ever set aside."""
        return not self._suites

    @property
    def seconds(self) -> float:
        """For judging, so far."""
        return self._judge.seconds if self._judge else 0.0

    def set_aside(self, frame: pd.DataFrame) -> dict[Any, str]:
        """As `Judge.set_aside`, by the entries for the kinds that are in the frame."""
        kinds = set(frame["kind"].unique())
        suites = {n: e for n, e in self._suites.items() if n not in KIND_SUITES or n in kinds}
        if not suites or frame.empty:
            return {}
        self._judge = self._judge or Judge()
        return self._judge.set_aside(frame, suites)


_ROW = "row of the frame"


def set_aside_finding(entry: Entry, aside: int, judged: int, offenders: Iterable[str] = ()) -> Finding:
    """What an entry with the action `set_aside` did: how many of the records that it looked at are set aside for it."""
    observed = f"{aside:,} of {judged:,} do not ({aside / max(judged, 1):.2%})"
    return Finding(
        suite=entry.suite,
        expectation=entry.type,
        column=entry.subject,
        expected=entry.limits or "—",
        observed=observed,
        success=aside == 0,
        action=entry.action,
        advice=entry.advice,
        offenders=list(offenders)[:_MOST_OFFENDERS],
    )


def _quiet_context() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    import zen_pipeline.corpus.expectations.own  # noqa: F401  (registers our expectations)

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _suite(entries: Sequence[Entry]) -> Any:
    import great_expectations as gx
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    suite = gx.ExpectationSuite(name=entries[0].suite)
    for number, entry in enumerate(entries):
        # GX sorts its results by column; the order of the file is the one that its author chose.
        made = ExpectationConfiguration(type=entry.type, kwargs=dict(entry.kwargs), meta={"order": number})
        try:
            # Given whole, a suite leaves out what it does not know and only logs it.
            suite.add_expectation(made.to_domain_obj())
        except Exception as error:  # GX raises many kinds, among them those of pydantic 1
            problem = " ".join(str(error).split())
            raise ConfigError(f"{entry.where} ({entry.type}): {problem[:300]}") from None
    return suite


def _check_columns(entries: Sequence[Entry], columns: Sequence[str]) -> None:
    for entry in entries:
        for column in entry.columns:
            if column not in columns:
                raise ConfigError(
                    f"{entry.where}, {entry.type}: there is no measure {column!r}; known: {', '.join(columns)}"
                )


def _check_computed(entry: Entry, result: Any, frame: pd.DataFrame) -> None:
    info = result.exception_info or {"raised_exception": False}
    if info.get("raised_exception", True):  # else a map from each metric that failed to what it raised
        raised = [info] if "exception_message" in info else list(info.values())
        why = "; ".join(dict.fromkeys(str(r.get("exception_message", r)).strip() for r in raised))[:300]
        raise ConfigError(
            f"{entry.where}, {entry.type} on {entry.subject!r} could not be computed over {len(frame)} rows ({why}): "
            f"check its kwargs {dict(entry.kwargs)}"
        )


def _finding(entry: Entry, result: Any, frame: pd.DataFrame) -> Finding:
    _check_computed(entry, result, frame)
    found = result.result
    rows = found.get("partial_unexpected_index_list") or [] if len(frame) > 1 else []  # one row is about everything
    return Finding(
        suite=entry.suite,
        expectation=entry.type,
        column=entry.subject,
        expected=entry.limits or "—",
        observed=_observed(found, frame, entry),
        success=bool(result.success),
        action=entry.action,
        advice=entry.advice,
        offenders=[str(row) for row in dict.fromkeys(rows)],
    )


def _observed(found: dict[str, Any], frame: pd.DataFrame, entry: Entry) -> str:
    if "observed_value" in found:
        chance = (found.get("details") or {}).get("chance_gives_up_to")
        shown = _number(found["observed_value"])
        return shown if chance is None else f"{shown} (chance alone gives up to {_number(chance)})"
    if len(frame) == 1 and len(entry.columns) == 1:  # one row about everything: the value says more than "1 of 1"
        return _number(frame[entry.columns[0]].iloc[0])
    total, bad = found.get("element_count", 0), found.get("unexpected_count", 0)
    return f"{bad:,} of {total:,} do not ({bad / max(total, 1):.2%})"


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
