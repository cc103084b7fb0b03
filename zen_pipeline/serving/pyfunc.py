"""A released model as MLflow's pyfunc: prompts in, texts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.pyfunc import PythonModel, PythonModelContext

from zen_pipeline.errors import DataError
from zen_pipeline.serving.bundle import read_release
from zen_pipeline.serving.signature import DEFAULTS

if TYPE_CHECKING:
    import pandas as pd

    from zen_pipeline.corpus.tokenizer import Tokenizer
    from zen_pipeline.tasks.chat import ChatFormat


class ZenModel(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """Loads the deployed form of a release and continues prompts with it, one after the other."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the tokenizer."""
        from zen_pipeline.corpus.tokenizer import Tokenizer
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
            DataError: a row has neither a prompt nor messages.
        """
        settings = {**DEFAULTS, **(params or {})}
        return [self._answer(row, number, settings) for number, row in enumerate(_rows(model_input))]

    def _answer(self, row: Mapping[str, Any], number: int, settings: Mapping[str, Any]) -> str:
        from zen_pipeline.inference.generate import generate

        prompt, context = self._prompt_ids(row, number), self.model.config.max_position_embeddings
        if len(prompt) >= context:
            raise DataError(f"row {number}: the prompt has {len(prompt)} tokens, the model's context is {context}")
        writes: Tokenizer | ChatFormat = self.chat or self.tokenizer
        ids = generate(
            self.model,
            prompt,
            max_new_tokens=int(settings["max_new_tokens"]),
            temperature=float(settings["temperature"]),
            seed=int(settings["seed"]),
            stop_ids=writes.stop_ids,
        )
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


def _rows(model_input: pd.DataFrame | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of a frame, or of a list of mappings."""
    if isinstance(model_input, Sequence):
        return list(model_input)
    if not {"prompt", "messages"} & set(model_input.columns):
        raise DataError("expected a column `prompt` or `messages`, found neither")
    return [{str(name): value for name, value in row.items()} for row in model_input.to_dict(orient="records")]
