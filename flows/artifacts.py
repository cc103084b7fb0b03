"""What the Prefect UI shows of a run: validation table, loss curve, scoreboard, release decision, report.

Everything comes from an artifact's summary and files. A file that is missing, or an artifact that Prefect does not
take, costs a line in the log and never the run.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows.picture import line_chart_svg
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.errors import ValidationFailed
from zen_pipeline.logs import get_logger
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
        log.warning("%s: its Prefect artifact is missing: %s", ref.stage, str(error).splitlines()[0][:200])


def _key(config: Config, name: str) -> str:
    """Prefect's keys: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{config.name}-{name}".lower()).strip("-")


def _validation(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_table_artifact

    report = ref.summary.get("judgement", {}).get("report")
    page = _link(config, Path(report)) if report else None
    rows = _rows(ref.summary)
    create_table_artifact(rows, key=_key(config, "validation"), description=_described("Validation", page))


def publish_refusal(config: Config, refused: ValidationFailed) -> None:
    """Show why the data was refused: the message, and a link to the report."""
    from prefect.artifacts import create_markdown_artifact

    try:
        if refused.report is not None:
            _link(config, refused.report)
        shown = str(refused).replace("`", "'")
        create_markdown_artifact(f"```\n{shown}\n```", key=_key(config, "refused"), description="Refused")
    except Exception as error:  # the refusal itself counts
        log.warning("the refusal is not shown in Prefect: %s", str(error).splitlines()[0][:200])


def _link(config: Config, page: Path) -> str:
    """A link to the validation report; returns its address."""
    from prefect.artifacts import create_link_artifact

    create_link_artifact(page.as_uri(), link_text=page.name, key=_key(config, "validation-report"))
    return page.as_uri()


def _loss_curve(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_image_artifact

    steps = [json.loads(line) for line in (ref.path / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    curves = {name: curve for name in _curve_names(steps) if len(curve := _curve(steps, name)) > 1}
    if not curves:
        return
    svg = line_chart_svg(f"{ref.stage}: loss", curves)
    create_image_artifact(
        # Inline, so that the picture stays when the artifact is removed, and no file has to be served.
        f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}",
        key=_key(config, f"{ref.stage}-loss"),
        description=f"{ref.stage}: " + ", ".join(f"{n} {c[-1][1]:.4g}" for n, c in curves.items()),
    )


def _scoreboard(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_link_artifact, create_table_artifact

    report = _uri(ref, "report.html")
    create_table_artifact(_rows(ref.summary), key=_key(config, "scores"), description=_described("Scores", report))
    if report is not None:
        create_link_artifact(report, link_text="report.html", key=_key(config, "report"))


def _optimization(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_table_artifact

    create_table_artifact(_rows(ref.summary), key=_key(config, "optimization"), description="Optimized models")


def _release(config: Config, ref: ArtifactRef) -> None:
    from prefect.artifacts import create_markdown_artifact

    lines = ["| model | version | alias | new | reason |", "|---|---|---|---|---|"]
    for item in ref.summary.get("released", []):
        cells = (item.get(k, "") for k in ("model", "version", "alias", "new", "reason"))
        lines.append("| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |")
    create_markdown_artifact("\n".join(lines), key=_key(config, "release"), description="Release decision")


_SHOWN: dict[str, Callable[[Config, ArtifactRef], None]] = {
    "validate": _validation,
    "pretrain": _loss_curve,
    "finetune": _loss_curve,
    "evaluate": _scoreboard,
    "optimize": _optimization,
    "release": _release,
}


def _rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each number or word of a nested summary."""
    words = {k: v for k, v in summary.items() if isinstance(v, str)}
    shown: dict[str, Any] = {**words, **{k: round(v, 6) for k, v in numbers(summary).items()}}
    return [{"name": name, "value": value} for name, value in shown.items()][:_MAX_ROWS]


def _curve_names(steps: list[dict[str, Any]]) -> list[str]:
    """The logged quantities that are losses, in the order in which they first appear."""
    names = dict.fromkeys(name for step in steps for name in step)
    return [name for name in names if "loss" in name or "bits_per_byte" in name]


def _curve(steps: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [
        (float(step.get("step", index)), float(step[name]))
        for index, step in enumerate(steps)
        if isinstance(step.get(name), int | float)
    ]


def _uri(ref: ArtifactRef, name: str) -> str | None:
    path = ref.path / name
    return path.as_uri() if path.is_file() else None


def _described(title: str, uri: str | None) -> str:
    return f"{title}: `{uri}`" if uri else title
