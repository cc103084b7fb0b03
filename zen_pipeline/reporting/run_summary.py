"""The result of a run for people: the deciding figures, the report, two samples, the command to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.evaluation.scores import Score, deciding_scores, read_metrics
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
    found = {
        stage.name: ref
        for stage in record.stages
        if stage.fingerprint and (ref := workspace.store.find(stage.name, stage.fingerprint)) is not None
    }
    evaluated = found.get("evaluate")
    if evaluated is None or evaluated.skipped:
        scores = _validation_scores(found.get("pretrain"))
        return RunSummary(scores, _last_page(record, workspace))
    metrics = read_metrics(evaluated.path)
    scores = {f"{record.pipeline}-{kind}": score for kind, score in deciding_scores(metrics).items()}
    continued = _first(evaluated.path / "samples.jsonl", "prompt", "continuation")
    answered = _first(evaluated.path / "answers.jsonl", "question", "answer")
    return RunSummary(
        scores=scores,
        report=_last_page(record, workspace),
        samples=(*continued, *answered),
        command=_next_command(record, answered=bool(answered)),
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


def _validation_scores(pretrained: ArtifactRef | None) -> dict[str, Score]:
    final = {} if pretrained is None else pretrained.summary.get("final", {})
    measures = {"validation_bits_per_byte": "bits per byte", "validation_loss": "nats per token"}
    for key, unit in measures.items():
        if key in final:
            return {"pretrain": Score(key, final[key], f"{unit} of the validation split", lower_is_better=True)}
    return {}


def _last_page(record: RunRecord, workspace: Workspace) -> Path | None:
    """The run's own report, else the page of the last stage that judged something."""
    pages = [workspace.report_file(record.run_id)]
    pages += [workspace.home / stage.report for stage in reversed(record.stages) if stage.report]
    return next((page.resolve() for page in pages if page.is_file()), None)


def _first(path: Path, given: str, made: str) -> tuple[tuple[str, str], ...]:
    """The first line of a JSONL file as one pair; nothing when there is none."""
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8") as lines:
        line: dict[str, Any] = json.loads(next(lines, "{}") or "{}")
    return ((str(line[given]), str(line[made])),) if line else ()


def _next_command(record: RunRecord, *, answered: bool) -> str:
    if not record.released:
        return "zen release"
    return "zen chat" if answered else 'zen generate "…"'
