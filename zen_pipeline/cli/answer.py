"""Commands that put texts to a model, one answer for each line: translate and fill."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import common, completion
from zen_pipeline.cli.common import Json
from zen_pipeline.errors import ConfigError, DataError, StoreError

if TYPE_CHECKING:
    from zen_pipeline.serving.registry import ResolvedModel

_BATCH = 256  # lines that are answered before the bar moves
_ROW = re.compile(r"^row (\d+)")  # how an answerer names the row that it refuses

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="A registered model such as zen-translate@champion, or a folder; default: the "
                 "pipeline's own.", autocompletion=completion.models),
]  # fmt: skip
Text = Annotated[str | None, typer.Argument(help="One text; without it and --file, lines of standard input.")]
InFile = Annotated[Path | None, typer.Option("--file", help="A text file, one text in each line.")]
OutFile = Annotated[Path | None, typer.Option("-o", "--output", help="Write the answers there, one in each line.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(rich_help_panel="Models")(translate)
    app.command(rich_help_panel="Models")(fill)


def translate(
    text: Text = None,
    model: Model = "champion",
    to: Annotated[
        str | None, typer.Option("--to", help="Language to translate into, where the model writes several.")
    ] = None,
    file: InFile = None,
    output: OutFile = None,
    json: Json = False,
) -> None:
    """Translate a text, or every line of a file or of standard input."""
    target = {} if to is None else {"target_language": to}
    _answer(
        "translate", "translations", text, model, file, output, json=json, row=lambda line: {"text": line, **target}
    )


def fill(
    text: Text = None, model: Model = "champion", file: InFile = None, output: OutFile = None, json: Json = False
) -> None:
    """Fill in every [MASK] of a text, or of the lines of a file or of standard input."""
    _answer("fill", "texts", text, model, file, output, json=json, row=lambda line: {"prompt": line})


def _answer(
    command: str,
    key: str,
    text: str | None,
    model: str,
    file: Path | None,
    output: Path | None,
    *,
    json: bool,
    row: Callable[[str], Mapping[str, Any]],
) -> None:
    if text is not None and file is not None:
        raise ConfigError("a text and --file are both given: give one of them")
    lines = _lines(text, file)
    source = _resolved(model, command)
    asked = [number for number, line in enumerate(lines) if line.strip()]  # a blank line stays blank
    rows = {number + 1: row(lines[number]) for number in asked}
    made = _answers(source, rows, bar=not json and len(asked) > _BATCH)
    answers = [""] * len(lines)
    for number, answer in zip(asked, made, strict=True):
        answers[number] = answer
    if output is not None:
        _write(output, answers)
    if json:
        named = source.name and f"{source.name}/{source.version}"
        common.print_json({key: answers, "model": named or str(source.folder)})
    elif output is None:
        for answer in answers:
            common.show(answer)


def _lines(text: str | None, file: Path | None) -> list[str]:
    if text is not None:
        return [text]
    try:
        raw = sys.stdin.buffer.read() if file is None else file.read_bytes()
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file or 'standard input'} is not UTF-8 (byte {error.start}): convert it first") from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    # only line ends end a line: a form feed or U+2028 inside one does not
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def _resolved(model: str, command: str) -> ResolvedModel:
    """The model of this name; `champion` alone is the pipeline's own model that this command is for.

    Raises:
        ConfigError: there is none, or the named one does something else.
    """
    from zen_pipeline.serving.registry import resolve_model
    from zen_pipeline.tasks import TASKS, load_task

    kinds = [task.model for task in map(load_task, TASKS) if task.command == command]
    found = None
    for kind in kinds if model == "champion" else []:
        try:
            found = resolve_model(model, kind=kind)
        except ConfigError:
            if kind == kinds[-1]:
                raise
        else:
            break
    found = found or resolve_model(model)
    task = load_task(found.task)
    if task.command != command:
        raise ConfigError(f"{found.name or found.folder} does something else: use `zen {task.command}`")
    return found


def _answers(source: ResolvedModel, rows: Mapping[int, Mapping[str, Any]], *, bar: bool) -> list[str]:
    """One answer for each row, which has the number of its line.

    Raises:
        DataError: a row cannot be answered; the message names its line.
    """
    from zen_pipeline.progress import progress
    from zen_pipeline.tasks import load_task

    answerer = load_task(source.task).load(source.folder)
    answers: list[str] = []
    numbers = list(rows)
    with progress("texts answered", bar=bar) as tell:
        for start in range(0, len(rows), _BATCH):
            part = numbers[start : start + _BATCH]
            try:
                answers += answerer.answer([rows[number] for number in part], {})
            except DataError as error:
                raise DataError(_by_line(str(error), part)) from None
            tell(len(answers), len(rows))
    return answers


def _by_line(message: str, numbers: Sequence[int]) -> str:
    """The message about a row of a batch, with the number of its line instead."""
    found = _ROW.match(message)
    return message if found is None else f"line {numbers[int(found[1])]}{message[found.end() :]}"


def _write(output: Path, answers: Sequence[str]) -> None:
    from zen_pipeline.files import write_atomically

    try:
        write_atomically(output, "".join(" ".join(answer.splitlines()) + "\n" for answer in answers))
    except OSError as error:
        raise StoreError(f"cannot write {output}: {error.strerror}") from error
