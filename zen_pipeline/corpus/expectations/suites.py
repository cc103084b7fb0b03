"""Suites: JSON files of expectations, the shipped ones next to this module, or the user's own.

A file is `{"name", "expectations": [{"type", "kwargs", "meta"}]}`. `meta` holds `advice`, and as `action` what follows
when the expectation is not met:

- `stop`: the data must not be used;
- `warn`: it is said in the log and in the report;
- `set_aside`: each record that does not meet it is set aside, and the rest is used. Such an entry decides which
  records are kept, so it is part of the fingerprint of what validation makes; all others only judge it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from zen_pipeline.artifacts import canonical_json
from zen_pipeline.corpus.expectations.allowed import check_allowed
from zen_pipeline.corpus.records import Kind
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import expanded, file_digest, read_small_text

KIND_SUITES: tuple[str, ...] = get_args(Kind)
# What each suite judges. `incoming`: all records that were read; `records`: those that are kept; a kind: those of
# this kind; `corpus`: one row about all; `drift`: the distributions of the last accepted data set and of this one.
DATA_SUITES = ("incoming", "records", *KIND_SUITES, "corpus", "drift")
# `tokens`: one row per split; `token_documents`: one per document; `conversations`: one per chat or question.
TOKEN_SUITES = ("tokens", "token_documents", "conversations")
VECTOR_SUITES = ("vectors",)  # one row per matrix
SUITE_NAMES = (*DATA_SUITES, *TOKEN_SUITES, *VECTOR_SUITES)
ROW_SUITES = ("records", *KIND_SUITES)  # a record can be set aside by these

SHIPPED = Path(__file__).parent
ACTIONS = ("stop", "set_aside", "warn")
# An expectation that compares a row with others cannot say of one record alone whether it is met.
_LOOK_AT_OTHERS = ("unique", "increasing", "decreasing", "z_scores", "outliers")
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "weight_column")
_COLUMN_LISTS = ("column_list", "column_set")
_BETWEEN = "expect_column_values_to_be_between"


@dataclass(frozen=True)
class Entry:
    """One expectation of a suite.

    Attributes:
        suite: name of the suite.
        where: file and number, for messages.
        type: snake-case name of the expectation.
        kwargs: its arguments.
        action: `stop`, `set_aside` or `warn`.
        advice: what to do when it is not met.
    """

    suite: str
    where: str
    type: str
    kwargs: Mapping[str, Any]
    action: str
    advice: str

    @property
    def columns(self) -> list[str]:
        """The measures that it looks at."""
        single = [self.kwargs[name] for name in _COLUMN_ARGUMENTS if isinstance(self.kwargs.get(name), str)]
        return single + [c for name in _COLUMN_LISTS for c in self.kwargs.get(name) or []]

    @property
    def subject(self) -> str:
        """What it judges, in words: its columns, or the distribution of a drift."""
        return ", ".join(self.columns) or str(self.kwargs.get("distribution", ""))

    @property
    def limits(self) -> str:
        """Its other arguments in words."""
        hidden = {*_COLUMN_ARGUMENTS, *_COLUMN_LISTS, "distribution", "ignore_row_if"}
        shown = {k: v for k, v in self.kwargs.items() if k not in hidden and v is not None}
        return ", ".join(f"{k.removesuffix('_value').replace('_', ' ')} {v}" for k, v in shown.items())

    @property
    def reason(self) -> str:
        """Why a record that does not meet it is set aside."""
        limits = f" ({self.limits})" if self.limits else ""
        return f"{self.type} on {self.subject}{limits}"


def suite_paths(folder: str | None, names: Iterable[str] = SUITE_NAMES) -> dict[str, Path]:
    """Where each suite lies: in the user's folder when it is there, else next to this module.

    Raises:
        ConfigError: the folder holds no suite, or a JSON file that is none.
    """
    home = expanded(folder) if folder else SHIPPED
    if folder:
        found = sorted(p.stem for p in home.glob("*.json")) if home.is_dir() else []
        if not found:
            raise ConfigError(f"validate.suites: {home} holds no suite; known names are {', '.join(SUITE_NAMES)}.json")
        for name in found:
            if name not in SUITE_NAMES:
                near = difflib.get_close_matches(name, SUITE_NAMES, n=1)
                hint = f"did you mean {near[0]}.json?" if near else f"known names are {', '.join(SUITE_NAMES)}"
                raise ConfigError(f"validate.suites: {home / name}.json is no suite that anything is judged by; {hint}")
    return {n: home / f"{n}.json" if (home / f"{n}.json").is_file() else SHIPPED / f"{n}.json" for n in names}


def suite_digests(folder: str | None, names: Iterable[str] = SUITE_NAMES) -> dict[str, str]:
    """SHA-256 of each suite's file."""
    return {name: file_digest(path) for name, path in suite_paths(folder, names).items()}


