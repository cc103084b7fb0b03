"""`zen models`: what is registered, and which version answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zen_pipeline.cli import common, completion
from zen_pipeline.cli.common import Json

app = typer.Typer(help="Registered models.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="champion, zen-chat@champion, zen-base/3, or a folder.", autocompletion=completion.models)
]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List every registered version with its alias and the figure that it is compared by."""
    from zen_pipeline.serving import registry
    from zen_pipeline.workspace import Workspace

    models = registry.list_models(Workspace.find())
    if json:
        common.print_json({"models": [m.model_dump() for m in models]})
        return
    rows = [(m.name, m.version, ", ".join(m.aliases), m.created, str(m.score or "")) for m in models]
    common.print_table("registered models", ["model", "version", "alias", "created", "figure"], rows)


@app.command()
def show(name: Name = "champion", json: Json = False) -> None:
    """Show one version: figures, why it has its alias, and what it was made from, back to the sources."""
    from zen_pipeline.serving import registry
    from zen_pipeline.workspace import Workspace

    description = registry.show_model(name, Workspace.find())
    if json:
        common.print_json(description)
        return
    common.print_yaml(description)


@app.command()
def promote(name: Annotated[str, typer.Argument(help="A version, such as zen-chat/3.")], json: Json = False) -> None:
    """Make a version the champion, whatever its figures."""
    from zen_pipeline.serving import registry
    from zen_pipeline.workspace import Workspace

    champion = registry.promote(name, Workspace.find())
    _report(champion.name, champion.version, json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="A registered model, such as zen-chat.")], json: Json = False
) -> None:
    """Make the version champion again that was champion before the present one."""
    from zen_pipeline.serving import registry
    from zen_pipeline.workspace import Workspace

    champion = registry.rollback(name, Workspace.find())
    _report(champion.name, champion.version, json)


@app.command()
def export(
    name: Name,
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    format: Annotated[
        str, typer.Option(help="hf: a Hugging Face folder with float weights; gguf: one file for llama.cpp.")
    ] = "hf",
    json: Json = False,
) -> None:
    """Write a model as a folder that other tools open."""
    from zen_pipeline.serving import registry
    from zen_pipeline.workspace import Workspace

    folder = registry.export(name, target, format=format, workspace=Workspace.find())
    if json:
        common.print_json({"folder": str(folder)})
    else:
        common.show(str(folder))


def _report(name: str, version: str, json: bool) -> None:
    if json:
        common.print_json({"model": name, "version": version, "alias": "champion"})
    else:
        common.show(f"{name}/{version} is champion")
