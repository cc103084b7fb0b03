"""Commands about the workspace and the machine: data, gc, ui, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import Json
from zen_pipeline.errors import DataError

if TYPE_CHECKING:
    from zen_pipeline.artifacts import ArtifactRef
    from zen_pipeline.workspace import Workspace

Pipeline = Annotated[str, typer.Option(help="The pipeline's name.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    data_app = typer.Typer(help="The corpus of the last run.", no_args_is_help=True)
    data_app.command("show")(data_show)
    data_app.command("aside")(data_aside)
    app.add_typer(data_app, name="data")
    app.command()(gc)
    app.command()(ui)
    app.command()(doctor)


def _last(workspace: Workspace, pipeline: str, stage: str) -> ArtifactRef:
    fingerprint = workspace.last_fingerprint(pipeline, stage)
    ref = workspace.store.find(stage, fingerprint) if fingerprint else None
    if ref is None:
        raise DataError(f"the pipeline {pipeline!r} has no {stage} artifact here: run `zen {stage}`")
    return ref


def data_show(
    pipeline: Pipeline = "zen",
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="How many records.")] = 5,
    json: Json = False,
) -> None:
    """Show how much text was kept, how it was split, and some of its records."""
    import pyarrow.parquet as pq

    from zen_pipeline.workspace import Workspace

    ref = _last(Workspace.find(), pipeline, "validate")
    file = pq.ParquetFile(ref.path / "records.parquet")
    batch = next(file.iter_batches(max(count, 1)), None)
    records = batch.to_pylist()[:count] if batch is not None else []
    if json:
        common.print_json({"artifact": ref.folder, "summary": ref.summary, "records": records})
        return
    import yaml

    print(yaml.safe_dump(ref.summary, sort_keys=False, allow_unicode=True))
    rows = [(r["id"], r["group"], r["split"], r["text"][:200]) for r in records]
    common.print_table("records", ["id", "group", "split", "text"], rows)


def data_aside(
    pipeline: Pipeline = "zen",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many records.")] = 20,
    json: Json = False,
) -> None:
    """Show records that were set aside, and why."""
    import pyarrow.parquet as pq

    from zen_pipeline.workspace import Workspace

    ref = _last(Workspace.find(), pipeline, "validate")
    rows = pq.read_table(ref.path / "set_aside.parquet").slice(0, count).to_pylist()
    if json:
        common.print_json({"records": rows})
        return
    common.print_table("set aside", ["id", "reason", "excerpt"], [(r["id"], r["reason"], r["excerpt"]) for r in rows])


def gc(
    keep_runs: Annotated[int, typer.Option(min=0, help="Keep what the last so many runs of each pipeline used.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove old artifacts; what a registered model, a running stage or the last runs refer to is kept."""
    from zen_pipeline.stages.collect_garbage import collect_garbage
    from zen_pipeline.workspace import Workspace

    removed = collect_garbage(Workspace.find(), keep_runs=keep_runs, dry_run=dry_run)
    freed = sum(r.bytes for r in removed)
    if json:
        common.print_json({"removed": [r.model_dump() for r in removed], "bytes": freed, "dry_run": dry_run})
        return
    rows = [(r.folder, common.byte_size(r.bytes), r.what) for r in removed]
    common.print_table("would be removed" if dry_run else "removed", ["folder", "size", "what"], rows, right=[1])
    print(f"{common.byte_size(freed)} {'would be freed' if dry_run else 'freed'}")


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow UI.")] = 5000,
    prefect: Annotated[bool, typer.Option("--prefect", help="Start the Prefect UI too (port 4200).")] = False,
) -> None:
    """Open the MLflow UI on this workspace, and the Prefect UI with --prefect, until Ctrl-C."""
    from zen_pipeline.cli.ui import serve
    from zen_pipeline.workspace import Workspace

    serve(Workspace.find(), port=port, prefect=prefect)


def doctor(json: Json = False) -> None:
    """Say what this machine can do, and what is misconfigured."""
    from zen_pipeline import machine

    facts, problems = machine.describe(), machine.problems()
    if json:
        common.print_json({**facts.model_dump(), "problems": [p.model_dump() for p in problems]})
        return
    import yaml

    print(yaml.safe_dump(facts.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    for problem in problems:
        print(f"! {problem.what}\n  {problem.why}\n  -> {problem.remedy}")
    if not problems:
        print("nothing is misconfigured")
