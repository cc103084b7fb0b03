"""The request that evaluation, optimization and release put to a model's task."""

from __future__ import annotations

from zen_pipeline.config import Config
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.stage import Inputs
from zen_pipeline.tasks.base import EvaluationRequest
from zen_pipeline.training.resolved import Resolved


def evaluation_request(config: Config, inputs: Inputs, spec: ModelSpec) -> EvaluationRequest:
    """Where a task finds what it measures a model on.

    Args:
        config: the whole configuration.
        inputs: artifacts of `validate`, `resolve`, `tokenize` and the model's training, by step.
        spec: the model.
    """
    return EvaluationRequest(
        config=config,
        records=inputs["validate"].path,
        tokens=inputs["tokenize"].path,
        model=inputs[spec.training].path,
        sizes=Resolved.load(inputs["resolve"].path).evaluation,
    )
