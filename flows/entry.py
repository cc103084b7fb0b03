"""Run a flow in this process, with a Prefect server of its own when the user has none; what `zen run` calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows.server import QUIET, environment, prefect_server
from zen_pipeline.config import Config
from zen_pipeline.errors import Interrupted
from zen_pipeline.stages import STAGE_NAMES, load_stage
from zen_pipeline.workspace import RunRecord, Workspace

if TYPE_CHECKING:
    from prefect import Flow

_FLUSH_SECONDS = 3  # for what is left of logs and events

# `zen` shows the library's lines and the error itself; Prefect's own lines are in the flow run.
_CONSOLE = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}


def run_flow(
    target: str,
    config: Config,
    workspace: Workspace,
    *,
    require_release: bool = False,
    recalibrate: bool = False,
    wait: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> RunRecord:
    """Run the flow `pipeline` or that of one stage, and return the record of the run.

    Args:
        target: `pipeline` or the name of a stage.
        config: the whole configuration.
        workspace: where artifacts, checkpoints and the local servers' databases lie.
        require_release: fail when the run ends without a new champion.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, or fail.
        verify: check the digests of stored artifacts, not only their sizes.
        progress: draw progress bars on stderr.

    Raises:
        ZenError: what the library raised, itself.
        KeyError: `target` is neither.
        KeyboardInterrupt: Ctrl-C; the flow run is marked as crashed and the record as interrupted.
    """
    if target not in ("pipeline", *STAGE_NAMES):
        raise KeyError(target)
    options: dict[str, Any] = {"recalibrate": recalibrate, "wait": wait, "verify": verify}
    if target in ("pipeline", "release"):
        options["require_release"] = require_release
    with (
        environment({**QUIET, **_CONSOLE}, replace=False),
        environment({"ZEN_HOME": str(workspace.home)}, replace=True),
        prefect_server(workspace) as server,
    ):
        flow = _load(target)  # imports Prefect, MLflow and the stages while the server starts
        if server is not None:
            server.wait_ready()
        with _connected(server.address if server else None, progress=progress):
            try:
                record: RunRecord = flow(config, **options)
            except KeyboardInterrupt as stop:
                if isinstance(stop.__cause__, Interrupted):
                    raise stop.__cause__ from None
                raise
    return record


def _load(target: str) -> Flow[Any, RunRecord]:
    found: Flow[Any, RunRecord] = getattr(import_module(f"flows.{target}"), target)
    for name in STAGE_NAMES:
        load_stage(name)
    import_module("mlflow.tracking")
    return found


@contextmanager
def _connected(address: str | None, *, progress: bool) -> Iterator[None]:
    """Prefect's settings for an embedded run; they also count where Prefect was imported before."""
    from flows.run import progress_bars

    token = progress_bars.set(progress)
    try:
        if address is None:
            yield
            return
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        # Nobody watches heartbeats here, and their thread takes a second to join.
        with temporary_settings({PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            try:
                yield
            finally:
                _flush()
    finally:
        progress_bars.reset(token)


def _flush() -> None:
    """Send the last logs and events while the server is there; otherwise Prefect tries it again at exit."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_FLUSH_SECONDS, at_exit=False)
