"""A released model as MLflow's pyfunc: rows of fields in, texts out."""

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
from zen_pipeline.tasks import load_task

if TYPE_CHECKING:
    import pandas as pd


class InvalidRequest(DataError, MlflowException):  # type: ignore[misc]  # MLflow has no types
    """A request that cannot be answered; MLflow's server gives its message as 400, not a traceback as 500."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)


class ZenModel(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """Loads the deployed form of a release and answers with it, as its task answers."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the tokenizer."""
        bundle = Path(context.artifacts["model"])
        release = read_release(bundle)
        self.task = load_task(release.task)
        self.answerer = self.task.load(bundle / release.default)

    # MLflow finds these argument names by inspection and reads type hints as a request's schema: the signature is ours.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One text per row.

        Args:
            context: not used; the model is loaded already.
            model_input: a frame or a list of rows with the fields of the model's task, such as `prompt`.
            params: `max_new_tokens`, `temperature` (0 takes the likeliest token), `seed`.

        Raises:
            InvalidRequest: a row lacks what the task needs, or is too long, or a parameter is out of range.
        """
        settings = _checked(params)
        rows = _rows(model_input, self.task.columns)
        try:
            return self.answerer.answer(rows, settings.model_dump())
        except ZenError as error:
            raise InvalidRequest(str(error)) from None


def _rows(model_input: pd.DataFrame | Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows of a frame, or of a list of mappings; a list of texts in the first field of one row is as many rows.

    MLflow leaves out the columns that the signature does not name, and all of them where none is known.
    """
    if isinstance(model_input, Sequence):
        named = all(isinstance(row, Mapping) and set(columns) & set(row) for row in model_input)
        records: list[Any] = list(model_input)
    else:
        named = bool(set(columns) & set(model_input.columns))
        records = model_input.to_dict(orient="records")
    if not named:
        raise InvalidRequest(f"expected {_shapes(columns)}; found none of these fields")
    first = columns[0]
    rows: list[Mapping[str, Any]] = []
    for record in records:
        texts = record.get(first)
        texts = texts.tolist() if isinstance(texts, np.ndarray) else texts
        rows += [{**record, first: one} for one in texts] if isinstance(texts, list) else [record]
    return rows


def _shapes(columns: Sequence[str]) -> str:
    first = columns[0]
    said = f'rows such as [{{"{first}": "…"}}], a frame with the column `{first}`, or {{"{first}": ["…", "…"]}}'
    if "messages" in columns:
        said += '; or [{"messages": [{"role": "user", "content": "…"}]}]'
    return said


def _checked(params: Mapping[str, Any] | None) -> Parameters:
    try:
        return Parameters.model_validate(params or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(f"params: {first['loc'][0]} is {first['input']}: {first['msg']}") from None
