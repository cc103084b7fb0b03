"""The embedded Prefect server: a child process of the run, on loopback, that ends with it whatever happens.

Prefect's own temporary server takes 72 s to end on Ctrl-C and outlives a parent that is killed. This one is started
before Prefect is imported, so that both start at the same time, and it watches a pipe that closes when we die.
This module must not import Prefect.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from typing import Any

from zen_pipeline.errors import StoreError, ZenError
from zen_pipeline.files import explain_os_error
from zen_pipeline.logs import get_logger
from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.tracking import without_password
from zen_pipeline.workspace import Workspace

_ANSWER_SECONDS = 15  # what a running server may take
_READY_SECONDS = 180  # a first start migrates the database: 10 s here, more on a slow disk
_STOP_SECONDS = 3
_LEAST_FREE = 4_000_000  # bytes that the server needs for its database and log

# For the flow's process and the server alike. None of these overrides what the user has set.
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}

log = get_logger("zen_pipeline.flows")


def configured_api_url() -> str | None:
    """The address of a Prefect server that the user has chosen, found without importing Prefect.

    Prefect looks at the environment, `.env`, `prefect.toml`, `pyproject.toml` and the active profile, in this order.
    """
    if address := os.environ.get("PREFECT_API_URL"):
        return address
    with suppress(OSError, UnicodeDecodeError):
        if found := re.search(r"^\s*(?:export\s+)?PREFECT_API_URL\s*=\s*(\S+)", Path(".env").read_text(), re.M):
            return found[1].strip("'\"")
    for settings in (_toml(Path("prefect.toml")), _toml(Path("pyproject.toml")).get("tool", {}).get("prefect", {})):
        if address := settings.get("api", {}).get("url"):
            return str(address)
    return _profile_api_url()


def _profile_api_url() -> str | None:
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = _toml(Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser())
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
    address = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(address) if address else None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


class EmbeddedServer:
    """A running server.

    Attributes:
        address: what `PREFECT_API_URL` must be.
    """

    def __init__(self, home: Path) -> None:
        """Start the server in `home`, which keeps its database and log; returns at once.

        Raises:
            ZenError: the process cannot be started.
        """
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(explain_os_error(error, home) or f"cannot make {home}: {error.strerror}") from error
        self._log = home / "server.log"
        # Listening here already, the kernel queues our first requests, and no other process can take the port.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            lifeline, self._lifeline = os.pipe()
            try:
                self._process = self._start(home, listening.fileno(), lifeline)
            except OSError as error:
                os.close(self._lifeline)
                raise ZenError(f"cannot start the local Prefect server: {error}") from error
            finally:
                os.close(lifeline)

    def _start(self, home: Path, listening: int, lifeline: int) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("serve.py")
        command = python_command(str(script), str(listening), str(lifeline))
        environment = {**python_environment(), **{k: v for k, v in QUIET.items() if k not in os.environ}}
        environment.pop("PREFECT_API_URL", None)
        environment |= {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # serve.py does it, under a lock
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        }
        with self._log.open("wb") as output:
            return subprocess.Popen(
                command,
                pass_fds=(listening, lifeline),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the flow; it needs the server to say so
            )

    def wait_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            ZenError: it ended, or did not answer in time; the message has the end of its log.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.address}/health", timeout=_READY_SECONDS) as answer:
                answer.read()
        except (OSError, urllib.error.URLError) as error:
            if disk_usage(self._log.parent).free < _LEAST_FREE:
                raise StoreError(f"the disk is full ({self._log.parent}): free some space and start again") from error
            tail = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise ZenError(
                f"the local Prefect server did not start ({error}): {' / '.join(tail) or 'it said nothing'}; "
                f"the whole log is {self._log}"
            ) from error

    def stop(self) -> None:
        """End the server and wait for its end."""
        os.close(self._lifeline)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def check_answers(address: str) -> None:
    """See that a server is there, whatever it says: what Prefect raises without one is a traceback.

    Raises:
        ZenError: nobody answers.
    """
    plain = without_password(address)
    try:
        urllib.request.urlopen(f"{plain.rstrip('/')}/health", timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise ZenError(
            f"the Prefect server at {plain} does not answer ({getattr(error, 'reason', error)}): start it, correct "
            "PREFECT_API_URL, or unset it (and the profile's) to run with a server of this run's own"
        ) from error


@contextmanager
def prefect_server(workspace: Workspace) -> Iterator[EmbeddedServer | None]:
    """The server that this process shall use: the user's own (None), or an embedded one, started but not yet ready.

    While the embedded one lives, the environment points Prefect at it. Call `wait_ready` before the first flow.

    Raises:
        ZenError: it cannot be started.
    """
    if (address := configured_api_url()) is not None:
        check_answers(address)
        log.info("using the Prefect server at %s", without_password(address))
        yield None
        return
    server = EmbeddedServer(workspace.prefect_folder)
    try:
        with environment(
            {"PREFECT_API_URL": server.address, "PREFECT_HOME": str(workspace.prefect_folder)}, replace=True
        ):
            yield server
    finally:
        server.stop()


@contextmanager
def environment(values: dict[str, str], *, replace: bool) -> Iterator[None]:
    """Set environment variables for a while; with `replace=False` only those that are not set."""
    before = {name: os.environ.get(name) for name in values if replace or name not in os.environ}
    os.environ.update({name: values[name] for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
