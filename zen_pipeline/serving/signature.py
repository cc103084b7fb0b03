"""What a released model takes and gives, in MLflow's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


class Parameters(BaseModel):
    """How to generate, as in `zen chat`; others are ignored, as by MLflow itself."""

    model_config = ConfigDict(allow_inf_nan=False)

    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.0, ge=0.0, le=100.0)
    seed: int = Field(0, ge=0, lt=2**63)


def signature(kind: Literal["base", "chat"]) -> ModelSignature:
    """What a released model takes and gives; MLflow checks every request against it.

    Nothing is required here, so that what is missing is said in our words.

    A base model takes `prompt`. A chat model takes `prompt`, which is one question, or `messages`, a conversation
    that ends with the user's turn.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    chat = kind == "chat"
    columns = [ColSpec(DataType.string, "prompt", required=False)]
    if chat:
        turn = Object([Property("role", DataType.string), Property("content", DataType.string)])
        columns.append(ColSpec(Array(turn), "messages", required=False))
    types = {int: DataType.long, float: DataType.double}
    params = [ParamSpec(name, types[type(value)], value) for name, value in Parameters().model_dump().items()]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.string, "text")]), ParamSchema(params))
