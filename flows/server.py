"""A Prefect server on loopback: a child process of the run, that ends with it whatever happens.

Prefect's own temporary server takes 72 s to end on Ctrl-C and outlives a parent that is killed. This one is started
before Prefect is imported, so that both start at the same time, and it watches a pipe that closes when we die.
This module must not import Prefect.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import disk_usage
from signal import Signals
from typing import Literal

from flows import prefect_settings
from flows.prefect_settings import configured_api_url, environment, files_not_read
from zen_pipeline.errors import StoreError, ZenError
from zen_pipeline.files import explain_os_error
from zen_pipeline.logs import get_logger
from zen_pipeline.loopback import except_loopback_from_proxies
from zen_pipeline.masking import masked
from zen_pipeline.subprocesses import python_command
from zen_pipeline.workspace import Workspace

_ANSWER_SECONDS = 15  # what a running server may take
_READY_SECONDS = 180  # a first start migrates the database: 10 s here, more on a slow disk
_STOP_SECONDS = 3
_RESTARTS = 3  # what is killed more often will not live
_LEAST_FREE = 4_000_000  # bytes that the server needs for its database and log

Services = Literal["run", "pages", "all"]

log = get_logger("zen_pipeline.flows")


class LocalServer:
    """A running server.

    Attributes:
        address: what `PREFECT_API_URL` must be.
        secret: what `PREFECT_API_AUTH_STRING` must be; None lets every program of this machine in.
    """

    def __init__(self, home: Path, *, services: Services = "run", port: int = 0, secret: str | None = None) -> None:
        """Start the server in `home`, which keeps its database and log; returns at once.

        Args:
            home: a folder, made when it is missing.
            services: those that record a run, the web `pages` alone, or `all` with the pages.
            port: of loopback; 0 takes a free one.
            secret: `user:password`, if programs must know one.

        Raises:
            ZenError: the process cannot be started, or the port is taken.
        """
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(explain_os_error(error, home) or f"cannot make {home}: {error.strerror}") from error
        self._log = home / "server.log"
        self.secret = secret
        # Listening here, the kernel queues requests until a server takes them, and no other process can take the port.
        self._listening = _listening(port)
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/api"
        self._server_end, self._lifeline = os.pipe()
        self._stopping, self._changing = False, threading.Lock()
        start = partial(self._start, home, services, self._listening.fileno(), self._server_end)
        try:
            self._process = start()
        except OSError as error:
            self._close()
            os.close(self._lifeline)
            raise ZenError(f"cannot start the local Prefect server: {error}") from error
        self._keeper = threading.Thread(target=self._keep, args=(start,), daemon=True)
        self._keeper.start()

    def _keep(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        """Start it again when it is killed, as a system without memory does: a run would wait for it for minutes."""
        for _ in range(_RESTARTS):
            code = self._process.wait()
            with self._changing:
                if self._stopping or code >= 0:
                    break
                log.warning("the local Prefect server was killed (%s); it is started again", Signals(-code).name)
                try:
                    self._process = start()
                except OSError:
                    break
        self._process.wait()
        self._close()  # who still asks is told at once that nobody is there

    def _close(self) -> None:
        self._listening.close()
        os.close(self._server_end)

    def _start(self, home: Path, services: Services, listening: int, lifeline: int) -> subprocess.Popen[bytes]:
        command = python_command("-m", "flows.serve", str(listening), str(lifeline), services)
        settings = prefect_settings.server(home, pages=services != "run")
        settings["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = self.address.removesuffix("/api")
        with self._log.open("wb") as output, _filled_pipe(self.secret or "") as secret:
            return subprocess.Popen(
                command,
                pass_fds=(listening, lifeline),
                stdin=secret,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=settings,
                start_new_session=True,  # Ctrl-C in the terminal is for the flow; it needs the server to say so
            )

    def wait_ended(self, seconds: float) -> int | None:
        """The exit code, when it has ended within this time."""
        self._keeper.join(seconds)
        return None if self._keeper.is_alive() else self._process.returncode

    def wait_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            ZenError: it ended, or did not answer in time; the message has the end of its log.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{self.address}/health")
        if self.secret is not None:
            request.add_header("Authorization", f"Basic {b64encode(self.secret.encode()).decode()}")
        try:
            with opener.open(request, timeout=_READY_SECONDS) as answer:
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
        with self._changing:
            self._stopping = True
        os.close(self._lifeline)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._keeper.join()


def new_secret() -> str:
    """A user and a password that nobody can guess."""
    return f"zen:{secrets.token_urlsafe(24)}"


def check_answers(address: str) -> None:
    """See that a server is there, whatever it says: what Prefect raises without one is a traceback.

    Raises:
        ZenError: nobody answers.
    """
    plain = masked(address)
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
def prefect_server(workspace: Workspace) -> Iterator[LocalServer | None]:
    """The server that this process shall use: the user's own (None), or an embedded one, started but not yet ready.

    While the embedded one lives, the environment points Prefect at it. Call `wait_ready` before the first flow.

    Raises:
        ZenError: it cannot be started.
    """
    except_loopback_from_proxies()
    if ignored := files_not_read():
        log.info(
            "Prefect's settings in %s are not read: put them into the environment or a profile", ", ".join(ignored)
        )
    if (address := configured_api_url()) is not None:
        check_answers(address)
        log.info("using the Prefect server at %s", masked(address))
        yield None
        return
    server = LocalServer(workspace.prefect_folder, secret=new_secret())
    chosen = prefect_settings.embedded(workspace.prefect_folder)
    try:
        with environment(
            {**chosen, "PREFECT_API_URL": server.address, "PREFECT_API_AUTH_STRING": server.secret}, replace=True
        ):
            yield server
    finally:
        server.stop()


@contextmanager
def _filled_pipe(text: str) -> Iterator[int]:
    """A pipe that a child reads to its end: neither its command nor its environment shows a short text to others."""
    reading, writing = os.pipe()
    try:
        os.write(writing, text.encode())
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ZenError(f"port {port} of this machine cannot be used ({error.strerror}): name another one") from error
