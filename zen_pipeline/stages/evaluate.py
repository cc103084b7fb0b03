"""Evaluate: what each model is worth on what it has not learnt from, as its task measures it.

Files: `metrics.json` (score, figures, baselines, sizes of the test set, speed), `units.npz` (`units`, float64
(units, k), from which two models are compared), `samples.jsonl`, `blocks.json` and `report.html`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.evaluation.decoding_speed import measure_apart
from zen_pipeline.evaluation.scores import score_of
from zen_pipeline.files import write_json_lines
from zen_pipeline.logs import get_logger
from zen_pipeline.machine.threads import torch_threads
from zen_pipeline.pipeline.evaluation_request import evaluation_request
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.models_made import models_of
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext
from zen_pipeline.progress import progress
from zen_pipeline.reporting.evaluation_page import evaluation_page, write_reports
from zen_pipeline.tasks import load_task
from zen_pipeline.tasks.base import Skipped

STAGE_VERSION = 5

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Measure one model and write the files."""
    spec = context.spec
    trained = inputs[spec.training]
    if trained.skipped:
        return Built("evaluation", skipped=f"there is no {spec.name} model: {trained.skipped}")
    task = load_task(spec.task)
    asked = evaluation_request(config, inputs, spec)
    test = task.test_set(asked)
    if isinstance(test, Skipped):
        return Built("evaluation", skipped=test.reason)
    speed = measure_apart(asked.model, spec.task)
    log.info("evaluate: measuring %s on %s", spec.name, _in_words(test.sizes))
    alone = torch_threads(speed.threads)
    with progress(f"evaluate: {spec.name}", bar=context.progress) as tell, alone if task.decodes else nullcontext():
        measured = task.measure(asked.model, test, tell)
    with torch_threads(speed.threads):
        samples = measured.samples or task.samples(asked, test)
    baselines = task.baselines(asked, test)
    value = float(task.figure(measured.units.sum(axis=0)))
    score = score_of(task.metric, value, baselines, count=len(measured.units))
    metrics = {
        "model": spec.name,
        "task": spec.task,
        "score": asdict(score),
        "figures": {task.metric.name: value, **measured.figures},
        "baselines": baselines,
        "test": dict(test.sizes),
        "speed": asdict(speed),
    }
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    np.savez(output / "units.npz", units=measured.units)
    write_json_lines(output / "samples.jsonl", map(asdict, samples))
    reports = {spec.name: task.report(asked, metrics, samples)}
    write_reports(output, reports)
    page = output / "report.html"
    page.write_text(evaluation_page(config, inputs, reports), encoding="utf-8")
    context.tracked.log_file(page)
    return Built("evaluation", summary=_summary(metrics))


def _in_words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sizes.items())


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that are numbers; those of groups stay in the file."""
    figures = {name: value for name, value in metrics["figures"].items() if not isinstance(value, Mapping)}
    return {**figures, "baselines": metrics["baselines"], "test": metrics["test"], "speed": metrics["speed"]}


def _needs(_config: Config, model: ModelSpec | None) -> tuple[str, ...]:
    assert model is not None
    return ("validate", "resolve", "tokenize", model.training)


def _settings_that_matter(config: Config) -> dict[str, Any]:
    return {**config.evaluate.identity(), "seed": config.seed}  # the seed chooses the samples


STAGE = Stage(
    name="evaluate",
    version=STAGE_VERSION,
    needs=_needs,
    build=build,
    settings=_settings_that_matter,
    models=models_of,
    libraries=("torch",),
)
