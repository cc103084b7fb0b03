"""Where Prefect takes its settings from in a process that `zen` starts.

Prefect reads `.env`, `prefect.toml` and `pyproject.toml` of the working folder, and a logging configuration can name
any function to call. Text that somebody downloaded must not decide what runs, so these files are never read: what
counts is the user's environment, the user's own profile where there is a server in it, and the lists below.
This module must not import Prefect.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from zen_pipeline.errors import ConfigError
from zen_pipeline.subprocesses import python_environment

# For every process with Prefect in it. None of these overrides what the user has set.
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}
PROJECT = "ZEN_PROJECT"  # the folder that relative paths of a deployed run start from; Prefect stands elsewhere
_NOWHERE = "/dev/null/none"  # a path at which nothing can ever be


def embedded(home: Path) -> dict[str, str | None]:
    """The environment of a run with a server of its own, with that server's address.

    The home is a folder of the project, so no profile and no logging configuration is read there; None unsets.
    """
    chosen: dict[str, str | None] = {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILE": None,
        "PREFECT_PROFILES_PATH": _NOWHERE,
        "PREFECT_API_KEY": None,  # meant for another server
    }
    if not {"PREFECT_LOGGING_SETTINGS_PATH", "PREFECT_LOGGING_CONFIG_PATH"} & os.environ.keys():
        chosen["PREFECT_LOGGING_SETTINGS_PATH"] = _NOWHERE
    return chosen


def server(home: Path, *, pages: bool) -> dict[str, str]:
    """The whole environment of a server in `home`: nothing of the user's own Prefect settings.

    Args:
        home: the folder of its database.
        pages: whether it serves the web pages.
    """
    kept = {name: value for name, value in python_environment().items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        **QUIET,
        "DO_NOT_TRACK": os.environ.get("DO_NOT_TRACK", QUIET["DO_NOT_TRACK"]),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": _NOWHERE,
        "PREFECT_LOGGING_SETTINGS_PATH": _NOWHERE,
        "PREFECT_SERVER_UI_ENABLED": "true" if pages else "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # flows/serve.py does it, under a lock
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def configured_api_url() -> str | None:
    """The address of a Prefect server that the user has chosen in the environment or the active profile."""
    return os.environ.get("PREFECT_API_URL") or _profile_api_url()


def _profile_api_url() -> str | None:
    try:
        home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
        profiles = _toml(Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser())
    except RuntimeError:  # nobody knows where this user is at home
        return None
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
    address = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(address) if address else None


def files_not_read() -> list[str]:
    """Files of the working folder from which Prefect alone would have taken settings."""
    found = [name for name in ("prefect.toml",) if Path(name).is_file()]
    if _toml(Path("pyproject.toml")).get("tool", {}).get("prefect"):
        found.append("pyproject.toml")
    if re.search(r"^\s*(?:export\s+)?PREFECT_", _text(Path(".env")), re.MULTILINE):
        found.append(".env")
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except ValueError:
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


@contextmanager
def outside_the_project() -> Iterator[None]:
    """Stand in an empty folder: Prefect looks for its files in the working folder whenever it makes its settings."""
    with TemporaryDirectory(prefix="zen-") as empty, chdir(empty):
        yield


@contextmanager
def in_the_project() -> Iterator[None]:
    """Stand in the folder whose deployments were deployed; without such a folder in the environment, stay.

    Raises:
        ConfigError: the folder is not there.
    """
    folder = Path(os.environ.get(PROJECT) or ".")
    if not folder.is_dir():
        raise ConfigError(f"the project folder {folder} is not there: start `zen server` in the project's folder again")
    with chdir(folder):
        yield


def import_prefect() -> None:
    """Import Prefect, which makes its settings as it is imported."""
    with outside_the_project():
        import_module("prefect.context")


@contextmanager
def environment(values: Mapping[str, str | None], *, replace: bool) -> Iterator[None]:
    """Set environment variables for a while, or unset them (None); with `replace=False` only those that are not set."""
    before = {name: os.environ.get(name) for name in values if replace or name not in os.environ}
    _put({name: values[name] for name in before})
    try:
        yield
    finally:
        _put(before)


def _put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
