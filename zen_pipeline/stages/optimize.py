"""Optimize: other forms of each model's weights, kept where they are as good.

Files: a folder named after the chosen form (a model folder; none where the float weights stay) and `metrics.json`:
`{"forms": {"float": {bytes, loss, tokens_per_second, threads}, "int8": {…}}, "chosen", "reason", "unit"}`. The loss is
the task's cheap figure on the first test data: `optimize.max_test_tokens`, or as many as suit the budget.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.logs import get_logger
from zen_pipeline.optimization import FORMS, load_form
from zen_pipeline.pipeline.evaluation_request import evaluation_request
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.models_made import models_of
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, own_section
from zen_pipeline.progress import progress
from zen_pipeline.tasks import load_task
from zen_pipeline.tasks.base import Skipped

STAGE_VERSION = 3

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Write and measure the forms of one model; see the module for the files.

    Raises:
        ConfigError: the model folder cannot be read.
    """
    from zen_pipeline.evaluation.decoding_speed import tokens_per_second
    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.models.folder import WEIGHT_FILES, load_any
    from zen_pipeline.optimization.forms import Measurement, choose_form

    spec, own = context.spec, config.optimize
    trained = inputs[spec.training]
    if not own.enabled:
        return Built(kind="optimized", skipped="turned off: set optimize.enabled to true")
    if trained.skipped:
        return Built(kind="optimized", skipped=f"there is no {spec.name} model: {trained.skipped}")
    task, asked = load_task(spec.task), evaluation_request(config, inputs, spec)
    if isinstance(test := task.test_set(asked), Skipped):
        return Built(kind="optimized", skipped=test.reason)
    most = own.max_test_tokens or asked.sizes.int8_test_tokens
    log.info("optimize: measuring %s with %s weights", spec.name, " and ".join(["float", *FORMS]))
    with progress(f"optimize: {spec.name}", bar=context.progress) as tell:
        number, all_forms = count(), 1 + len(FORMS)

        def measure(folder: Path) -> Measurement:
            before = next(number)
            loss = task.loss(folder, asked, most, lambda done, of: tell(before * of + done, all_forms * of))
            rate, threads = tokens_per_second(load_any(folder, FamilyModel), task.produce)
            size = sum(path.stat().st_size for path in folder.iterdir() if path.match(WEIGHT_FILES))
            return Measurement(size, round(loss, 6), round(rate, 1), threads)

        forms = {name: load_form(name) for name in FORMS}
        choice = choose_form(trained.path, output, forms, measure, max_loss=own.max_loss, unit=task.loss_unit)
    log.info("optimize: %s goes on with %s weights: %s", spec.name, choice.chosen, choice.reason)
    path = output / "metrics.json"
    path.write_text(json.dumps(choice.to_json(), indent=2) + "\n")
    context.tracked.log_file(path)
    return Built(kind="optimized", summary=choice.to_json())


def _needs(_config: Config, model: ModelSpec | None) -> tuple[str, ...]:
    assert model is not None
    return ("validate", "resolve", "tokenize", model.training)


STAGE = Stage(
    name="optimize",
    version=STAGE_VERSION,
    needs=_needs,
    build=build,
    settings=own_section("optimize"),
    models=models_of,
    libraries=("torch",),
)
