"""Servers that tests start on loopback, and of which nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port on loopback that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def running_server() -> Callable[..., AbstractContextManager[None]]:
    """Runs a command in a session of its own while a block lasts, once its address answers."""

    @contextmanager
    def run(command: list[str], address: str, folder: Path) -> Iterator[None]:
        log = folder / "server.log"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks for uvicorn there
        with log.open("wb") as output:
            server = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=folder,
                env={**os.environ, "PATH": path},
            )
        family = [psutil.Process(server.pid)]
        try:
            _wait_for(address, server, log)
            family += family[0].children(recursive=True)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=15)
            for process in alive:
                process.kill()
            server.wait()
        assert not alive, alive

    return run


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
