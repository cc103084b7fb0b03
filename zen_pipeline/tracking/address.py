"""The address of the MLflow server or database in use."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SQLITE = re.compile(r"^sqlite(?:\+pysqlite)?:///(?P<path>[^?]+)")


def local_tracking_uri(mlflow_folder: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite database in the workspace.

    A database that is named relative to the working folder is given by its absolute path: processes that work in
    other folders shall find the same one.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{mlflow_folder / 'mlflow.db'}"
    database = local_database(address)
    return address if database is None else f"sqlite:///{database}"


def local_database(tracking_uri: str) -> Path | None:
    """The absolute path of the SQLite file behind a tracking address; None for a server."""
    match = _SQLITE.match(tracking_uri)
    if match is None or match["path"] == ":memory:":
        return None
    path = Path(match["path"]).absolute()
    return path.parent.resolve() / path.name  # one spelling, since addresses of files begin with it
