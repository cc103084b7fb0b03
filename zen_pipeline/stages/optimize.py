"""Optimize: int8 weights for the linear layers, kept where they are as good.

Files: `base/` and `chat/` (model folders, each only when its int8 form was chosen) and `metrics.json`:
`{"base": {"float": {bytes, bits_per_byte, tokens_per_second, threads}, "int8": {…}, "chosen", "reason"}, "chat": …}`.
Bits per byte are those of the first tokens of the test split, for the chat model too: `optimize.max_test_tokens`, or as
many as suit the budget.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.files import expanded
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always, own_section
from zen_pipeline.progress import progress
from zen_pipeline.stages.resolve import load_resolved, only_for_causal

if TYPE_CHECKING:
    from zen_pipeline.optimization.quantization import Documents

STAGE_VERSION = 2

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Quantize and measure each model; see the module for the files.

    Raises:
        ConfigError: a model folder cannot be read.
    """
    if not config.optimize.enabled:
        return Built(kind="optimized", skipped="turned off: set optimize.enabled to true")
    if (reason := only_for_causal(config, "comparing int8 weights")) is not None:
        return Built(kind="optimized", skipped=reason)
    models = _models(config, inputs)
    if not models:
        return Built(kind="optimized", skipped="nothing was trained: turn on pretraining or fine-tuning")
    from zen_pipeline.optimization.quantization import compare

    sizes = load_resolved(inputs["resolve"].path).evaluation
    documents = _test_documents(inputs["tokenize"].path, config.optimize.max_test_tokens or sizes.int8_test_tokens)
    if documents.bytes.sum() == 0:
        return Built(kind="optimized", skipped="the test split is empty: add text, or raise validate.test_fraction")
    metrics = {}
    for kind, folder in models.items():
        log.info("optimize: measuring %s with float and int8 weights", kind)
        most = config.optimize.max_bits_per_byte_loss
        with progress(f"optimize: {kind}", bar=context.progress) as tell:
            result = compare(folder, output / kind, documents, max_bits_per_byte_loss=most, tell=tell)
        log.info("optimize: %s goes on with %s weights: %s", kind, result.chosen, result.reason)
        metrics[kind] = result.to_json()
    path = output / "metrics.json"
    path.write_text(json.dumps(metrics, indent=2) + "\n")
    context.tracked.log_file(path)
    return Built(kind="optimized", summary=metrics)


def _models(config: Config, inputs: Inputs) -> dict[str, Path]:
    """The folders of the models to quantize, by what they are."""
    models = {}
    if not inputs["pretrain"].skipped:
        models["base"] = inputs["pretrain"].path
    elif config.finetune.init_from is not None:
        models["base"] = expanded(config.finetune.init_from)
    if not inputs["finetune"].skipped:
        models["chat"] = inputs["finetune"].path
    return models


def _test_documents(tokens: Path, max_tokens: int) -> Documents:
    """The first documents of the test split, as many as `max_tokens` hold, but at least one when there is one."""
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.optimization.quantization import Documents

    split = TokenSplit.open(tokens, "test")
    count = max(1, int((split.offsets[1:] <= max_tokens).sum()))
    return Documents(split.tokens, split.offsets[: count + 1], split.bytes[:count])


STAGE = Stage(
    name="optimize",
    version=STAGE_VERSION,
    needs=always("resolve", "tokenize", "pretrain", "finetune"),
    build=build,
    settings=own_section("optimize"),
    libraries=("torch",),
)
run = STAGE.run
