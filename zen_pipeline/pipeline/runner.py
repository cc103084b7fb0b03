"""A pipeline run without an orchestrator: its record, its tracking, and the stages one after another.

`run_pipeline(config, workspace, until="pretrain")` is the whole chain in one call; `start_run` is the same in parts,
for whoever wants to call the stages one by one (the Prefect flows do).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.errors import StoreError, ZenError, first_line
from zen_pipeline.family_specs import DEFAULT_FAMILY
from zen_pipeline.files import explain_os_error, write_atomically
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.chain import Step, all_steps, steps_up_to
from zen_pipeline.pipeline.run_summary import figures, note, summarize_run
from zen_pipeline.pipeline.stage import Inputs, StageContext
from zen_pipeline.reporting.evaluation_page import corpus_names, run_page
from zen_pipeline.tracking import MlflowTracker, Tracker, mlflow_client
from zen_pipeline.workspace import RunRecord, StageRecord, StageStatus, Workspace

RunStatus = Literal["completed", "failed", "interrupted"]
_MLFLOW_STATUS: dict[RunStatus, Literal["FINISHED", "FAILED", "KILLED"]] = {
    "completed": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}

log = get_logger(__name__)


def run_pipeline(
    config: Config,
    workspace: Workspace,
    *,
    until: str | None = None,
    recalibrate: bool = False,
    wait: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> RunRecord:
    """Run the whole chain, or what one stage needs and that stage, in this process.

    Args:
        config: the whole configuration.
        workspace: where artifacts, checkpoints and the local tracking database lie.
        until: name of the last stage; default: all stages.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, or fail.
        verify: check the digests of stored artifacts, not only their sizes.
        progress: draw progress bars on stderr.

    Returns:
        The record of the run, as it is kept in the workspace.

    Raises:
        ZenError: a stage failed or was interrupted; the record says which.
        KeyError: `until` is not a stage.
    """
    steps = all_steps(config) if until is None else steps_up_to(until, config)
    with start_run(
        config, workspace, target=until, recalibrate=recalibrate, wait=wait, verify=verify, progress=progress
    ) as run:
        for step in steps:
            run.run_step(step, run.artifacts)
    return run.record


@dataclass
class PipelineRun:
    """One run under way.

    Attributes:
        config: the whole configuration.
        workspace: the `.zen` folder.
        record: what has happened so far; also in `.zen/runs/<run_id>.json`.
        context: what the stages get.
        artifacts: the artifacts so far, by step.
    """

    config: Config
    workspace: Workspace
    record: RunRecord
    context: StageContext
    artifacts: dict[str, ArtifactRef] = field(default_factory=dict)

    def run_step(self, step: Step, inputs: Inputs) -> ArtifactRef:
        """Run one step, or find its artifact, and record what it did.

        Args:
            step: of the chain.
            inputs: artifacts of (at least) the steps that it needs, by name.

        Raises:
            ZenError: the stage's own failure, after it has been recorded.
        """
        started = time.monotonic()
        about: dict[str, Any] = {"name": step.stage.name, "model": step.model.name if step.model else None}
        try:
            ref = run_step(step, self.config, inputs, self.context)
        except BaseException:
            self._note(StageRecord(**about, status="failed", seconds=_since(started)))
            raise
        self.artifacts[step.name] = ref
        self.record.released += ref.summary.get("released", [])
        self._note(
            StageRecord(
                **about,
                status=status_of(ref),
                seconds=_since(started),
                fingerprint=ref.fingerprint,
                artifact=ref.folder or None,
                skipped=ref.skipped,
                report=self._report_of(ref),
            )
        )
        return ref

    def _report_of(self, ref: ArtifactRef) -> str | None:
        """The page on what was judged, as it is kept in the record: a project may be moved."""
        page = ref.summary.get("judgement", {}).get("report")
        return None if page is None else os.path.relpath(page, self.workspace.home)

    def report(self) -> None:
        """Write the page of this run, where its models were evaluated, and tell MLflow what the run came to.

        What the run made does not depend on it: a failure costs a line in the log.
        """
        try:
            self._report()
        except Exception as error:
            log.warning("the report of run %s could not be written: %s", self.record.run_id, first_line(error))

    def _report(self) -> None:
        page = run_page(self.config, self.artifacts, self.record.released)
        if page is not None:
            write_atomically(self.workspace.report_file(self.record.run_id), page)
        summary = summarize_run(self.record, self.workspace)
        self.context.tracker.describe(figures=figures(summary), note=note(self.record, summary), page=summary.report)

    def _note(self, stage: StageRecord) -> None:
        """Add or (after a retry) replace the record of one stage; the seconds of all its attempts count."""
        earlier = [s for s in self.record.stages if s.step == stage.step]
        stage.seconds = round(stage.seconds + sum(s.seconds for s in earlier), 3)
        self.record.stages = [s for s in self.record.stages if s.step != stage.step] + [stage]
        _save(self.workspace, self.record)


def run_step(step: Step, config: Config, inputs: Inputs, context: StageContext) -> ArtifactRef:
    """The artifact of one step, from the store or built now; the disk's failures come as `StoreError`.

    Raises:
        ZenError: the stage's own failure.
    """
    started = time.monotonic()
    log.info("%s: started", step.name)
    try:
        ref = step.stage.run(config, inputs, context, step.model)
    except ZenError:
        raise
    except Exception as error:
        if (message := explain_os_error(error, context.workspace.home)) is None:
            raise
        raise StoreError(message) from error
    why = f": {ref.skipped}" if ref.skipped else ""
    log.info("%s: %s in %.1f s%s", step.name, status_of(ref), _since(started), why)
    return ref


def status_of(ref: ArtifactRef) -> StageStatus:
    """How the stage came to this artifact."""
    return "skipped" if ref.skipped else "cached" if ref.cached else "ran"


@contextmanager
def start_run(
    config: Config,
    workspace: Workspace,
    *,
    target: str | None = None,
    recalibrate: bool = False,
    wait: bool = True,
    verify: bool = False,
    progress: bool = False,
    began: float | None = None,
) -> Iterator[PipelineRun]:
    """Open one pipeline run: a record in the workspace and a parent run in MLflow, both closed at the end.

    The record ends as `completed`, `failed` or (Ctrl-C, SIGTERM) `interrupted`, the MLflow run as
    FINISHED, FAILED or KILLED; the exception goes on.

    Args:
        config: the whole configuration; `config.name` is MLflow's experiment.
        workspace: the `.zen` folder.
        target: the stage that is wanted, for display; None for the whole chain.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, or fail.
        verify: check the digests of stored artifacts, not only their sizes.
        progress: draw progress bars on stderr.
        began: Unix time at which the run was asked for; default: now.

    Raises:
        StoreError: the workspace cannot be written.
        ZenError: the tracking server cannot be used.
    """
    opened = time.monotonic()
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    record = RunRecord(run_id=run_id, pipeline=config.name, started=now.isoformat(timespec="milliseconds"))
    _save(workspace, record)
    with workspace.mark_alive(run_id):
        tracker: Tracker | None = None
        status: RunStatus = "failed"
        try:
            if recalibrate:
                workspace.recalibrate()
            tracker = _start_tracking(config, workspace, run_id, target)
            _settle_killed_runs(workspace, tracker)
            workspace.remove_abandoned()
            record.mlflow_run_id, record.mlflow_experiment_id = tracker.run_id, tracker.experiment_id
            tracker.describe(settings=_headline_settings(config))
            _save(workspace, record)
            context = StageContext(
                workspace=workspace,
                run_id=run_id,
                tracker=tracker,
                wait=wait,
                verify=verify,
                progress=progress,
                began=began or time.time(),
            )
            run = PipelineRun(config, workspace, record, context)
            yield run
            run.report()
            status = "completed"
        except BaseException as error:
            # What is no Exception is a request to stop: Ctrl-C, SystemExit, or a signal made an exception.
            status = "failed" if isinstance(error, Exception) else "interrupted"
            raise
        finally:
            record.status = status
            record.seconds = round(time.monotonic() - opened, 3)
            _close(workspace, record, tracker, status)


def _start_tracking(config: Config, workspace: Workspace, run_id: str, target: str | None) -> Tracker:
    tags = {"zen.run_id": run_id, "zen.pipeline": config.name, "zen.target": target or "pipeline"}
    try:
        client = mlflow_client(workspace.mlflow_folder)
        return MlflowTracker(client, experiment=config.name, run_name=run_id, tags=tags)
    except OSError as error:
        raise StoreError(explain_os_error(error, workspace.home) or str(error)) from error


def _headline_settings(config: Config) -> dict[str, str]:
    """The settings that tell runs of one pipeline apart; the runs of the stages have all of theirs."""
    start = config.pretrain.init_from or "random weights"
    family = config.pretrain.family or ("that of init_from" if config.pretrain.init_from else DEFAULT_FAMILY)
    return {"corpus": corpus_names(config), "budget": config.budget, "family": family, "start": start,
            "seed": str(config.seed)}  # fmt: skip


def _settle_killed_runs(workspace: Workspace, tracker: Tracker) -> None:
    """Write down the end of runs that were killed, for they could not."""
    for record in workspace.killed_runs():
        log.info("run %s was killed; it is marked as interrupted", record.run_id)
        if record.mlflow_run_id is not None:
            tracker.close_killed(record.mlflow_run_id)
        record.status = "interrupted"
        _save(workspace, record)


def _close(workspace: Workspace, record: RunRecord, tracker: Tracker | None, status: RunStatus) -> None:
    """Write the end down in both places; when the run has failed already, a second failure only warns."""
    try:
        _save(workspace, record)
        if tracker is not None:
            seconds = {f"seconds/{s.step}": s.seconds for s in record.stages}
            tracker.finish(_MLFLOW_STATUS[status], {**seconds, "seconds": record.seconds})
    except Exception as error:
        if status == "completed":
            raise
        log.warning("the end of run %s could not be written down: %s", record.run_id, error)


def _save(workspace: Workspace, record: RunRecord) -> None:
    try:
        workspace.save_run(record)
    except OSError as error:
        raise StoreError(explain_os_error(error, workspace.home) or f"cannot write {error.filename}") from error


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
