"""The stages of the pipeline, in order.

`STAGES` costs nothing to import, so the command line can list them; `load_stage` imports the declaration of one stage
(`zen_pipeline.pipeline.stage.Stage`) from its module when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zen_pipeline.pipeline.stage import Stage

STAGES = {
    "collect": "Read the sources into records.",
    "validate": "Clean, judge and split the records.",
    "resolve": "Turn the budget into sizes, steps and precision.",
    "tokenize": "Train the tokenizer and write the token shards.",
    "embed": "Train word vectors.",
    "pretrain": "Train the base model.",
    "finetune": "Teach the base model to answer.",
    "evaluate": "Measure both models on the test split.",
    "optimize": "Make the models smaller, if they stay as good.",
    "release": "Register the models, and promote what is better.",
}
STAGE_NAMES = tuple(STAGES)


def load_stage(name: str) -> Stage:
    """The stage of this name.

    Raises:
        KeyError: there is no such stage.
    """
    if name not in STAGES:
        raise KeyError(name)
    stage: Stage = import_module(f"zen_pipeline.stages.{name}").STAGE
    return stage
