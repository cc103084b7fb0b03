"""The chain: the stages in order, and the steps that they come to for the models of a pipeline.

A stage that works on models (training, evaluation, optimization, release) is one step for each; the others are one
step. Commands, flows, plans and records are derived from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from zen_pipeline.artifacts import step_name
from zen_pipeline.config import Config
from zen_pipeline.pipeline import STAGES
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.stage import Stage

STAGE_NAMES = tuple(STAGES)


@dataclass(frozen=True)
class Step:
    """The work of one stage, for one model where the stage works on models."""

    stage: Stage
    model: ModelSpec | None = None

    @property
    def name(self) -> str:
        """`validate`, `evaluate-chat`: unique in the chain."""
        return step_name(self.stage.name, self.model.name if self.model else None)

    def needs(self, config: Config) -> tuple[str, ...]:
        """Names of the steps whose artifacts it works on."""
        return self.stage.needs(config, self.model)


def load_stage(name: str) -> Stage:
    """The declaration of a stage, from its module.

    Raises:
        KeyError: there is no such stage.
    """
    if name not in STAGES:
        raise KeyError(name)
    stage: Stage = import_module(f"zen_pipeline.stages.{name}").STAGE
    return stage


def all_steps(config: Config) -> tuple[Step, ...]:
    """Every step of the chain, in an order in which each comes after what it needs."""
    stages = map(load_stage, STAGE_NAMES)
    return tuple(Step(stage, model) for stage in stages for model in (stage.models or _once)(config))


def steps_up_to(target: str, config: Config) -> tuple[Step, ...]:
    """The steps of one stage and those that they need, directly or not, in order.

    Raises:
        KeyError: there is no such stage.
    """
    load_stage(target)
    steps = all_steps(config)
    wanted = {step.name for step in steps if step.stage.name == target}
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.needs(config))
    return tuple(step for step in steps if step.name in wanted)


def _once(_config: Config) -> tuple[None]:
    return (None,)
