"""What happens around the steps: validation, the record of the run, checkpoints."""

# mypy: allow-subclassing-any

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

import lightning.pytorch as pl
from typing_extensions import override

from zen_pipeline.training.checkpoint import CheckpointFolder
from zen_pipeline.training.data import Source
from zen_pipeline.training.events import Events, Stopped
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.module import LanguageModelTraining

_PROGRESS_SECONDS = 0.5
_FLUSH_SECONDS = 10.0
_BATCH = 1000  # MLflow's limit of metrics in one request
HISTORY = "history.jsonl"


class Validator(pl.Callback):
    """Scores the held-out sequences every so often and after the last step."""

    def __init__(self, source: Source, job: TrainingJob) -> None:
        self._batches, self._token_bytes = source.validation(), getattr(source, "token_bytes", None)
        self._every, self._steps = job.validate_every, job.steps

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        module, step = cast(LanguageModelTraining, pl_module), trainer.global_step
        if self._batches and (step % self._every == 0 or step == self._steps):
            module.last |= module.validate(self._batches, self._token_bytes)


class Recorder(pl.Callback):
    """Writes each step to `history.jsonl`, sends progress, and logs to MLflow in batches.

    Without a file it only counts: of several processes, one writes.

    Its state travels in the checkpoints, so that the figures of a resumed run cover all attempts.
    """

    def __init__(self, job: TrainingJob, events: Events, history: Path | None) -> None:
        self._job, self._events, self._path = job, events, history
        self._history: TextIO | None = None
        self._metrics = MetricsLog(job, events)
        self._state: dict[str, Any] = {"seconds": 0.0, "tokens": 0, "supervised_tokens": 0, "resumed_from": []}
        self._last_validation: dict[str, float] = {}
        self._began = self._shown = 0.0

    @property
    def totals(self) -> Mapping[str, Any]:
        """`seconds`, `tokens`, `supervised_tokens`, `resumed_from` over all attempts, and the last validation."""
        return {**self._state, **self._last_validation}

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**self._state, "validation": self._last_validation}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        self._last_validation = state.pop("validation")
        self._state = state

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        if step:
            self._state["resumed_from"] = [*self._state["resumed_from"], step]
            self._events.send("resumed", step=step)
        if self._path is None:
            return
        lines = self._path.read_text().splitlines() if step and self._path.is_file() else []
        kept = [line for line in lines if _step_of(line) <= step]  # the rest is done again
        self._path.write_text("".join(f"{line}\n" for line in kept))
        self._history = self._path.open("a", buffering=1)

    @override
    def on_train_batch_start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def after_step(self, module: LanguageModelTraining, step: int) -> None:
        """Take the figures of the step that has just ended, without the time of what comes after it."""
        seconds = time.perf_counter() - self._began
        last = module.last
        last["tokens_per_second"] = last["tokens"] / seconds
        self._state["seconds"] += seconds
        for name in ("tokens", "supervised_tokens"):
            self._state[name] += int(last[name])

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        last, step = cast(LanguageModelTraining, pl_module).last, trainer.global_step
        if "validation_loss" in last:
            self._last_validation = {k: v for k, v in last.items() if k.startswith("validation_")}
        if self._history is None:
            return
        line = {"step": step, **{k: float(f"{v:.6g}") for k, v in last.items()}}
        self._history.write(json.dumps(line) + "\n")
        logged = {k: v for k, v in last.items() if k not in ("tokens", "supervised_tokens")}
        self._metrics.add(logged, step)
        if "validation_loss" in last:
            self._events.send("validation", step=step, **self._last_validation)
        if time.monotonic() - self._shown >= _PROGRESS_SECONDS or step == self._job.steps:
            self._shown = time.monotonic()
            keys = ("loss", "learning_rate", "gradient_norm", "tokens_per_second")
            self._events.send("progress", step=step, steps=self._job.steps, **{k: last[k] for k in keys})

    @override
    def teardown(self, *_: Any, **__: Any) -> None:
        self._metrics.flush()
        if self._history is not None:
            self._history.close()


class OwnSignals(pl.Callback):
    """Takes SIGTERM back from Lightning, whose handler waits for the other processes wherever they are."""

    def __init__(self, install: Callable[[], None]) -> None:
        self._install = install

    @override
    def on_train_start(self, *_: Any) -> None:
        self._install()


class StepClock(pl.Callback):
    """Ends the measured time of a step before anything else happens in it; the first of the callbacks."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._recorder.after_step(cast(LanguageModelTraining, pl_module), trainer.global_step)


class Checkpointer(pl.Callback):
    """Saves every so many steps, after the last one, and when the process is asked to stop.

    While the loss is suspect nothing is saved, so that every checkpoint is one to go back to.
    """

    def __init__(
        self, job: TrainingJob, folder: CheckpointFolder, events: Events, interrupt: Callable[[], None]
    ) -> None:
        self._job, self._folder, self._events, self._interrupt = job, folder, events, interrupt
        self._saved = -1

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step, suspect = trainer.global_step, cast(LanguageModelTraining, pl_module).watch.suspect
        if step == self._job.steps or (step % self._job.checkpoint_every == 0 and not suspect):
            self._save(trainer)
        self._interrupt()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        suspect = cast(LanguageModelTraining, pl_module).watch.suspect
        if isinstance(exception, Stopped) and trainer.global_step > 0 and not suspect:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if step == self._saved:
            return
        try:
            trainer.save_checkpoint(self._folder.path(step), weights_only=False)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
            trainer.strategy.barrier("Trainer.save_checkpoint")  # where the others wait
            self._events.warn(
                f"the checkpoint of step {step} could not be written ({error}): training goes on and the one before "
                "is kept; free some space on the disk"
            )
            return
        self._saved = step
        if trainer.is_global_zero:
            self._folder.prune()
        self._events.send("checkpoint", step=step)


class MetricsLog:
    """Metrics on their way to MLflow, sent in large requests; MLflow is only imported when a job is tracked."""

    def __init__(self, job: TrainingJob, events: Events) -> None:
        self._job, self._events = job, events
        self._waiting: list[tuple[str, float, int, int]] = []
        self._client: Any = None
        self._sent = time.monotonic()
        self._off = job.tracking_uri is None or job.tracking_run_id is None

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep the metrics of one step, and send what has gathered when it is time."""
        if self._off:
            return
        now = int(time.time() * 1000)
        self._waiting += [(name, float(value), now, step) for name, value in metrics.items()]
        if len(self._waiting) >= _BATCH or time.monotonic() - self._sent >= _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send everything; a tracking server that fails stops the tracking, not the training."""
        waiting, self._waiting, self._sent = self._waiting, [], time.monotonic()
        if self._off or not waiting:
            return
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric

            self._client = self._client or MlflowClient(tracking_uri=self._job.tracking_uri)
            for start in range(0, len(waiting), _BATCH):
                entries = [Metric(*values) for values in waiting[start : start + _BATCH]]
                self._client.log_batch(self._job.tracking_run_id, metrics=entries)
        except Exception as error:
            self._off = True
            self._events.warn(f"MLflow at {self._job.tracking_uri} cannot be written, no more is logged there: {error}")


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the half-written last line of a killed process
        return 1 << 62
