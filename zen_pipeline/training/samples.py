"""What the model says while it is being trained: a few texts at each validation, always from the same beginnings."""

# mypy: allow-subclassing-any

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
from torch.distributed.tensor import DTensor
from typing_extensions import override

from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.files import read_json_lines
from zen_pipeline.training.data import Source
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.sources import load_objective
from zen_pipeline.training.step_lines import StepLines

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.training.callbacks import Recorder
    from zen_pipeline.training.processes import Processes

SAMPLES = "samples.jsonl"
_KEPT = ("prompt", "text", "reference")
SHARE = 0.01  # of the training time, at most, once the first ones are written


class Sampler(pl.Callback):
    """Writes samples at each validation to `samples.jsonl` and to MLflow, while they take little of the time.

    Sharded weights are on no device as a whole: nothing is written then.

    Args:
        job: what is trained.
        source: whose held-out sequences are begun with.
        recorder: counts the time that it takes, and sends to MLflow.
        path: of the file; None: another process writes it.
        processes: all of them sample or none.
    """

    def __init__(
        self, job: TrainingJob, source: Source, recorder: Recorder, path: Path | None, processes: Processes
    ) -> None:
        self._job, self._recorder, self._processes = job, recorder, processes
        self._say: Callable[[Any], list[Any]] | None = None
        if job.tokenizer is not None:
            self._say = load_objective(job.task).say(job, source, Tokenizer.load(Path(job.tokenizer)))
        self._lines = StepLines(path, recorder.warn) if path is not None else None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if any(isinstance(parameter, DTensor) for parameter in pl_module.parameters()):
            self._say = None
        if self._lines is not None:
            self._lines.open_after(trainer.global_step)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if "validation_loss" not in cast(Any, pl_module).last:
            return
        due = self._processes.of_first(self._say is not None and self._affordable())
        if not due or self._say is None:
            return
        began = time.perf_counter()
        model: FamilyModel = cast(Any, pl_module).model.eval()
        try:
            said = self._say(model)
        except Exception as error:
            self._say = None
            self._recorder.warn(f"no samples are written, since that failed: {type(error).__name__}: {error}")
            return
        finally:
            model.train()
        if self._lines is not None:
            for sample in said:
                self._lines.append({"step": step, **{name: getattr(sample, name) for name in _KEPT}})
            self._recorder.log_text("samples.txt", as_text(self._lines.path))
        self._recorder.count("sample", time.perf_counter() - began)

    @override
    def teardown(self, *_: Any, **__: Any) -> None:
        if self._lines is not None:
            self._lines.close()

    def _affordable(self) -> bool:
        """True if one more time would leave it within its share; the first time nobody knows what it costs."""
        totals = self._recorder.totals
        spent, times = totals["sample_seconds"], totals["sample_times"]
        return not times or spent * (times + 1) / times <= SHARE * totals["seconds"]


def as_text(path: Path) -> str:
    """The file of samples for people: what was said after each validation, newest first."""
    steps: dict[int, list[str]] = {}
    for line in read_json_lines(path, missing_ok=True):
        steps.setdefault(line["step"], []).append(f"{line['prompt']} ⟶ {line['text']}")
    blocks = [f"=== after step {step} ===\n\n" + "\n\n".join(texts) for step, texts in reversed(steps.items())]
    return "\n\n".join(blocks) + "\n"
