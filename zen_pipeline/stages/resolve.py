"""Turns the budget into fixed sizes, steps and precision, from the measured speed of this machine.

The answer is kept per (budget, corpus, machine profile) until it is asked for anew with `--recalibrate`. One that was
measured while other programs had the cores is kept only until the run that needed it has completed, so that this can
go on after a kill; the next run measures again, and chooses anew where that makes a difference.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, Built, Store, canonical_json, read_manifest, stage_of
from zen_pipeline.budget import parse_budget
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import file_digest, write_atomically
from zen_pipeline.logs import get_logger
from zen_pipeline.machine import profile
from zen_pipeline.pipeline.model_specs import ModelSpec, family_of, pretrains, start_folder
from zen_pipeline.pipeline.models_made import finetuned, pretrained
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.progress import progress
from zen_pipeline.tasks import load_task
from zen_pipeline.training.dial import BYTES_PER_TOKEN, Request, Resolved
from zen_pipeline.training.resolved import RESOLVED_FILE
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 8
_SIZES = ("model", "steps", "batch_tokens", "micro_batch", "precision")

_CAUTIOUS_BYTES_PER_TOKEN = 2.5  # of small vocabularies on text that they were not trained on; assumption
_SAME_SPEED = 1.25  # measurements of one machine differ by less; assumption

log = get_logger(__name__)


def _settings(config: Config) -> dict[str, Any]:
    sizes = config.pretrain.model_dump(mode="json", include=set(_SIZES))
    vocabulary = {"vocab_size": config.tokenize.vocab_size, "pretraining": pretrains(config)}
    return parse_budget(config.budget).model_dump() | sizes | vocabulary | {"family": family_of(config)}


def _sources(config: Config, workspace: Workspace) -> dict[str, Any]:
    calibration = workspace.calibration(_what(config))
    found: dict[str, Any] = {"machine": profile().model_dump(mode="json"), "calibration": calibration}
    if (folder := start_folder(config)) is not None:
        found["init_from"] = _config_digest(Path(folder))
    return found


def _what(config: Config) -> str:
    """A name for the sizes of this budget, these settings and this corpus."""
    what = {
        "settings": _settings(config),
        "collect": config.collect.identity(),
        "validate": config.validate_.identity(),
    }
    return hashlib.sha256(canonical_json(what).encode()).hexdigest()[:16]


def _config_digest(folder: Path) -> str:
    try:
        return file_digest(folder / "config.json")
    except OSError as error:
        raise ConfigError(f"init_from names {folder}, which is not a model folder: {error}") from None


class ResolveStage(Stage):
    """A stage whose stored answer is doubted where it was measured on a busy machine."""

    def run(self, config: Config, inputs: Inputs, context: StageContext, model: ModelSpec | None = None) -> ArtifactRef:
        """The sizes, from the store or chosen now."""
        _doubt(config, inputs, context)
        return super().run(config, inputs, context, model)


def _doubt(config: Config, inputs: Inputs, context: StageContext) -> None:
    """Measure again what was measured on a busy machine, and see that other sizes are chosen if they should be."""
    workspace = context.workspace
    upstream = {"validate": inputs["validate"].fingerprint}
    ref = workspace.store.find(STAGE.name, STAGE.identity(config, upstream, workspace).fingerprint)
    if ref is None or not ref.summary.get("disturbed") or workspace.is_confirmed(ref.fingerprint):
        return
    using = [r for r in workspace.runs() if any(s.fingerprint == ref.fingerprint for s in r.stages)]
    if not using or using[-1].status != "completed":
        log.info("resolve: going on with sizes that were measured on a busy machine; --recalibrate measures again")
        return
    log.info("resolve: the sizes were measured on a busy machine: measuring again")
    work = workspace.work_folder("measure", ref.fingerprint)
    kept, again = Resolved.load(ref.path), _measured(config, inputs, replace(context, work=work))
    shutil.rmtree(work, ignore_errors=True)
    ratio = (again.trained_flops or 0.0) / (kept.trained_flops or math.inf)
    if again.disturbed:
        log.info("resolve: the machine is busy again: the sizes stay as they are for now")
    elif 1 / _SAME_SPEED < ratio < _SAME_SPEED:
        log.info("resolve: the sizes were right and stay as they are")
        workspace.confirm(ref.fingerprint)
    else:
        log.info("resolve: the machine is %.1f times as fast as it seemed: choosing the sizes anew", ratio)
        workspace.recalibrate(_what(config))


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Measure, choose, and write `resolved.json`."""
    log.info("resolve: measuring how fast this machine trains")
    resolved = _measured(config, inputs, context)
    write_atomically(output / RESOLVED_FILE, resolved.model_dump_json(indent=1))
    for reason in resolved.reasons:
        log.info("%s", reason)
    return Built(kind="sizes", summary=_summary(resolved))


def _measured(config: Config, inputs: Inputs, context: StageContext) -> Resolved:
    from zen_pipeline.training.measure import measure_and_choose

    with progress("resolve: ways to compute timed", bar=context.progress) as tell:
        return measure_and_choose(_request(config, inputs, context), context.work, tell)


def _request(config: Config, inputs: Inputs, context: StageContext) -> Request:
    from zen_pipeline.embeddings.training import will_compile

    records = inputs["validate"].path / "records.parquet"
    learnt = [load_task(model.task) for model in pretrained(config)]
    first = next((task for task in learnt if task.teaches(records)), learnt[0])
    taught = [load_task(model.task) for model in finetuned(config)] if config.finetune.enabled else []
    taught = [task for task in taught if task.teaches(records)]
    return Request(
        budget=config.budget,
        train_bytes=first.train_bytes(records),
        cores=profile().cores,
        vocab_size=config.tokenize.vocab_size,
        family=family_of(config),
        init_from=start_folder(config),
        pretraining=pretrains(config),
        finetuning=bool(taught),
        pairs=first.pair_lengths(records, BYTES_PER_TOKEN),
        supervised_context=max((task.needed_context(records, _CAUTIOUS_BYTES_PER_TOKEN) for task in taught), default=0),
        vectors=_makes_vectors(config),
        compiling=config.embed.enabled and will_compile(config.embed.method),
        side_by_side=config.pretrain.devices in ("auto", 1),
        # of a run that finds its records in the store, what making them took
        spent_seconds=max(time.time() - context.began, _seconds_of(inputs["validate"], context.store)),
        **{name: getattr(config.pretrain, name) for name in _SIZES},
    )


def _makes_vectors(config: Config) -> bool:
    return (config.embed.enabled or config.embed.next_token) and start_folder(config) is None


def _seconds_of(ref: ArtifactRef, store: Store) -> float:
    """How long an artifact and those that it was made from took to build."""
    manifest = read_manifest(ref.path)
    before = (store.folder(stage_of(step), entry.fingerprint) for step, entry in manifest.inputs.items())
    return manifest.seconds + sum(read_manifest(folder).seconds for folder in before if folder.is_dir())


def _summary(resolved: Resolved) -> dict[str, Any]:
    shown = {"parameters", "vocab_size", "steps", "batch_tokens", "micro_batch", "precision", "threads", "workers"}
    return {
        **resolved.model_dump(mode="json", include=shown),
        "model": resolved.model.model_dump(mode="json"),
        "finetune_steps": resolved.finetune.steps,
        "estimates": resolved.estimates,
        "disturbed": resolved.disturbed,
    }


STAGE = ResolveStage(
    name="resolve",
    version=STAGE_VERSION,
    needs=always("validate"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("torch",),
)
