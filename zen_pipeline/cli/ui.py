"""`zen ui`: the MLflow UI, and on request the Prefect UI, on this workspace's databases."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from zen_pipeline.errors import ZenError
from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.terminal import say
from zen_pipeline.tracking import MLFLOW_QUIET, local_tracking_uri

if TYPE_CHECKING:
    from zen_pipeline.workspace import Workspace

_PREFECT_PORT = 4200


def serve(workspace: Workspace, *, port: int, prefect: bool) -> None:
    """Serve until Ctrl-C; both servers end together.

    Raises:
        ZenError: a server ended by itself, most often because its port is taken.
    """
    servers = {"MLflow": _start_mlflow(workspace, port)}
    say(f"MLflow:  http://127.0.0.1:{port}")
    if prefect:
        servers["Prefect"] = _start_prefect(workspace)
        say(f"Prefect: http://127.0.0.1:{_PREFECT_PORT}")
    say("Ctrl-C ends it")
    try:
        _wait_for_any(servers)
    finally:
        for server in servers.values():
            _stop(server)


def _start_mlflow(workspace: Workspace, port: int) -> subprocess.Popen[bytes]:
    workspace.mlflow_folder.mkdir(parents=True, exist_ok=True)
    command = python_command("-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port))
    command += ["--backend-store-uri", local_tracking_uri(workspace.mlflow_folder), "--workers", "1"]
    # Without this, eight job processes are started beside the web server.
    environment = {**python_environment(), **MLFLOW_QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _start_prefect(workspace: Workspace) -> subprocess.Popen[bytes]:
    environment = {
        **python_environment(),
        "PREFECT_HOME": str(workspace.prefect_folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
    }
    environment.pop("PREFECT_UI_ENABLED", None)
    command = python_command("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(_PREFECT_PORT))
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait_for_any(servers: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, server in servers.items():
            try:
                code = server.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
            raise ZenError(f"the {name} server ended with exit code {code}: is its port taken? (zen ui --port N)")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it started; it leads its own session."""
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
