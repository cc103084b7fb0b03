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
from typing import Any, get_args

from zen_pipeline.artifacts import ArtifactRef, Built, Store, canonical_json, read_manifest
from zen_pipeline.budget import parse_budget
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import file_digest, read_json_object, write_atomically
from zen_pipeline.logs import get_logger
from zen_pipeline.machine import profile
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.progress import progress
from zen_pipeline.settings.models import CAUSAL_FAMILIES, Family
from zen_pipeline.training.dial import BYTES_PER_TOKEN, Request, Resolved
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 7
FILE = "resolved.json"
_SIZES = ("model", "steps", "batch_tokens", "micro_batch", "precision")

_CAUTIOUS_BYTES_PER_TOKEN = 2.5  # of small vocabularies on text that they were not trained on; assumption
_SAME_SPEED = 1.25  # measurements of one machine differ by less; assumption

log = get_logger(__name__)


def load_resolved(folder: Path) -> Resolved:
    """The answer that a `sizes` artifact holds."""
    return Resolved.model_validate_json((folder / FILE).read_bytes())


def start_folder(config: Config) -> str | None:
    """The given model that training starts from, if any: fine-tuning's own makes pretraining needless."""
    return config.pretrain.init_from or (config.finetune.init_from if config.finetune.enabled else None)


def pretrains(config: Config) -> bool:
    """Whether there is a pretraining: not when only a given model is fine-tuned."""
    return not (config.finetune.enabled and config.finetune.init_from and not config.pretrain.init_from)


def family_of(config: Config) -> Family:
    """The family of the model that is trained: that of a given model, else the one that is set.

    Raises:
        ConfigError: the given model is of a family that is not known, or of another one than is set.
    """
    own, folder = config.pretrain.family, start_folder(config)
    if folder is None:
        return own or "qwen3"
    try:
        found: Any = read_json_object(Path(folder) / "config.json").get("model_type")
    except ConfigError as error:
        raise ConfigError(f"init_from names {folder}, which is not a model folder: {error}") from None
    if found not in get_args(Family):
        known = ", ".join(get_args(Family))
        raise ConfigError(
            f"init_from names {folder}, a model of the family {str(found)[:80]!r}: known ones are {known}"
        )
    if own is not None and own != found:
        raise ConfigError(f"pretrain.family is {own}, but init_from names a {found} model: leave the family out")
    family: Family = found
    return family


def only_for_causal(config: Config, what: str) -> str | None:
    """Why a stage has nothing to do for a model that does not continue text; None for one that does."""
    family = family_of(config)
    if family in CAUSAL_FAMILIES:
        return None
    return (
        f"{what} needs a model that continues text ({' or '.join(CAUSAL_FAMILIES)}), and this one is a {family} model"
    )


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


def run(config: Config, inputs: Inputs, context: StageContext) -> ArtifactRef:
    """The sizes, from the store or chosen now."""
    _doubt(config, inputs, context)
    return STAGE.run(config, inputs, context)


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
    kept, again = load_resolved(ref.path), _measured(config, inputs, replace(context, work=work))
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
    write_atomically(output / FILE, resolved.model_dump_json(indent=1))
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
    finetuning = _finetunes(config, records)
    return Request(
        budget=config.budget,
        train_bytes=text_bytes(records, family_of(config)),
        cores=profile().cores,
        vocab_size=config.tokenize.vocab_size,
        family=family_of(config),
        init_from=start_folder(config),
        pretraining=pretrains(config),
        finetuning=finetuning,
        pairs=_pair_lengths(records) if family_of(config) == "marian" else (),
        supervised_context=_supervised_context(records) if finetuning else 0,
        vectors=_makes_vectors(config),
        compiling=config.embed.enabled and will_compile(config.embed.method),
        side_by_side=config.pretrain.devices in ("auto", 1),
        # of a run that finds its records in the store, what making them took
        spent_seconds=max(time.time() - context.began, _seconds_of(inputs["validate"], context.store)),
        **{name: getattr(config.pretrain, name) for name in _SIZES},
    )


def _finetunes(config: Config, records: Path) -> bool:
    """Whether the chat model will have something to learn, without making the questions."""
    from zen_pipeline.tasks.questions import asks_anything

    return config.finetune.enabled and family_of(config) in CAUSAL_FAMILIES and asks_anything(records)


def _pair_lengths(records: Path) -> tuple[tuple[int, int], ...]:
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.tasks.translation import estimated_lengths, pairs_of

    return estimated_lengths(pairs_of(read_records(records, kind="translation", split="train")), BYTES_PER_TOKEN)


def _supervised_context(records: Path) -> int:
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.tasks.supervision import estimated_lengths, fitting_context

    return fitting_context(estimated_lengths(read_records(records, split="train"), _CAUTIOUS_BYTES_PER_TOKEN))


def _makes_vectors(config: Config) -> bool:
    return (config.embed.enabled or config.embed.next_token) and start_folder(config) is None


def _seconds_of(ref: ArtifactRef, store: Store) -> float:
    """How long an artifact and those that it was made from took to build."""
    manifest = read_manifest(ref.path)
    before = (store.folder(stage, entry.fingerprint) for stage, entry in manifest.inputs.items())
    return manifest.seconds + sum(read_manifest(folder).seconds for folder in before if folder.is_dir())


def text_bytes(records: Path, family: Family) -> int:
    """UTF-8 bytes that the family is trained on once per epoch: of translations, those of the targets."""
    if family != "marian":
        return train_bytes(records)
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.tasks.translation import pairs_of

    pairs = pairs_of(read_records(records, kind="translation", split="train"))
    return sum(len(pair.target.encode()) for pair in pairs) or train_bytes(records)


def train_bytes(records: Path) -> int:
    """UTF-8 bytes of the training split that a base model reads: of the documents, else of records of every kind."""
    from zen_pipeline.corpus.records import base_kind
    from zen_pipeline.corpus.texts import text_bytes

    return text_bytes(records, kind=base_kind(records), split="train")


def _summary(resolved: Resolved) -> dict[str, Any]:
    shown = {"parameters", "vocab_size", "steps", "batch_tokens", "micro_batch", "precision", "threads", "workers"}
    return {
        **resolved.model_dump(mode="json", include=shown),
        "model": resolved.model.model_dump(mode="json"),
        "finetune_steps": resolved.finetune.steps,
        "estimates": resolved.estimates,
        "disturbed": resolved.disturbed,
    }


STAGE = Stage(
    name="resolve",
    version=STAGE_VERSION,
    needs=always("validate"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("torch",),
)
