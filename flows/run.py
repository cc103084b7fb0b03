"""One pipeline run inside a flow: every stage is a Prefect task of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run, task_run
from prefect.states import Completed

from flows.artifacts import publish, publish_refusal
from flows.logs import library_logs
from flows.parameters import Settings, resolve
from flows.prefect_settings import in_the_project
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.errors import TrainingDiverged, TrainingError, ValidationFailed
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.chain import Step
from zen_pipeline.pipeline.runner import PipelineRun, start_run, status_of
from zen_pipeline.workspace import RunRecord, Workspace

RETRY_DELAYS: list[float] = [5, 60]  # seconds; enough for another process to give back what it held
log = get_logger("zen_pipeline.flows")
_STATE_NAMES = {"ran": "Completed", "cached": "Cached", "skipped": "Skipped"}


@dataclass
class Caller:
    """Who runs a flow in this process, and what that flow tells about itself; a deployed flow has none.

    Attributes:
        progress: draw progress bars on stderr.
        began: Unix time at which the run was asked for.
        config: the settings with their credentials, of which Prefect is shown and keeps the masked form.
        flow_run_id: Prefect's id of the run.
        tasks: how many tasks have begun.
    """

    progress: bool = False
    began: float | None = None
    config: Config | None = None
    flow_run_id: str | None = None
    tasks: int = 0


caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


class FlowRun:
    """The stages of one run as Prefect tasks that hand small references to each other."""

    def __init__(self, run: PipelineRun, log_ids: dict[str, str]) -> None:
        self._run = run
        self._log_ids = log_ids

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return self._run.config

    @property
    def record(self) -> RunRecord:
        """What has happened so far."""
        return self._run.record

    def step(self, step: Step) -> ArtifactRef:
        """Run one step as a task named after it, on the artifacts of the steps that it needs.

        The task always runs, because only the store knows whether the artifact is there and whole; a hit ends in a
        state named `Cached`, a step with nothing to do in one named `Skipped`.

        Raises:
            ZenError: the stage's own failure.
        """
        if (who := caller.get()) is not None:
            who.tasks += 1
        inputs = [self._run.artifacts[needed] for needed in step.needs(self._run.config)]
        return self._task(step)(*inputs).result()

    def _task(self, step: Step) -> Task[..., State[ArtifactRef]]:
        def run_step(*inputs: ArtifactRef) -> State[ArtifactRef]:
            self._log_ids["task_run_id"] = str(task_run.id)
            try:
                ref = self._run.run_step(step, {ref.step: ref for ref in inputs})
            except ValidationFailed as refused:
                publish_refusal(self._run.config, refused)
                raise
            finally:
                del self._log_ids["task_run_id"]
            publish(self._run.config, ref)
            return Completed(name=_STATE_NAMES[status_of(ref)], message=ref.skipped, data=ref)

        retried = step.stage.retried
        return Task(
            run_step,
            name=step.name,
            task_run_name=step.name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(RETRY_DELAYS) if retried else 0,
            retry_delay_seconds=RETRY_DELAYS if retried else None,
            retry_condition_fn=may_pass,
        )


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """True if a failure may be gone at the next try: a training process or the system failed, not the user's data."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, TrainingError | OSError) and not isinstance(error, TrainingDiverged)


@contextmanager
def opened(
    config: Settings,
    *,
    target: str | None = None,
    require_release: bool = False,
    recalibrate: bool = False,
    wait: bool = True,
    verify: bool = False,
) -> Iterator[FlowRun]:
    """A pipeline run in the workspace of `ZEN_HOME` or of the working folder, tracked, logged and recorded.

    Raises:
        ConfigError: the settings are wrong, or the deployment's folder is gone.
        NotReleased: `require_release` is set and the run ends without a new champion.
    """
    log_ids = {"flow_run_id": str(flow_run.id)} if flow_run.id else {}
    who = caller.get() or Caller()
    who.flow_run_id = log_ids.get("flow_run_id")
    with library_logs(log_ids), in_the_project():
        with start_run(
            who.config or resolve(config),
            Workspace.find_or_create(),
            target=target,
            recalibrate=recalibrate,
            wait=wait,
            verify=verify,
            progress=who.progress,
            began=who.began,
        ) as run:
            _name_flow_run(run.record.run_id)
            yield FlowRun(run, log_ids)
        if require_release:
            run.record.require_champion()


def _name_flow_run(run_id: str) -> None:
    """Give Prefect's run the name that the run has in MLflow and in `zen runs`."""
    if not flow_run.id:
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run.id)), name=run_id)
    except Exception as error:  # the run does not depend on what it is called
        log.warning("Prefect did not take the name %s: %s", run_id, error)
