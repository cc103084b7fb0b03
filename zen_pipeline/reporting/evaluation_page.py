"""The report page of an evaluation, put together from the artifacts of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, read_manifest
from zen_pipeline.config import Config
from zen_pipeline.evaluation.results import Answer, Sample
from zen_pipeline.evaluation.scores import read_metrics
from zen_pipeline.files import read_json_lines
from zen_pipeline.machine.facts import profile
from zen_pipeline.masking import masked

_TRAININGS = ("pretrain", "finetune")


def evaluation_page(
    config: Config,
    inputs: Mapping[str, ArtifactRef],
    metrics: Mapping[str, Any],
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    released: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as HTML.

    Args:
        config: the whole configuration.
        inputs: artifacts of the stages that the evaluation needs, by name.
        metrics: the content of metrics.json.
        samples: continuations of test documents.
        answers: the chat model's answers.
        released: what became of each model, once the release stage has run.
    """
    from zen_pipeline.reporting.model_report import About, ReportData, render
    from zen_pipeline.reporting.wording import page_language

    words = inputs["embed"].path
    picture = words / "embeddings.png"
    records = inputs["validate"].summary
    settings = {name: _settings(ref) for name, ref in inputs.items() if name != "resolve"}
    measured = {name: value for name, value in config.evaluate.identity().items() if value is not None}
    return render(
        ReportData(
            metrics=metrics,
            about=About(
                pipeline=config.name,
                corpus=corpus_names(config),
                date=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
                budget=config.budget,
                machine=_machine(),
            ),
            released=released,
            histories={name: _history(inputs[name]) for name in _TRAININGS},
            trainings={name: _read_json(inputs[name].path / "training.json") for name in _TRAININGS},
            samples=samples,
            answers=answers,
            records=records,
            tokens=inputs["tokenize"].summary,
            embeddings=inputs["embed"].summary,
            neighbours=_read_json(words / "neighbours.json"),
            words_png=picture.read_bytes() if picture.is_file() else None,
            skipped={name: ref.skipped for name, ref in inputs.items() if ref.skipped},
            settings={**{k: v for k, v in settings.items() if v}, "evaluate": measured},
            lineage=[(name, ref.fingerprint, ref.digest) for name, ref in inputs.items()],
            language=page_language(records.get("languages", {})),
        )
    )


def run_page(
    config: Config,
    evaluated: ArtifactRef | None,
    inputs: Mapping[str, ArtifactRef],
    released: Sequence[Mapping[str, Any]],
) -> str | None:
    """The page of a whole run: its evaluation and what was released; None when nothing was evaluated."""
    if evaluated is None or evaluated.skipped:
        return None
    metrics = read_metrics(evaluated.path)
    samples = [Sample(**line) for line in read_json_lines(evaluated.path / "samples.jsonl")]
    answers = [Answer(**line) for line in read_json_lines(evaluated.path / "answers.jsonl")]
    return evaluation_page(config, inputs, metrics, samples, answers, released)


def corpus_names(config: Config) -> str:
    """The configured sources as people name them: files by their own names, without the folders around them."""
    names = []
    for source in config.collect.sources:
        paths = getattr(source, "paths", None) or [str(source.type).replace("_", " ")]
        names += [Path(masked(path)).name or masked(path) for path in paths]
    return ", ".join(names)


def _machine() -> str:
    found = profile()
    return ", ".join([*found.gpus, f"{found.cpu} ({found.cores} cores)", f"{found.memory_gib} GiB"])


def _settings(ref: ArtifactRef) -> dict[str, Any]:
    """The settings that an artifact was really made with, from its manifest."""
    parts = read_manifest(ref.path).parts
    return {key.removeprefix("settings."): value for key, value in parts.items() if key.startswith("settings.")}


def _history(ref: ArtifactRef) -> list[dict[str, float]]:
    return read_json_lines(ref.path / "history.jsonl", missing_ok=True)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