def load_suites(folder: str | None, names: Iterable[str] = SUITE_NAMES) -> dict[str, list[Entry]]:
    """The entries of each suite, in the order of its file.

    Raises:
        ConfigError: a file is not JSON, or not of this form.
    """
    return {name: load_suite(name, path) for name, path in suite_paths(folder, names).items()}


def load_suite(name: str, path: Path) -> list[Entry]:
    """The entries of one file.

    Raises:
        ConfigError: not JSON, or not of this form.
    """
    try:
        loaded = json.loads(read_small_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the suite {path} cannot be read: {error}") from None
    entries = loaded.get("expectations") if isinstance(loaded, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f'the suite {path} must be {{"name": …, "expectations": […]}}')
    return [_entry(name, entry, f"{path}, expectation {number}") for number, entry in enumerate(entries, 1)]


def _entry(suite: str, entry: Any, where: str) -> Entry:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise ConfigError(f'{where}: must be an object with "type", "kwargs" and "meta"')
    kwargs, meta = entry.get("kwargs", {}), entry.get("meta", {})
    if not isinstance(kwargs, dict) or not isinstance(meta, dict):
        raise ConfigError(f'{where}: "kwargs" and "meta" must be objects')
    action = meta.get("action", "stop")
    if action not in ACTIONS:
        raise ConfigError(f"{where}: the action must be one of {', '.join(ACTIONS)}, found {action!r}")
    made = Entry(suite, where, entry["type"], kwargs, action, str(meta.get("advice", "")))
    if action == "set_aside":
        _check_set_aside(made)
    check_allowed(where, made.type, kwargs)
    type, kwargs = _in_core_terms(where, made.type, kwargs)
    return replace(made, type=type, kwargs=kwargs)


_SIDES = ["translation.source_characters", "translation.target_characters"]


def _in_core_terms(where: str, type: str, kwargs: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """An expectation of ours that suites were written with, as the core one that says the same; others as they are.

    Raises:
        ConfigError: it compares columns of which there is no measure.
    """
    column = {name: kwargs[name] for name in ("column", "mostly") if name in kwargs}
    match type:
        case "expect_answer_to_be_in_context":
            return "expect_column_values_to_be_in_set", {**column, "value_set": [1]}
        case "expect_column_values_to_have_supervised_tokens":
            return _BETWEEN, {**column, "min_value": 1}
        case "expect_translation_length_ratio_to_be_at_most":
            if sorted(str(kwargs.get(name)) for name in ("column_A", "column_B")) != _SIDES:
                raise ConfigError(
                    f"{where}: {type} compares {' with '.join(_SIDES)} only; "
                    f"write {_BETWEEN} with the column translation.length_ratio and max_value instead"
                )
            column["column"] = "translation.length_ratio"
            return _BETWEEN, {**column, "max_value": kwargs.get("max_ratio")}
    return type, kwargs


def _check_set_aside(entry: Entry) -> None:
    if entry.suite not in ROW_SUITES:
        raise ConfigError(f"{entry.where}: set_aside works in the suites {', '.join(ROW_SUITES)}; use stop or warn")
    if entry.kwargs.get("mostly", 1) != 1:
        raise ConfigError(f"{entry.where}: set_aside looks at each record alone; leave out mostly")
    if any(word in entry.type for word in _LOOK_AT_OTHERS):
        raise ConfigError(f"{entry.where}: {entry.type} compares records with each other, so it cannot set one aside")


def set_aside_identity(folder: str | None) -> dict[str, str]:
    """What decides which records the suites set aside: a digest of those entries, and the version that judges them.

    Empty when no entry sets anything aside. Advice, order of the other entries and thresholds that stop or warn are
    not in it, so changing them makes nothing anew.
    """
    suites = load_suites(folder, ROW_SUITES)
    every = (entry for entries in suites.values() for entry in entries)
    entries = [[e.suite, e.type, dict(e.kwargs)] for e in every if e.action == "set_aside"]
    if not entries:
        return {}
    digest = hashlib.sha256(canonical_json(entries).encode()).hexdigest()
    return {"set_aside": digest, "great-expectations": version("great-expectations")}
