"""What happens around the steps: validation, the record of the run, checkpoints."""

# mypy: allow-subclassing-any

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from typing_extensions import override

from zen_pipeline.errors import StoreError, first_line
from zen_pipeline.training.checkpoint import CheckpointFolder
from zen_pipeline.training.data import Batch, Source
from zen_pipeline.training.events import Events, Stopped
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.module import LanguageModelTraining
from zen_pipeline.training.step_lines import StepLines
from zen_pipeline.training.telemetry import Readings, peak_of_all, step_flops

_PROGRESS_SECONDS = 0.5
_FLUSH_SECONDS = 10.0
_BATCH = 1000  # MLflow's limit of metrics in one request
HISTORY = "history.jsonl"
_SHOWN = (
    *("loss", "learning_rate", "embedding_learning_rate", "gradient_norm", "tokens_per_second", "mfu", "memory_bytes"),
    *("gpu_memory_bytes", "energy_joules", "estimated_energy_joules"),
)


class Validator(pl.Callback):
    """Scores the held-out sequences every so often and after the last step."""

    def __init__(self, source: Source, job: TrainingJob) -> None:
        self._batches, self._token_bytes = source.validation(), getattr(source, "token_bytes", None)
        self._every, self._steps = job.validate_every, job.steps

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        module, step = cast(LanguageModelTraining, pl_module), trainer.global_step
        if self._batches and (step % self._every == 0 or step == self._steps):
            module.model.eval()  # no dropout
            module.last |= module.validate(self._batches, self._token_bytes)
            module.model.train()


class Recorder(pl.Callback):
    """Writes each step to `history.jsonl`, sends progress, and logs to MLflow in batches.

    Without a file it only counts: of several processes, one writes.

    Its state travels in the checkpoints, so that the figures of a resumed run cover all attempts; steps that a kill
    took back are not in them.
    """

    def __init__(self, job: TrainingJob, events: Events, history: Path | None) -> None:
        self._job, self._events = job, events
        self._history = StepLines(history, events.warn) if history is not None else None
        self._metrics = MetricsLog(job, events)
        self._state: dict[str, Any] = {"tokens": 0, "supervised_tokens": 0, "resumed_from": []}
        self._state |= dict.fromkeys(("seconds", "flops", "joules", "checkpoint_seconds", "sample_seconds"), 0.0)
        self._state |= {"sample_times": 0, "energy_measured": False, "energy_source": None}
        self._last_validation: dict[str, float] = {}
        self._readings: Readings | None = None
        self._peak = peak_of_all(job, gpu=torch.cuda.is_available())
        self._began = self._shown = 0.0

    @property
    def totals(self) -> Mapping[str, Any]:
        """What `TrainingResult` says over all attempts, and the last validation."""
        self._read_energy()
        mfu = self._mfu(self._state["flops"], self._state["seconds"])
        return {**self._state, "mfu": mfu, **self._last_validation}

    @override
    def state_dict(self) -> dict[str, Any]:
        self._read_energy()
        return {**self._state, "validation": self._last_validation}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        self._last_validation = state.pop("validation")
        self._state |= state

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step, self._readings = trainer.global_step, Readings(self._job, pl_module.device)
        meter = self._readings.meter
        self._state |= {"energy_measured": meter.measured, "energy_source": meter.source}
        if step:
            self._state["resumed_from"] = [*self._state["resumed_from"], step]
            self._events.send("resumed", step=step)
        if self._history is not None:
            self._history.open_after(step)
            self._metrics.open()

    @override
    def on_train_batch_start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def after_step(self, module: LanguageModelTraining, batch: Batch) -> None:
        """Take the figures of the step that has just ended, without the time of what comes after it."""
        seconds = time.perf_counter() - self._began
        last, flops = module.last, step_flops(module.model, batch)
        last["tokens_per_second"] = last["tokens"] / seconds
        if (mfu := self._mfu(flops, seconds)) is not None:
            last["mfu"] = mfu
        self._state["seconds"] += seconds
        self._state["flops"] += flops
        for name in ("tokens", "supervised_tokens"):
            self._state[name] += int(last[name])

    def _mfu(self, flops: float, seconds: float) -> float | None:
        """Model FLOPs utilization (PaLM, appendix B) against the measured peak; None where there is none."""
        return None if self._peak is None or not seconds else flops / seconds / self._peak

    def count(self, what: str, seconds: float) -> None:
        """Add to the `checkpoint` or `sample` time."""
        self._state[f"{what}_seconds"] += seconds
        if what == "sample":
            self._state["sample_times"] += 1

    def warn(self, message: str) -> None:
        """Something that the user should read."""
        self._events.warn(message)

    def log_text(self, name: str, text: str) -> None:
        """Have MLflow keep a text with the run; a later one of the same name takes its place."""
        self._metrics.texts[name] = text

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        last, step = cast(LanguageModelTraining, pl_module).last, trainer.global_step
        if "validation_loss" in last:
            self._last_validation = {k: v for k, v in last.items() if k.startswith("validation_")}
        if self._history is None:
            return
        last |= self._read(always="validation_loss" in last or step == self._job.steps)
        self._history.append({"step": step, **{k: float(f"{v:.6g}") for k, v in last.items()}})
        logged = {k: v for k, v in last.items() if k not in ("tokens", "supervised_tokens")}
        self._metrics.add(logged, step)
        if "validation_loss" in last:
            self._events.send("validation", step=step, **self._last_validation)
        if time.monotonic() - self._shown >= _PROGRESS_SECONDS or step == self._job.steps:
            self._shown = time.monotonic()
            self._events.send("progress", step=step, steps=self._job.steps, **{k: last[k] for k in _SHOWN if k in last})

    def _read(self, *, always: bool) -> dict[str, float]:
        """Memory and energy so far, now and then."""
        assert self._readings is not None
        if not self._readings.due() and not always:
            return {}
        self._read_energy()
        return {**self._readings.memory(), self._readings.energy_key: self._state["joules"]}

    def _read_energy(self) -> None:
        if self._readings is not None:
            self._state["joules"] += self._readings.joules()

    def flush(self) -> None:
        """Send MLflow what waits for it; nothing where another process does so."""
        self._metrics.flush()

    @override
    def teardown(self, *_: Any, **__: Any) -> None:
        self.flush()
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
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._recorder.after_step(cast(LanguageModelTraining, pl_module), batch)


