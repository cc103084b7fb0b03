"""The sequences that a job is trained on, and the task that makes examples of them."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from zen_pipeline.training.data import Conversations, Source, TokenWindows
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.pairs import Pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.training.data import Batch


class Objective(Protocol):
    """What the training loop asks of a task; see `zen_pipeline.tasks.base.Task`."""

    makes_examples: bool

    def transform(self, batch: Batch, generator: np.random.Generator, options: Mapping[str, Any]) -> Batch:
        """Make examples of windows of text."""

    def say(
        self, job: TrainingJob, source: Source, tokenizer: Tokenizer
    ) -> Callable[[Any], list[dict[str, str]]] | None:
        """A function that gives samples of a model; None where there is nothing to begin with."""


def load_objective(name: str) -> Objective:
    """The task of a job, by its name; tasks stand above the training loop, which knows them by this alone."""
    task: Objective = import_module(f"zen_pipeline.tasks.{name}").TASK
    return task


def open_source(job: TrainingJob) -> Source:
    """The data of a job.

    Raises:
        DataError: there is not enough for one sequence.
    """
    sizes = {"batch": job.batch, "seed": job.seed, "micro": job.micro_batch}
    if job.data.kind == "pairs":
        return Pairs(job.data, **sizes)
    if job.data.kind == "conversations":
        return Conversations(job.data, **sizes)
    task = load_objective(job.task)
    transform = partial(_examples, task, job.options) if task.makes_examples else None
    return TokenWindows(job.data, context=job.context, transform=transform, **sizes)


def _examples(task: Objective, options: Mapping[str, Any], batch: Batch, generator: np.random.Generator) -> Batch:
    return task.transform(batch, generator, options)
