"""Commands that run the pipeline or say what a run would do: run, plan, one per stage, init, config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import BudgetOption, ConfigFile, Data, FamilyOption, Json, MoreData, Overrides, Preset
from zen_pipeline.cli.rows import row_options
from zen_pipeline.cli.runs import print_run
from zen_pipeline.errors import ConfigError
from zen_pipeline.pipeline import STAGES

if TYPE_CHECKING:
    from zen_pipeline.pipeline.plan import StagePlan, TrainingPlan
    from zen_pipeline.workspace import RunRecord

RequireRelease = Annotated[
    bool, typer.Option("--require-release", help="Exit with 4 unless this run's model is the champion at its end.")
]
Recalibrate = Annotated[
    bool, typer.Option("--recalibrate", help="Measure this machine again and choose the sizes anew.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Fail when another run is building the same artifact.")]
Verify = Annotated[bool, typer.Option("--verify", help="Check the digest of every stored artifact that is used.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("run", help="Run the whole pipeline; what has not changed is taken from the store.")(
        _command("pipeline")
    )
    app.command()(plan)
    app.command()(init)
    config_app = typer.Typer(help="Settings.", no_args_is_help=True)
    config_app.command("show")(config_show)
    app.add_typer(config_app, name="config")
    for name, summary in STAGES.items():
        text = f"{summary} Runs the stages before it as far as needed."
        app.command(name, help=text, rich_help_panel="Stages")(_command(name))


def _command(target: str) -> Callable[..., None]:
    @row_options
    def run(
        preset: Preset = None,
        config: ConfigFile = None,
        data: Data = None,
        more: MoreData = None,
        budget: BudgetOption = None,
        family: FamilyOption = None,
        overrides: Overrides = None,
        require_release: RequireRelease = False,
        recalibrate: Recalibrate = False,
        no_wait: NoWait = False,
        verify: Verify = False,
        verbose: Verbose = False,
        json: Json = False,
        *,
        rows: dict[str, Any],
    ) -> None:
        resolved = common.settings(preset, config, common.corpus(data, more), budget, family, overrides, rows)
        common.show_logs(verbose=verbose)
        from flows.entry import run_flow
        from zen_pipeline.cli.failures import name_of
        from zen_pipeline.workspace import Workspace

        workspace = Workspace.find_or_create()
        before = {r.run_id for r in workspace.runs()} if json else set()
        try:
            record = run_flow(
                target,
                resolved,
                workspace,
                recalibrate=recalibrate,
                wait=not no_wait,
                verify=verify,
                progress=not json,
            )
        except Exception as error:
            mine = [r for r in workspace.runs() if r.run_id not in before] if json else []
            if mine:
                common.print_json({**run_result(mine[-1]), "error": name_of(error)})
            raise
        if json:
            common.print_json(run_result(record))
        else:
            print_run(record, workspace)
        if require_release:
            record.require_champion()

    return run


def run_result(record: RunRecord) -> dict[str, Any]:
    """What `zen run --json` prints."""
    stages = [s.model_dump(include={"name", "model", "status", "seconds", "artifact"}) for s in record.stages]
    primary = record.released[-1] if record.released else None
    released = {k: primary[k] for k in ("model", "version", "alias")} if primary else None
    return {
        "run_id": record.run_id,
        "seconds": round(common.seconds_since_start(), 2),
        "stages": stages,
        "released": released,
    }


@row_options
def plan(
    preset: Preset = None,
    config: ConfigFile = None,
    data: Data = None,
    more: MoreData = None,
    budget: BudgetOption = None,
    family: FamilyOption = None,
    overrides: Overrides = None,
    json: Json = False,
    *,
    rows: dict[str, Any],
) -> None:
    """Say for each stage whether it would run, what changed, and what it and its training are expected to take."""
    resolved = common.settings(preset, config, common.corpus(data, more), budget, family, overrides, rows)
    from zen_pipeline.pipeline.plan import make_plan, plan_training
    from zen_pipeline.workspace import Workspace

    workspace = Workspace.find_or_create()
    stages = make_plan(resolved, workspace)
    training = plan_training(resolved, stages, workspace)
    if json:
        found = {} if training is None else {"training": training.model_dump()}
        common.print_json({"stages": [s.model_dump() for s in stages], **found})
        return
    common.print_table(
        f"plan of the pipeline {resolved.name!r}",
        ["stage", "status", "why", "time", "memory", "disk"],
        [_plan_row(s) for s in stages],
        right=[3, 4, 5],
    )
    expected = [s.seconds for s in stages if s.status == "would_run" and s.seconds is not None]
    unknown = [s.step for s in stages if s.status == "would_run" and s.seconds is None]
    if expected or unknown:
        besides = f", and {', '.join(unknown)} (not measured here yet)" if unknown else ""
        common.show(f"expected: {common.duration(sum(expected))}{besides}")
    if training is not None:
        _print_training(training)


def _print_training(training: TrainingPlan) -> None:
    for reason in training.reasons:
        common.show(f"- {reason}")
    parts = [
        common.duration(training.seconds),
        f"{common.byte_size(training.memory_bytes)} of memory",
        f"{training.flops:.2g} FLOPs on {training.tokens:,.0f} tokens",
    ]
    if training.watt_hours is not None:
        parts.append(f"about {training.watt_hours:.2g} Wh, from pretrain.watts_per_core")
    if training.cost is not None:
        parts.append(f"a cost of {training.cost:.2g}")
    common.show(f"training: {', '.join(parts)}")


def _plan_row(stage: StagePlan) -> tuple[object, ...]:
    why = stage.reason + (f": {', '.join(stage.changed[:6])}" if stage.changed else "")
    if len(stage.changed) > 6:
        why += f" and {len(stage.changed) - 6} more"
    return (
        stage.step,
        "cached" if stage.status == "cached" else "would run",
        why,
        common.duration(stage.seconds),
        common.byte_size(stage.memory_bytes),
        common.byte_size(stage.disk_bytes),
    )


def init(
    data: Data = None,
    more: MoreData = None,
    folder: Annotated[Path, typer.Option(help="Where to write zen.yaml.")] = Path(),
    name: Annotated[str, typer.Option(help="The pipeline's name.")] = "zen",
    force: Annotated[bool, typer.Option("--force", help="Replace a zen.yaml that exists.")] = False,
) -> None:
    """Write a commented zen.yaml for your own project."""
    from zen_pipeline.cli.template import commented_config
    from zen_pipeline.config import load_config
    from zen_pipeline.files import write_atomically

    target = folder / common.PROJECT_FILE
    if target.exists() and not force:
        raise ConfigError(f"{target} exists: edit it, or replace it with --force")
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: make it first")
    text = commented_config(name=name, paths=common.corpus(data, more) or ["texts"])
    write_atomically(target, text)
    load_config(file=target)
    common.show(f"wrote {target}: put your text where `paths` says, then `zen plan` and `zen run`")


@row_options
def config_show(
    preset: Preset = None,
    config: ConfigFile = None,
    data: Data = None,
    more: MoreData = None,
    budget: BudgetOption = None,
    family: FamilyOption = None,
    overrides: Overrides = None,
    json: Json = False,
    *,
    rows: dict[str, Any],
) -> None:
    """Print every setting as a run would use it."""
    settings = common.settings(preset, config, common.corpus(data, more), budget, family, overrides, rows)
    resolved = settings.model_dump(mode="json", by_alias=True)
    if json:
        common.print_json(resolved)
        return
    common.print_yaml(resolved)
