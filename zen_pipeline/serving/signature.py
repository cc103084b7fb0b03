"""What a released model takes and gives, in MLflow's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

DEFAULTS = {"max_new_tokens": 128, "temperature": 0.0, "seed": 0}


def signature(kind: Literal["base", "chat"]) -> ModelSignature:
    """What a released model takes and gives; MLflow checks every request against it.

    A base model takes `prompt`. A chat model takes `prompt`, which is one question, or `messages`, a conversation
    that ends with the user's turn.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    chat = kind == "chat"
    columns = [ColSpec(DataType.string, "prompt", required=not chat)]
    if chat:
        turn = Object([Property("role", DataType.string), Property("content", DataType.string)])
        columns.append(ColSpec(Array(turn), "messages", required=False))
    types = {int: DataType.long, float: DataType.double}
    params = [ParamSpec(name, types[type(value)], value) for name, value in DEFAULTS.items()]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.string, "text")]), ParamSchema(params))
