"""Run a flow in this process, with a Prefect server of its own when the user has none; what `zen run` calls."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.prefect_settings import QUIET, configured_api_url, environment, import_prefect, outside_the_project
from flows.server import LocalServer, check_answers, prefect_server
from zen_pipeline.config import Config
from zen_pipeline.errors import ZenError
from zen_pipeline.logs import get_logger
from zen_pipeline.masking import masked_model
from zen_pipeline.pipeline.chain import STAGE_NAMES, load_stage
from zen_pipeline.tracking import mlflow_client
from zen_pipeline.workspace import RunRecord, Workspace

if TYPE_CHECKING:
    from prefect import Flow

    from flows.run import Caller

_FLUSH_SECONDS = 3  # for what is left of logs and events

log = get_logger("zen_pipeline.flows")

# `zen` shows the library's lines and the error itself; Prefect's own lines are in the flow run.
_CONSOLE = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}


def run_flow(
    target: str,
    config: Config,
    workspace: Workspace,
    *,
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
    began = time.time()
    options: dict[str, Any] = {"recalibrate": recalibrate, "wait": wait, "verify": verify}
    with (
        environment({**QUIET, **_CONSOLE}, replace=False),
        environment({"ZEN_HOME": str(workspace.home)}, replace=True),
        prefect_server(workspace) as server,
    ):
        flow = _load(target)  # imports Prefect, MLflow and the stages while the server starts
        if server is not None:
            with suppress(ZenError, OSError):  # a first time takes seconds, in which the server makes its own tables
                mlflow_client(workspace.mlflow_folder)
            server.wait_ready()
        from flows.run import Caller

        with _connected(server, Caller(progress, began, config)):
            try:
                record: RunRecord = flow(masked_model(config), **options)
            except ZenError:
                raise
            except Exception:
                check_answers(os.environ.get("PREFECT_API_URL") or str(configured_api_url()))  # has it gone meanwhile?
                raise
    return record


def _load(target: str) -> Flow[Any, RunRecord]:
    import_prefect()
    module = import_module("flows.pipeline" if target == "pipeline" else "flows.stages")
    found: Flow[Any, RunRecord] = getattr(module, target)
    for name in STAGE_NAMES:
        load_stage(name)
    import_module("mlflow.tracking")
    return found


@contextmanager
def _connected(server: LocalServer | None, who: Caller) -> Iterator[None]:
    """Prefect's settings for an embedded run; they also count where Prefect was imported before."""
    from flows.run import caller

    token = caller.set(who)
    try:
        with ExitStack() as settings:
            if server is not None:
                with outside_the_project():
                    settings.enter_context(_settings_for(server))
            try:
                yield
            finally:
                if server is not None:
                    _flush(who)
    finally:
        caller.reset(token)


def _settings_for(server: LocalServer) -> AbstractContextManager[object]:
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    # Nobody watches heartbeats here, and their thread takes a second to join.
    return temporary_settings(
        {
            PREFECT_API_URL: server.address,
            PREFECT_API_AUTH_STRING: server.secret,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
    )


def _flush(who: Caller) -> None:
    try:
        _wait_until_written(who)
    except Exception as error:  # the run is over; what it ended with counts
        log.warning("the last of the log did not reach the Prefect server: %s", error)


def _wait_until_written(who: Caller) -> None:
    """Send the last logs and events, and see that the server has written every task's end.

    A task's states travel as events and are written after they have been received; the server is about to end.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    deadline = time.monotonic() + _FLUSH_SECONDS
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_FLUSH_SECONDS, at_exit=False)
    if who.flow_run_id is None:
        return
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(who.flow_run_id)]))
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            tasks = client.read_task_runs(flow_run_filter=mine)
            if len(tasks) == who.tasks and all(task.state and task.state.is_final() for task in tasks):
                return
            time.sleep(0.05)
    log.debug("the Prefect server did not write the end of every task in %d s", _FLUSH_SECONDS)
