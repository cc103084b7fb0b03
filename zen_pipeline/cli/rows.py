"""The options that say what the rows of the user's files are: `--text`, `--label`, `--kind`, `--no-header`, …"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

PANEL = "What the rows are"


def _option(*names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=PANEL)


_Text = Annotated[str | None, _option("--text", text="The field or column that holds the text.")]
_Label = Annotated[str | None, _option("--label", text="The field that holds the label of a text.")]
_Source = Annotated[str | None, _option("--source", text="The field that holds the text to translate.")]
_Target = Annotated[str | None, _option("--target", text="The field that holds its translation.")]
_Kind = Annotated[
    str | None,
    _option("--kind", text="What every row is: document, chat, preference, translation, qa or classification."),
]
_NoHeader = Annotated[
    bool, _option("--no-header", text="The first line of tables is a row as well; the columns are named 1, 2, 3, …")
]
_OPTIONS = {"text": _Text, "label": _Label, "source": _Source, "target": _Target, "kind": _Kind, "no_header": _NoHeader}
_DEFAULTS = {"no_header": False}


def row_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options; it gets the settings of a source that they stand for as its argument `rows`."""

    @wraps(command)
    def with_options(*args: Any, **given: Any) -> None:
        command(*args, rows=_settings({name: given.pop(name) for name in _OPTIONS}), **given)

    signature = inspect.signature(command, eval_str=True)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "rows"]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=option)
        for name, option in _OPTIONS.items()
    ]
    parameters = [*kept, *options]
    vars(with_options)["__signature__"] = signature.replace(parameters=parameters)
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    fields = {name: given[name] for name in ("label", "source", "target") if given[name] is not None}
    settings = {"text_column": given["text"], "kind": given["kind"], "fields": fields or None}
    return {name: value for name, value in settings.items() if value is not None} | (
        {"header": False} if given["no_header"] else {}
    )
