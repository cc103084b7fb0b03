"""`zen ui` and `zen server`: MLflow's and Prefect's pages on this workspace, and what runs on a schedule."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from zen_pipeline.errors import ZenError
from zen_pipeline.subprocesses import python_command, python_environment
from zen_pipeline.terminal import say, show
from zen_pipeline.tracking import MLFLOW_QUIET, local_tracking_uri

if TYPE_CHECKING:
    from zen_pipeline.workspace import Workspace

_STOP_SECONDS = 5
RESTART_PAUSES = (
    1,
    5,
    30,
    120,
)  # seconds: a worker that was killed once is back at once; what cannot live is not tried for ever
_LASTED_SECONDS = 600

WaitEnded = Callable[[float], int | None]  # the exit code, when the process has ended within so many seconds


def serve_pages(workspace: Workspace, *, port: int, prefect: bool, prefect_port: int) -> None:
    """Serve the pages until Ctrl-C; both servers end together.

    Raises:
        ZenError: a server ended by itself, most often because its port is taken.
    """
    with ExitStack() as running:
        servers: dict[str, WaitEnded] = {
            "MLflow": partial(_wait_ended, running.enter_context(_mlflow(workspace, port)))
        }
        say(f"MLflow:  http://127.0.0.1:{port}{_runs_page(workspace)}")
        if prefect:
            from flows.server import LocalServer, new_secret

            secret = new_secret()
            pages = LocalServer(workspace.prefect_folder, services="pages", port=prefect_port, secret=secret)
            running.callback(pages.stop)
            pages.wait_ready()
            servers["Prefect"] = pages.wait_ended
            show(f"Prefect: http://127.0.0.1:{prefect_port}/?token={secret.partition(':')[2]}")  # `say` would mask it
        say("Ctrl-C ends it")
        _wait_for_any(servers)


def serve_schedules(workspace: Workspace, *, port: int, prefect_port: int) -> None:
    """Serve the pages, run what is due, and watch over it, until Ctrl-C.

    Raises:
        ZenError: a part of it does not start, or ended by itself.
    """
    from flows.standing import DEPLOYMENTS, deploy, standing_server, worker, worker_log

    with ExitStack() as running:
        mlflow = running.enter_context(_mlflow(workspace, port))
        say(f"MLflow:  http://127.0.0.1:{port}{_runs_page(workspace)}")
        prefect = running.enter_context(standing_server(workspace, prefect_port))
        say(f"Prefect: http://127.0.0.1:{prefect_port}")
        if DEPLOYMENTS.is_file():
            deploy(prefect)
            say(f"{DEPLOYMENTS} is deployed")
        else:
            say(f"nothing is deployed: there is no {DEPLOYMENTS} in this folder")
        servers: dict[str, WaitEnded] = {
            "MLflow": partial(_wait_ended, mlflow),
            "Prefect": prefect.wait_ended,
        }
        say(f"for `prefect` and `zen run` elsewhere: export PREFECT_API_URL={prefect.address} DO_NOT_TRACK=true")
        say("Ctrl-C ends it")
        keep_worker(partial(worker, prefect, workspace), partial(_wait_for_any, servers), worker_log(workspace))


def keep_worker(
    worker: Callable[[], AbstractContextManager[subprocess.Popen[bytes]]],
    wait: Callable[[WaitEnded], None],
    log: Path,
    pauses: Sequence[float] = RESTART_PAUSES,
) -> NoReturn:
    """Start a worker again when it ends, after longer and longer pauses; one that lasted begins with the first again.

    Args:
        worker: starts it; on leaving, it has ended.
        wait: returns when what it is given has ended; raises when something else has.
        log: what the worker writes.
        pauses: seconds before each new start.

    Raises:
        ZenError: it ended once more after the last pause, or `wait` raised it.
    """
    remaining = iter(pauses)
    while True:
        began = time.monotonic()
        with worker() as process:
            wait(partial(_wait_ended, process))
        if time.monotonic() - began > _LASTED_SECONDS:
            remaining = iter(pauses)
        pause = next(remaining, None)
        if pause is None:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:] if log.is_file() else []
            raise ZenError(
                f"the worker ended {len(pauses) + 1} times in a row, at last with exit code {process.returncode}: "
                f"{' / '.join(said) or 'it said nothing'}; its whole log is {log}"
            )
        say(f"the worker has ended with exit code {process.returncode}; it is started again in {pause:g} s")
        wait(_paused(pause))


def _paused(seconds: float) -> WaitEnded:
    """Something that ends after these seconds."""
    end = time.monotonic() + seconds

    def wait_ended(longest: float) -> int | None:
        time.sleep(max(0.0, min(longest, end - time.monotonic())))
        return 0 if time.monotonic() >= end else None

    return wait_ended


def _runs_page(workspace: Workspace) -> str:
    """The runs of the pipeline that ran last: MLflow's own first page is about traces of language model calls."""
    records = [record for record in workspace.runs() if record.mlflow_experiment_id]
    if not records:
        return ""
    return f"/#/experiments/{records[-1].mlflow_experiment_id}/runs?workflowType=machine_learning"


@contextmanager
def _mlflow(workspace: Workspace, port: int) -> Iterator[subprocess.Popen[bytes]]:
    workspace.mlflow_folder.mkdir(parents=True, exist_ok=True)
    command = python_command("-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port))
    command += ["--backend-store-uri", local_tracking_uri(workspace.mlflow_folder), "--workers", "1"]
    # Without this, eight job processes are started beside the web server.
    environment = {**python_environment(), **MLFLOW_QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield server
    finally:
        _stop(server)


def _wait_for_any(servers: Mapping[str, WaitEnded], worker: WaitEnded | None = None) -> None:
    """Return when the worker has ended; servers are not expected to."""
    while worker is None or worker(0.5) is None:
        for name, wait in servers.items():
            if (code := wait(0.5)) is not None:
                raise ZenError(f"{name} ended with exit code {code}: is its port taken? (--port N, --prefect-port N)")


def _wait_ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it started; it leads its own session."""
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
