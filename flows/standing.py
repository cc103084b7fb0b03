"""What stays for runs on a schedule: a Prefect server with its pages, a worker, deployments, the heartbeat alarm.

This module must not import Prefect.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flows import prefect_settings
from flows.prefect_api import ask
from flows.prefect_settings import PROJECT
from flows.server import LocalServer
from zen_pipeline.errors import ZenError
from zen_pipeline.loopback import except_loopback_from_proxies
from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.workspace import Workspace

POOL = "zen"  # as in prefect.yaml
DEPLOYMENTS = Path("prefect.yaml")
_HEARTBEAT = Path(__file__).with_name("heartbeat.json")
_COMMAND_SECONDS = 300
_STOP_SECONDS = 20  # a worker ends its flow runs first


@contextmanager
def standing_server(workspace: Workspace, port: int) -> Iterator[LocalServer]:
    """A Prefect server with all its services and pages, ready, with the work pool and the heartbeat alarm in it.

    Programs of this machine need no password, so that `prefect` works against it; pages of other sites are refused.

    Raises:
        ZenError: it does not start.
    """
    except_loopback_from_proxies()
    server = LocalServer(workspace.prefect_folder, services="all", port=port)
    try:
        server.wait_ready()
        if ask(server.address, "GET", f"/work_pools/{POOL}") is None:
            _prefect(server, "work-pool", "create", POOL, "--type", "process")
        _watch_heartbeats(server)
        yield server
    finally:
        server.stop()


def deploy(server: LocalServer) -> None:
    """Deploy what the `prefect.yaml` of the working folder describes.

    Raises:
        ZenError: Prefect refuses it; the message is Prefect's.
    """
    _prefect(server, "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS.absolute()))


def worker_log(workspace: Workspace) -> Path:
    """What the last worker wrote."""
    return workspace.prefect_folder / "worker.log"


@contextmanager
def worker(server: LocalServer, workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that runs what is due; it ends before the server, without which it would linger."""
    command = python_command("-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process")
    with TemporaryDirectory(prefix="zen-") as empty:
        with worker_log(workspace).open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=empty,
                env={**_environment(server), "ZEN_HOME": str(workspace.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watch_heartbeats(server: LocalServer) -> None:
    wanted = json.loads(_HEARTBEAT.read_text(encoding="utf-8"))
    present = (
        ask(server.address, "POST", "/automations/filter", {"automations": {"name": {"any_": [wanted["name"]]}}}) or []
    )
    for automation in present:
        ask(server.address, "PUT", f"/automations/{automation['id']}", wanted)
    if not present:
        ask(server.address, "POST", "/automations/", wanted)


def _prefect(server: LocalServer, *arguments: str) -> None:
    try:
        with TemporaryDirectory(prefix="zen-") as empty:
            done = subprocess.run(
                python_command("-m", "prefect", *arguments),
                cwd=empty,
                env=_environment(server),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise ZenError(f"`prefect {' '.join(arguments)}` has not ended after {_COMMAND_SECONDS} seconds") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise ZenError(f"`prefect {' '.join(arguments)}` failed: {' / '.join(said)}")


def _environment(server: LocalServer) -> dict[str, str]:
    """For a Prefect that stands in an empty folder, since it reads settings that can name code wherever it stands."""
    quiet = {name: value for name, value in prefect_settings.QUIET.items() if name not in os.environ}
    chosen = {"PREFECT_API_URL": server.address, "PREFECT_CLI_COLORS": "false", PROJECT: str(Path.cwd())}
    return {**python_environment(), **quiet, **chosen}
