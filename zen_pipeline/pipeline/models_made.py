"""Which models a pipeline makes: one for each task that its family can learn."""

from __future__ import annotations

from zen_pipeline.config import Config
from zen_pipeline.pipeline.model_specs import ModelSpec, family_of
from zen_pipeline.tasks import TASKS, load_task


def models_of(config: Config) -> tuple[ModelSpec, ...]:
    """The models of this pipeline, each after the one that it starts from.

    Raises:
        ConfigError: a given model is of a family that is not known, or of another one than is set.
    """
    family = family_of(config)
    tasks = [task for task in map(load_task, TASKS) if family in task.families]
    names = {task.name: task.model for task in tasks}
    return tuple(ModelSpec(task.model, task.name, family, names.get(task.starts_from or "")) for task in tasks)


def pretrained(config: Config) -> tuple[ModelSpec, ...]:
    """The models that are pretrained."""
    return tuple(model for model in models_of(config) if model.start is None)


def finetuned(config: Config) -> tuple[ModelSpec, ...]:
    """The models that are fine-tuned from another one."""
    return tuple(model for model in models_of(config) if model.start is not None)
