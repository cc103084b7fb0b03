"""What a released model takes and gives, in MLflow's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from zen_pipeline.tasks.base import Task


class Parameters(BaseModel):
    """How to generate, as in `zen chat`; others are ignored, as by MLflow itself."""

    model_config = ConfigDict(allow_inf_nan=False)

    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.0, ge=0.0, le=100.0)
    seed: int = Field(0, ge=0, lt=2**63)


def signature(task: Task) -> ModelSignature:
    """What a released model takes and gives; MLflow checks every request against it.

    Nothing is required here, so that what is missing is said in our words. All fields are texts, but `messages`, a
    conversation that ends with the user's turn.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    turn = Object([Property("role", DataType.string), Property("content", DataType.string)])
    kinds = {name: Array(turn) if name == "messages" else DataType.string for name in task.columns}
    columns = [ColSpec(kind, name, required=False) for name, kind in kinds.items()]
    types = {int: DataType.long, float: DataType.double}
    params = [ParamSpec(name, types[type(value)], value) for name, value in Parameters().model_dump().items()]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.string, task.output)]), ParamSchema(params))
