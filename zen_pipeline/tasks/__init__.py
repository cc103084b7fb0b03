"""Tasks: what a model can be taught. Each is one file behind the interface of `zen_pipeline.tasks.base`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zen_pipeline.tasks.base import Task

# Every task and its module, after the one whose model it starts from.
TASKS = {
    "language": "zen_pipeline.tasks.language",
    "masked": "zen_pipeline.tasks.masked",
    "spans": "zen_pipeline.tasks.spans",
    "translation": "zen_pipeline.tasks.translation",
    "chat": "zen_pipeline.tasks.chat",
}


def load_task(name: str) -> Task:
    """The task of this name.

    Raises:
        KeyError: there is no such task.
    """
    task: Task = import_module(TASKS[name]).TASK
    return task
