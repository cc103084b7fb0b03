"""The stages of the pipeline, in order.

`STAGE_NAMES` costs nothing to import; `load_stage` imports one stage's module when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zen_pipeline.stages.base import Stage

STAGE_NAMES = (
    "collect",
    "validate",
    "resolve",
    "tokenize",
    "embed",
    "pretrain",
    "finetune",
    "evaluate",
    "optimize",
    "release",
)


def load_stage(name: str) -> Stage:
    """The stage of this name.

    Raises:
        KeyError: there is no such stage.
    """
    if name not in STAGE_NAMES:
        raise KeyError(name)
    stage: Stage = import_module(f"zen_pipeline.stages.{name}").STAGE
    return stage
