"""Great Expectations judges numbers: the measures of the kept records, and one row about the whole corpus.

A suite is a JSON file, `records.json` or `corpus.json`: `{"name", "expectations": [{"type", "kwargs", "meta"}]}`,
where `meta` holds `action` (`stop` or `warn`) and `advice`. The shipped ones lie beside this module.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.errors import ConfigError
from zen_pipeline.files import file_digest

if TYPE_CHECKING:
    import pandas as pd

SUITE_NAMES = ("records", "corpus")
SHIPPED = Path(__file__).parent / "expectations"
ACTIONS = ("stop", "warn")


@dataclass(frozen=True)
class Finding:
    """What one expectation found.

    Attributes:
        suite: `records` or `corpus`.
        expectation: its type, such as `expect_column_values_to_be_between`.
        column: the measure that it looks at; empty for a whole table.
        expected: its limits in words.
        observed: what was found, in words.
        success: whether it was met.
        action: `stop` or `warn`.
        advice: what to do when it is not met.
        offenders: ids of some records that do not meet it.
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

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def suite_paths(folder: str | None) -> dict[str, Path]:
    """Where each suite lies.

    Raises:
        ConfigError: the folder has no such file.
    """
    home = Path(folder).expanduser() if folder else SHIPPED
    paths = {name: home / f"{name}.json" for name in SUITE_NAMES}
    for path in paths.values():
        if not path.is_file():
            raise ConfigError(f"validate.suites: {path} does not exist; the folder must hold records.json, corpus.json")
    return paths


def suite_digests(folder: str | None) -> dict[str, str]:
    """SHA-256 of each suite's file."""
    return {name: file_digest(path) for name, path in suite_paths(folder).items()}


def load_suite(path: Path) -> list[dict[str, Any]]:
    """The expectations of one file, each with `type`, `kwargs`, and `meta` with a known action.

    Raises:
        ConfigError: not JSON, or not of this form.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the suite {path} cannot be read: {error}") from None
    entries = loaded.get("expectations") if isinstance(loaded, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f'the suite {path} must be {{"name": …, "expectations": […]}}')
    for number, entry in enumerate(entries, 1):
        _check_entry(entry, f"{path}, expectation {number}")
    return entries


def _check_entry(entry: Any, where: str) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise ConfigError(f'{where}: must be an object with "type", "kwargs" and "meta"')
    meta = entry.setdefault("meta", {})
    if not isinstance(entry.setdefault("kwargs", {}), dict) or not isinstance(meta, dict):
        raise ConfigError(f'{where}: "kwargs" and "meta" must be objects')
    if meta.setdefault("action", "stop") not in ACTIONS:
        raise ConfigError(f"{where}: the action must be one of {', '.join(ACTIONS)}, found {meta['action']!r}")


def judge(frames: dict[str, pd.DataFrame], folder: str | None) -> list[Finding]:
    """The findings of all suites on the frames of the same names, in the order of the files.

    Args:
        frames: `records` with a column `id`, and `corpus` with one row.
        folder: the suites' folder; None for the shipped ones.

    Raises:
        ConfigError: a suite names an expectation, an argument or a column that does not exist.
    """
    source = _quiet_context().data_sources.add_pandas("measures")
    findings: list[Finding] = []
    for name, path in suite_paths(folder).items():
        frame = frames[name]
        definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch({"dataframe": frame})
        index = {"unexpected_index_column_names": ["id"]} if "id" in frame.columns else {}
        results = batch.validate(_suite(name, path), result_format={"result_format": "SUMMARY", **index}).results
        found = [(r.expectation_config.meta["order"], _finding(name, r, path, frame)) for r in results]
        findings.extend(finding for _, finding in sorted(found, key=lambda pair: pair[0]))
    return findings


def _quiet_context() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _suite(name: str, path: Path) -> Any:
    import great_expectations as gx
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    suite = gx.ExpectationSuite(name=name)
    for number, entry in enumerate(load_suite(path), 1):
        # GX sorts its results by column; the order of the file is the one that its author chose.
        numbered = {k: entry[k] for k in ("type", "kwargs")} | {"meta": {**entry["meta"], "order": number}}
        try:
            # Given whole, a suite leaves out what it does not know and only logs it.
            suite.add_expectation(ExpectationConfiguration(**numbered).to_domain_obj())
        except Exception as error:  # GX raises many kinds, among them those of pydantic 1
            problem = " ".join(str(error).split())
            raise ConfigError(f"{path}, expectation {number} ({entry['type']}): {problem[:300]}") from None
    return suite


def _finding(name: str, result: Any, path: Path, frame: pd.DataFrame) -> Finding:
    columns = list(frame.columns)
    config = result.expectation_config
    kwargs = {k: v for k, v in config.kwargs.items() if k != "batch_id"}
    column = kwargs.pop("column", "")
    if column and column not in columns:
        raise ConfigError(f"{path}, {config.type}: there is no measure {column!r}; known: {', '.join(columns)}")
    if result.exception_info and result.exception_info.get("raised_exception", True):
        raise ConfigError(f"{path}, {config.type} on {column!r} could not be computed: check its kwargs {kwargs}")
    meta = config.meta or {}
    found = result.result
    rows = found.get("partial_unexpected_index_list") or []
    offenders = [str(row["id"]) for row in rows if isinstance(row, dict)]  # plain numbers in a frame without ids
    return Finding(
        suite=name,
        expectation=config.type,
        column=column,
        expected=", ".join(f"{k.replace('_value', '')} {v}" for k, v in kwargs.items() if v is not None) or "—",
        observed=_observed(found, frame, column),
        success=bool(result.success),
        action=meta.get("action", "stop"),
        advice=meta.get("advice", ""),
        offenders=list(dict.fromkeys(offenders))[:20],
    )


def _observed(found: dict[str, Any], frame: pd.DataFrame, column: str) -> str:
    if "observed_value" in found:
        return _number(found["observed_value"])
    if len(frame) == 1 and column:  # the whole corpus: the value says more than "1 of 1"
        return _number(frame[column].iloc[0])
    total, bad = found.get("element_count", 0), found.get("unexpected_count", 0)
    return f"{bad:,} of {total:,} do not ({bad / max(total, 1):.2%})"


def _number(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
