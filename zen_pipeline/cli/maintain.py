"""Commands about the workspace and the machine: gc, ui, server, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import Json


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(gc)
    app.command()(ui)
    app.command()(server)
    app.command()(doctor)


def gc(
    keep_runs: Annotated[int, typer.Option(min=0, help="Keep what the last so many runs of each pipeline used.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove old artifacts; what a registered model, a running stage or the last runs refer to is kept."""
    from zen_pipeline.pipeline.garbage import collect_garbage
    from zen_pipeline.workspace import Workspace

    removed = collect_garbage(Workspace.find(), keep_runs=keep_runs, dry_run=dry_run)
    freed = sum(r.bytes for r in removed)
    if json:
        common.print_json({"removed": [r.model_dump() for r in removed], "bytes": freed, "dry_run": dry_run})
        return
    rows = [(r.folder, common.byte_size(r.bytes), r.what) for r in removed]
    common.print_table("would be removed" if dry_run else "removed", ["folder", "size", "what"], rows, right=[1])
    common.show(f"{common.byte_size(freed)} {'would be freed' if dry_run else 'freed'}")


MlflowPort = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the MLflow UI.")]
PrefectPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect UI.")]


def ui(
    port: MlflowPort = 5000,
    prefect: Annotated[bool, typer.Option("--prefect", help="Start the Prefect UI too.")] = False,
    prefect_port: PrefectPort = 4200,
) -> None:
    """Open the MLflow UI on this workspace, and the Prefect UI with --prefect, until Ctrl-C."""
    from zen_pipeline.cli.ui import serve_pages
    from zen_pipeline.workspace import Workspace

    serve_pages(Workspace.find(), port=port, prefect=prefect, prefect_port=prefect_port)


def server(port: MlflowPort = 5000, prefect_port: PrefectPort = 4200) -> None:
    """Run what is on a schedule, with the MLflow and Prefect UIs, until Ctrl-C; deploys ./prefect.yaml first."""
    from zen_pipeline.cli.ui import serve_schedules
    from zen_pipeline.workspace import Workspace

    serve_schedules(Workspace.find_or_create(), port=port, prefect_port=prefect_port)


def doctor(json: Json = False) -> None:
    """Say what this machine can do, and what is misconfigured."""
    from zen_pipeline import machine

    facts, problems = machine.describe(), machine.problems()
    if json:
        common.print_json({**facts.model_dump(), "problems": [p.model_dump() for p in problems]})
        return
    common.print_yaml(facts.model_dump(mode="json"))
    for problem in problems:
        common.show(f"! {problem.what}\n  {problem.why}\n  -> {problem.remedy}")
    if not problems:
        common.show("nothing is misconfigured")
