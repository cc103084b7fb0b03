"""What the Prefect UI shows of a run: validation table, loss curve, scoreboard, release decision, report.

Everything comes from an artifact's summary and files. A file that is missing, or an artifact that Prefect does not
take, costs a line in the log and never the run.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.blocks import Curve, Curves, Point
from zen_pipeline.config import Config
from zen_pipeline.errors import ValidationFailed, first_line
from zen_pipeline.files import read_json_lines
from zen_pipeline.logs import get_logger
from zen_pipeline.reporting.rendering import picture
from zen_pipeline.tracking import numbers

_MAX_ROWS = 500  # of one table; the UI draws them all

log = get_logger("zen_pipeline.flows")


def publish(config: Config, ref: ArtifactRef) -> None:
    """Show one stage's result in the Prefect UI, where it has something worth showing."""
    show = _SHOWN.get(ref.stage)
    if show is None or ref.skipped:
        return
    try:
        show(config, ref)
    except Exception as error:  # the run's result does not depend on what the UI shows
        log.warning("%s: its Prefect artifact is missing: %s", ref.step, first_line(error))


def _key(config: Config, name: str) -> str:
    """Prefect's keys: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{config.name}-{name}".lower()).strip("-")


def _validation(config: Config, ref: ArtifactRef) -> None:
    report = ref.summary.get("judgement", {}).get("report")
    _report(config, "validation", "Validation", ref, Path(report) if report else None)


def _scoreboard(config: Config, ref: ArtifactRef) -> None:
    page = ref.path / "report.html"
    _report(config, f"scores-{ref.model}", f"Scores of {ref.model}", ref, page if page.is_file() else None)


def _optimization(config: Config, ref: ArtifactRef) -> None:
    _report(config, f"optimization-{ref.model}", f"Forms of {ref.model}", ref, None)


def _report(config: Config, name: str, title: str, ref: ArtifactRef, page: Path | None) -> None:
    """The figures of a summary as tables; a browser opens no file from the UI, so where the page lies is only said."""
    from prefect.artifacts import create_markdown_artifact

    text = report_markdown(title, ref.summary, page)
    create_markdown_artifact(text, key=_key(config, name), description=title)


def report_markdown(title: str, summary: Mapping[str, Any], page: Path | None) -> str:
    """A summary as Markdown: a table of its own figures, and one for each group of them."""
    own = {key: value for key, value in summary.items() if not isinstance(value, Mapping)}
    groups = {key: value for key, value in summary.items() if isinstance(value, Mapping)}
    parts = [f"# {title}"]
    for heading, group in [("", own), *groups.items()]:
        rows = [f"| {_cell(row['name'])} | {_cell(row['value'])} |" for row in _rows(group)]
        if rows:
            parts += [f"## {heading}"] if heading else []
            parts.append("\n".join(["| figure | value |", "|---|---|", *rows]))
    if page is not None:
        parts.append(f"The page with charts and examples: `{page}`")
    return "\n\n".join(parts)


def _cell(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def publish_refusal(config: Config, refused: ValidationFailed) -> None:
    """Show why the data was refused; the message says where the report lies."""
    from prefect.artifacts import create_markdown_artifact

    try:
        shown = str(refused).replace("`", "'")
        create_markdown_artifact(f"```\n{shown}\n```", key=_key(config, "refused"), description="Refused")
    except Exception as error:  # the refusal itself counts
        log.warning("the refusal is not shown in Prefect: %s", first_line(error))


# What is drawn together has one unit: part of a logged name, the unit.
_UNITS = {"loss": "nats per token", "bits_per_byte": "bits per byte"}


def _curves(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_image_artifact

    steps = read_json_lines(ref.path / "history.jsonl")
    for kind, unit in _UNITS.items():
        curves = {name: curve for name in _names(steps, kind) if len(curve := _curve(steps, name)) > 1}
        if not curves:
            continue
        svg = _picture(f"{ref.step}: {kind.replace('_', ' ')}", curves, unit)
        if svg is None:
            continue
        create_image_artifact(
            # Inline, so that the picture stays when the artifact is removed, and no file has to be served.
            f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}",
            key=_key(config, f"{ref.step}-{kind}"),
            description=f"{ref.step}, {unit}: " + ", ".join(f"{n} {c[-1][1]:.4g}" for n, c in curves.items()),
        )


def _picture(title: str, curves: Mapping[str, list[Point]], unit: str) -> str | None:
    """Curves over the steps as SVG; what is measured on held-out text is dashed."""
    drawn = [Curve(n, c, "second" if n.startswith("validation") else "main") for n, c in curves.items()]
    return picture(Curves(title, drawn, x="step", y=unit))


def _release(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_markdown_artifact

    lines = ["| model | version | alias | new | reason |", "|---|---|---|---|---|"]
    for item in ref.summary.get("released", []):
        cells = (item.get(k, "") for k in ("model", "version", "alias", "new", "reason"))
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    create_markdown_artifact("\n".join(lines), key=_key(config, ref.step), description=f"Release of {ref.model}")


_SHOWN: dict[str, Callable[[Config, ArtifactRef], None]] = {
    "validate": _validation,
    "pretrain": _curves,
    "finetune": _curves,
    "evaluate": _scoreboard,
    "optimize": _optimization,
    "release": _release,
}


def _rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each number or word of a nested summary."""
    words = {k: v for k, v in summary.items() if isinstance(v, str)}
    shown: dict[str, Any] = {**words, **{k: round(v, 6) for k, v in numbers(summary).items()}}
    return [{"name": name, "value": value} for name, value in shown.items()][:_MAX_ROWS]


def _names(steps: list[dict[str, Any]], part: str) -> list[str]:
    """The logged quantities whose name has this part, in the order in which they first appear."""
    return [name for name in dict.fromkeys(name for step in steps for name in step) if part in name]


def _curve(steps: list[dict[str, Any]], name: str) -> list[Point]:
    return [
        (float(step.get("step", index)), float(step[name]))
        for index, step in enumerate(steps)
        if isinstance(step.get(name), int | float)
    ]
