"""What runs came to: the lines at the end of a run, and the commands runs and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import Json
from zen_pipeline.errors import DataError
from zen_pipeline.terminal import print_json, print_table, show

if TYPE_CHECKING:
    from zen_pipeline.pipeline.run_summary import RunSummary
    from zen_pipeline.workspace import RunRecord, Workspace

_LONGEST_SAMPLE = 160  # characters of one side; two lines of a terminal


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(runs)
    app.command()(report)


def print_run(record: RunRecord, workspace: Workspace) -> None:
    """The end of a run: its stages, the deciding figures, what was released, the report, samples, the next command."""
    from zen_pipeline.pipeline.run_summary import summarize_run

    summary = summarize_run(record, workspace)
    rows = [(s.step, s.status, common.duration(s.seconds), s.skipped) for s in record.stages]
    print_table(f"run {record.run_id}", ["stage", "status", "time", "why"], rows, right=[2])
    show(f"done in {common.duration(common.seconds_since_start())}")
    for name, text in _lines(record, summary):
        show(f"{name:<10} {text}")


def _lines(record: RunRecord, summary: RunSummary) -> list[tuple[str, str]]:
    released = {item["model"]: item for item in record.released}
    lines = [("result", f"{model}: {score}") for model, score in summary.scores.items()]
    lines += [
        ("released", f"{m}/{item['version']} is {item['alias']}: {item['reason']}") for m, item in released.items()
    ]
    if summary.report is not None:
        lines.append(("report", f"{summary.report} (`zen report` opens it)"))
    lines += [("sample", f"{_short(given)} → {_short(made)}") for given, made in summary.samples]
    return [*lines, ("next", summary.command)]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SAMPLE else line[: _LONGEST_SAMPLE - 1] + "…"


def runs(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List the runs of this project, newest first: when, how they ended, what they were worth."""
    from zen_pipeline.pipeline.run_summary import summarize_run
    from zen_pipeline.workspace import Workspace

    workspace = Workspace.find()
    found = [(record, summarize_run(record, workspace)) for record in workspace.runs()[: -count - 1 : -1]]
    if json:
        print_json({"runs": [_listed(record, summary) for record, summary in found]})
        return
    if not found:
        raise DataError(f"nothing has run in {workspace.home} yet: start with `zen run`")
    rows = [
        (
            record.run_id,
            record.pipeline,
            record.status,
            common.duration(record.seconds),
            "\n".join(f"{model}: {score}" for model, score in summary.scores.items()),
            "\n".join(f"{r['model']}/{r['version']} {r['alias']}" for r in record.released),
        )
        for record, summary in found
    ]
    print_table("runs", ["run", "pipeline", "status", "time", "result", "released"], rows, right=[3])


def _listed(record: RunRecord, summary: RunSummary) -> dict[str, Any]:
    scores = {
        model: {"value": s.value, "measure": s.measure, "baseline": s.baseline, "baseline_value": s.baseline_value}
        for model, s in summary.scores.items()
    }
    report = str(summary.report) if summary.report else None
    return {**record.model_dump(exclude={"stages"}), "scores": scores, "report": report}


def report(
    run: Annotated[
        str | None, typer.Argument(help="A run as `zen runs` lists it; default: the last with a report.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Print where the report of a run is, and open it in the browser."""
    from zen_pipeline.workspace import Workspace

    page = _find_report(Workspace.find(), run)
    show(str(page))
    if open_it:
        typer.launch(page.as_uri())


def _find_report(workspace: Workspace, run: str | None) -> Path:
    """The page of the named run, or of the last one that has a page.

    Raises:
        DataError: there is no such run, or no report.
    """
    from zen_pipeline.pipeline.run_summary import summarize_run

    records = [r for r in reversed(workspace.runs()) if run in (None, r.run_id)]
    if run is not None and not records:
        raise DataError(f"{workspace.home} has no run {run!r}: `zen runs` lists them")
    pages = (summarize_run(record, workspace).report for record in records)
    page = next((page for page in pages if page is not None), None)
    if page is None:
        raise DataError(f"{'that run' if run else 'no run here'} has a report: `zen evaluate` writes one")
    return page
