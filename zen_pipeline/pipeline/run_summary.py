"""The result of a run for people: the deciding figures, the report, two samples, the command to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.evaluation.scores import Score, read_metrics, read_score
from zen_pipeline.tasks import load_task
from zen_pipeline.workspace import RunRecord, Workspace


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance.

    Attributes:
        scores: the deciding figure of each evaluated model, by the model's registered name; of a model that cannot be
            evaluated, its loss on the validation split, under the stage's name.
        report: the page that shows everything; None when the run did not come so far.
        samples: what the models were given and what they made of it, one of each model.
        command: what to type next.
    """

    scores: Mapping[str, Score] = field(default_factory=dict)
    report: Path | None = None
    samples: tuple[tuple[str, str], ...] = ()
    command: str = "zen plan"


def summarize_run(record: RunRecord, workspace: Workspace) -> RunSummary:
    """Collect what the run's artifacts say; what has been removed since is left out."""
    found = [
        ref
        for stage in record.stages
        if stage.fingerprint and (ref := workspace.store.find(stage.name, stage.fingerprint)) is not None
    ]
    evaluated = [ref for ref in found if ref.stage == "evaluate" and not ref.skipped]
    scores: dict[str, Score] = {}
    for ref in evaluated:
        if (score := read_score(ref.path)) is not None:
            scores[f"{record.pipeline}-{ref.model}"] = score
    if not scores:
        scores = _validation_scores([ref for ref in found if ref.stage == "pretrain" and not ref.skipped])
    return RunSummary(
        scores=scores,
        report=_last_page(record, workspace),
        samples=tuple(sample for ref in evaluated for sample in _first(ref.path / "samples.jsonl")),
        command=_next_command(record, evaluated),
    )


def figures(summary: RunSummary) -> dict[str, float]:
    """The deciding figures and their baselines as numbers, under names such as `notes-base.bits_per_byte`."""
    found = {}
    for model, score in summary.scores.items():
        found[f"{model}.{score.name}"] = score.value
        if score.baseline_value is not None:
            found[f"{model}.{score.name}_baseline"] = score.baseline_value
    return found


def note(record: RunRecord, summary: RunSummary) -> str:
    """The run in Markdown: figures, releases, samples."""
    lines = [f"- **{model}**: {score}" for model, score in summary.scores.items()]
    lines += [f"- released {r['model']}/{r['version']} as {r['alias']}: {r['reason']}" for r in record.released]
    shown = [f"> {' '.join(given.split())}\n>\n> **{' '.join(made.split())}**" for given, made in summary.samples]
    return "\n\n".join(["\n".join(lines), *shown]).strip()


def _validation_scores(trained: Sequence[ArtifactRef]) -> dict[str, Score]:
    measures = {"validation_bits_per_byte": "bits per byte", "validation_loss": "nats per token"}
    found = {}
    for ref in trained:
        final = ref.summary.get("final", {})
        for key, unit in measures.items():
            if key in final:
                found[ref.step] = Score(key, final[key], f"{unit} of the validation split", lower_is_better=True)
                break
    return found


def _last_page(record: RunRecord, workspace: Workspace) -> Path | None:
    """The run's own report, else the page of the last stage that judged something."""
    pages = [workspace.report_file(record.run_id)]
    pages += [workspace.home / stage.report for stage in reversed(record.stages) if stage.report]
    return next((page.resolve() for page in pages if page.is_file()), None)


def _first(path: Path) -> tuple[tuple[str, str], ...]:
    """Prompt and text of the first sample in a JSONL file; nothing when there is none."""
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8") as lines:
        line: dict[str, Any] = json.loads(next(lines, "{}") or "{}")
    return ((str(line["prompt"]), str(line["text"])),) if line else ()


def _next_command(record: RunRecord, evaluated: Sequence[ArtifactRef]) -> str:
    """What to type next: the command of the most finished model, once it is released."""
    if not record.released or not evaluated:
        return "zen release"
    command = load_task(str(read_metrics(evaluated[-1].path)["task"])).command
    return "zen chat" if command == "chat" else f'zen {command} "…"'
