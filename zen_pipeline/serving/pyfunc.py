"""A released model as MLflow's pyfunc: prompts in, texts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import ValidationError

from zen_pipeline.errors import DataError, ZenError
from zen_pipeline.serving.bundle import read_release
from zen_pipeline.serving.signature import Parameters

if TYPE_CHECKING:
    import pandas as pd

    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.tasks.chat import ChatFormat


_SHAPES = 'rows such as [{"prompt": "…"}], a frame with the column `prompt`, or {"prompt": ["…", "…"]}'
_CHAT_SHAPES = f'{_SHAPES}; or [{{"messages": [{{"role": "user", "content": "…"}}]}}]'


class InvalidRequest(DataError, MlflowException):  # type: ignore[misc]  # MLflow has no types
    """A request that cannot be answered; MLflow's server gives its message as 400, not a traceback as 500."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)


class ZenModel(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """Loads the deployed form of a release and continues prompts with it, one after the other."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the tokenizer."""
        from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
        from zen_pipeline.models.folder import load_model
        from zen_pipeline.tasks.chat import chat_format

        bundle = Path(context.artifacts["model"])
        release = read_release(bundle)
        folder = bundle / release.default
        self.tokenizer = Tokenizer.load(folder)
        self.chat = chat_format(folder) if release.kind == "chat" else None
        self.model = load_model(folder)

    # MLflow finds these argument names by inspection and reads type hints as a request's schema: the signature is ours.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One generated text per row.

        Args:
            context: not used; the model is loaded already.
            model_input: a frame or a list of rows with `prompt`, or for a chat model `messages`.
            params: `max_new_tokens`, `temperature` (0 takes the likeliest token), `seed`.

        Raises:
            InvalidRequest: a row has neither a prompt nor messages, or is too long, or a parameter is out of range.
        """
        settings = _checked(params)
        rows = _rows(model_input, _SHAPES if self.chat is None else _CHAT_SHAPES)
        try:
            return [self._answer(row, number, settings) for number, row in enumerate(rows)]
        except ZenError as error:
            raise InvalidRequest(str(error)) from None

    def _answer(self, row: Mapping[str, Any], number: int, settings: Parameters) -> str:
        from zen_pipeline.inference.generate import generate

        prompt, context = self._prompt_ids(row, number), self.model.config.max_position_embeddings
        if len(prompt) >= context:
            raise DataError(f"row {number}: the prompt has {len(prompt)} tokens, the model's context is {context}")
        writes: Tokenizer | ChatFormat = self.chat or self.tokenizer
        ids = generate(self.model, prompt, stop_ids=writes.stop_ids, **settings.model_dump())
        return writes.decode(list(ids))

    def _prompt_ids(self, row: Mapping[str, Any], number: int) -> list[int]:
        prompt, messages = row.get("prompt"), _turns(row.get("messages"))
        if self.chat is None and isinstance(prompt, str):
            return [self.tokenizer.start_id, *self.tokenizer.encode(prompt)]
        if self.chat is not None and isinstance(prompt, str):
            messages = messages or [{"role": "user", "content": prompt}]
        if self.chat is not None and messages:
            return self.chat.prompt(messages)
        wanted = "a text in `prompt`" if self.chat is None else "a text in `prompt` or turns in `messages`"
        raise DataError(f"row {number}: expected {wanted}, found {', '.join(sorted(map(str, row))) or 'nothing'}")


def _turns(value: Any) -> list[dict[str, str]]:
    # a frame holds a list of turns as a list or as an array; an absent one is None or NaN
    turns = value.tolist() if hasattr(value, "tolist") else value
    return [dict(turn) for turn in turns] if isinstance(turns, list) else []


def _rows(model_input: pd.DataFrame | Sequence[Mapping[str, Any]], shapes: str) -> list[Mapping[str, Any]]:
    """The rows of a frame, or of a list of mappings; a list of prompts in one row is as many rows.

    MLflow leaves out the columns that the signature does not name, and all of them where none is known.
    """
    if isinstance(model_input, Sequence):
        named = all(isinstance(row, Mapping) and {"prompt", "messages"} & set(row) for row in model_input)
        records: list[Any] = list(model_input)
    else:
        named = bool({"prompt", "messages"} & set(model_input.columns))
        records = model_input.to_dict(orient="records")
    if not named:
        raise InvalidRequest(f"expected {shapes}; found neither `prompt` nor `messages`")
    rows: list[Mapping[str, Any]] = []
    for record in records:
        prompts = record.get("prompt")
        prompts = prompts.tolist() if isinstance(prompts, np.ndarray) else prompts
        rows += [{"prompt": one} for one in prompts] if isinstance(prompts, list) else [record]
    return rows


def _checked(params: Mapping[str, Any] | None) -> Parameters:
    try:
        return Parameters.model_validate(params or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(f"params: {first['loc'][0]} is {first['input']}: {first['msg']}") from None
