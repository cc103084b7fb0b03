"""Ask Great Expectations which expectations are met, by which rows they are not, and which records to set aside."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zen_pipeline.corpus.expectations.findings import (
    MOST_OFFENDERS,
    Finding,
    finding,
    shown_result,
    shown_value,
)
from zen_pipeline.corpus.expectations.suites import KIND_SUITES, ROW_SUITES, Entry, load_suites
from zen_pipeline.corpus.expectations.summaries import CORE, SUMMARIES, summarize
from zen_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

_ROW = "row of the frame"
_SUMMARY = {"result_format": "SUMMARY", "partial_unexpected_count": MOST_OFFENDERS}
_ROWS = {"result_format": "COMPLETE", "unexpected_index_column_names": [_ROW]}


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
        began = time.perf_counter()
        mine = [entry for entry in entries if entry.action != "set_aside"]
        _check_columns(mine, list(frame.columns))
        about_all = [entry for entry in mine if entry.type in SUMMARIES]
        found = self._summaries(frame, about_all, rows)
        for entry, asked in self._results(frame, [e for e in mine if e not in about_all], rows, _SUMMARY):
            found[id(entry)] = _finding(entry, asked)
        self.seconds += time.perf_counter() - began
        return [found[id(entry)] for entry in mine]

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
        began = time.perf_counter()
        reasons: dict[Any, str] = {}
        with_rows = frame.assign(**{_ROW: frame.index.to_numpy()})
        for name, entries in suites.items():
            mine = [entry for entry in entries if entry.action == "set_aside"]
            rows = frame["kind"] == name if name in KIND_SUITES else frame["kind"] != ""
            if not mine or not rows.any():
                continue
            _check_columns(mine, list(frame.columns))
            for entry, asked in self._results(with_rows, mine, rows, _ROWS):
                if "unexpected_index_list" not in asked.found:
                    raise _about_no_row(entry)
                for row in asked.found["unexpected_index_list"] or []:
                    reasons.setdefault(row[_ROW], entry.reason)
        self.seconds += time.perf_counter() - began
        return reasons

    def _summaries(self, frame: pd.DataFrame, entries: Sequence[Entry], rows: Any) -> dict[int, Finding]:
        """Findings about one number each, by the identity of their entries: one table of one row holds them all."""
        import pandas as pd

        if not entries:
            return {}
        every = []
        for entry in entries:
            names = entry.columns or list(frame.columns)
            part = frame[names] if rows is None else frame.loc[rows, names]
            every.append(summarize(entry.where, entry.type, entry.kwargs, part))
        names = [str(number) for number in range(len(every))]
        bounds = [
            Entry(entry.suite, entry.where, CORE, {"column": name, **made.limits}, entry.action, entry.advice)
            for name, entry, made in zip(names, entries, every, strict=True)
        ]
        row = pd.DataFrame([[made.value for made in every]], columns=names)
        found = {}
        for entry, made, asked in zip(entries, every, self._ask(row, bounds, _SUMMARY), strict=True):
            shown = shown_value(made.value)
            if made.chance is not None:
                shown += f" (chance alone gives up to {shown_value(made.chance)})"
            found[id(entry)] = finding(entry, shown, asked.success)
        return found

    def _results(
        self, frame: pd.DataFrame, entries: Sequence[Entry], rows: Any, result_format: Mapping[str, Any]
    ) -> list[tuple[Entry, _Asked]]:
        """Each entry with its result, in the order of the entries.

        Great Expectations copies the frame for each expectation, so it is given the columns that it needs and no more.
        """
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            if entry.type in SUMMARIES:
                raise _about_no_row(entry)
            groups.setdefault(tuple(dict.fromkeys(entry.columns)), []).append(entry)
        found: dict[int, _Asked] = {}
        for columns, group in groups.items():
            picked = list(columns or frame.columns)
            if _ROW in frame.columns and _ROW not in picked:
                picked.append(_ROW)
            part = frame[picked] if rows is None else frame.loc[rows, picked]
            found |= {id(e): asked for e, asked in zip(group, self._ask(part, group, result_format), strict=True)}
        return [(entry, found[id(entry)]) for entry in entries]

    def _ask(self, frame: pd.DataFrame, entries: Sequence[Entry], result_format: Mapping[str, Any]) -> list[_Asked]:
        self._assets += 1
        asset = self._source.add_dataframe_asset(f"{entries[0].suite}-{self._assets}")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        results = batch.validate(_suite(entries), result_format=dict(result_format)).results
        self._source.delete_asset(asset.name)  # it would keep the frame alive
        results.sort(key=lambda result: result.expectation_config.meta["order"])
        for entry, result in zip(entries, results, strict=True):
            _check_computed(entry, result, frame)
        return [_Asked(frame, bool(result.success), result.result) for result in results]


class _Asked(NamedTuple):
    """What Great Expectations was asked about and what it said."""

    frame: pd.DataFrame
    success: bool
    found: Mapping[str, Any]


class Gate:
    """Sets records aside by the suites; loads Great Expectations only when an entry asks for it."""

    def __init__(self, folder: str | None) -> None:
        """Args: folder: of the user's suites; None for the shipped ones."""
        entries = {n: [e for e in es if e.action == "set_aside"] for n, es in load_suites(folder, ROW_SUITES).items()}
        self._suites = {name: mine for name, mine in entries.items() if mine}
        self._judge: Judge | None = None

    @property
    def is_open(self) -> bool:
        """True when nothing is ever set aside."""
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


def _quiet_context() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

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


def _about_no_row(entry: Entry) -> ConfigError:
    return ConfigError(f"{entry.where}: {entry.type} does not look at single records; use stop or warn")


def _finding(entry: Entry, asked: _Asked) -> Finding:
    frame, found = asked.frame, asked.found
    if len(frame) == 1:  # one row about everything: the value says more than "1 of 1", and no row is to be named
        single = "observed_value" not in found and len(entry.columns) == 1
        return finding(
            entry, shown_value(frame[entry.columns[0]].iloc[0]) if single else shown_result(found), asked.success
        )
    rows = found.get("partial_unexpected_index_list") or []
    return finding(entry, shown_result(found), asked.success, [str(row) for row in dict.fromkeys(rows)])
