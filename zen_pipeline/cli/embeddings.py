"""`zen embeddings`: look at the word vectors of the last run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import Json, Pipeline
from zen_pipeline.errors import DataError

if TYPE_CHECKING:
    from zen_pipeline.artifacts import ArtifactRef

app = typer.Typer(help="Word vectors.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `similar` a subcommand although it is the only one."""


def _why_none(ref: ArtifactRef | None) -> str | None:
    """Why there are no word vectors; None when there are."""
    if ref is None:
        return "the embedding stage has not run here"
    return ref.skipped or ref.summary.get("no_word_vectors")


@app.command()
def similar(
    word: Annotated[str, typer.Argument(help="A word of the corpus.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many neighbours.")] = 10,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Show the words whose vectors are nearest by cosine."""
    from zen_pipeline.embeddings.vectors import WordVectors
    from zen_pipeline.workspace import Workspace

    workspace = Workspace.find()
    pipeline = common.pipeline_or_last(workspace, pipeline)
    fingerprint = workspace.last_fingerprint(pipeline, "embed")
    ref = workspace.store.find("embed", fingerprint) if fingerprint else None
    reason = _why_none(ref)
    if ref is None or reason is not None:
        raise DataError(f"the pipeline {pipeline!r} has no word vectors ({reason}): run `zen embed`")
    neighbours = WordVectors.load(ref.path).similar(word, count)
    if json:
        common.print_json({"word": word, "neighbours": [{"word": w, "cosine": round(c, 4)} for w, c in neighbours]})
        return
    common.print_table(f"nearest to {word!r}", ["word", "cosine"], [(w, f"{c:.3f}") for w, c in neighbours], right=[1])