class Checkpointer(pl.Callback):
    """Saves every so many steps, after the last one, and when the process is asked to stop.

    While the loss is suspect nothing is saved, so that every checkpoint is one to go back to.
    """

    def __init__(
        self,
        job: TrainingJob,
        folder: CheckpointFolder,
        events: Events,
        interrupt: Callable[[], None],
        recorder: Recorder,
    ) -> None:
        self._job, self._folder, self._events, self._interrupt = job, folder, events, interrupt
        self._recorder = recorder
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
        self._recorder.flush()  # Lightning leaves out `teardown` then; after saving, since MLflow may be slow

    def _save(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if step == self._saved:
            return
        began = time.perf_counter()
        try:
            trainer.save_checkpoint(self._folder.path(step), weights_only=False)
        except torch.OutOfMemoryError:  # a RuntimeError, but no matter of the disk
            raise
        except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
            folder = self._folder.folder
            if not folder.is_dir():
                raise StoreError(f"{folder} was removed while {self._job.name} was running: start again") from error
            trainer.strategy.barrier("Trainer.save_checkpoint")  # where the others wait
            self._events.warn(
                f"the checkpoint of step {step} could not be written ({error}): training goes on and the one before "
                "is kept; free some space on the disk"
            )
            return
        self._saved = step
        if trainer.is_global_zero:
            self._folder.prune()
        self._recorder.count("checkpoint", time.perf_counter() - began)
        self._events.send("checkpoint", step=step)


class MetricsLog:
    """Metrics on their way to MLflow, sent in large requests; MLflow is only imported when a job is tracked.

    Attributes:
        texts: by the name of the artifact that each is to become, sent with the metrics.
    """

    def __init__(self, job: TrainingJob, events: Events) -> None:
        self._job, self._events = job, events
        self._waiting: list[tuple[str, float, int, int]] = []
        self.texts: dict[str, str] = {}
        self._client: Any = None
        self._sent = time.monotonic()
        self._off = job.tracking_uri is None or job.tracking_run_id is None

    def open(self) -> None:
        """Import MLflow before the first step: it takes two seconds, which would stop the steps later on."""
        if self._off:
            return
        try:
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self._job.tracking_uri)
        except Exception as error:
            self._give_up(error)

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
        texts, self.texts = self.texts, {}
        if self._off or not (waiting or texts):
            return
        try:
            from mlflow.entities import Metric

            for start in range(0, len(waiting), _BATCH):
                entries = [Metric(*values) for values in waiting[start : start + _BATCH]]
                self._client.log_batch(self._job.tracking_run_id, metrics=entries)
            for name, text in texts.items():
                self._client.log_text(self._job.tracking_run_id, text, name)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._off = True
        said = first_line(error)
        self._events.warn(f"MLflow at {self._job.tracking_uri} cannot be written, no more is logged there: {said}")
