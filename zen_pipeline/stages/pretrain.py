"""Pretrain: models that start from random or given weights, each trained on what its task makes of the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.models.starts.choice import NEXT_TOKEN_RATE, Start, choose_start, tables_file
from zen_pipeline.pipeline.model_specs import ModelSpec, family_of, pretrains
from zen_pipeline.pipeline.models_made import pretrained
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext
from zen_pipeline.tasks import load_task
from zen_pipeline.tasks.base import Material, Skipped, TrainingRequest
from zen_pipeline.training.devices import device_count
from zen_pipeline.training.given import check_vocabulary, model_digest
from zen_pipeline.training.job import Schedule, TrainingJob
from zen_pipeline.training.launcher import launch
from zen_pipeline.training.resolved import Resolved
from zen_pipeline.training.rules import model_fields
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 8


def _needs(config: Config, _model: ModelSpec | None) -> tuple[str, ...]:
    needed = ("validate", "resolve", "tokenize")
    return (*needed, "embed") if _uses_vectors(config) else needed


def _uses_vectors(config: Config) -> bool:
    """The token tables start from vectors of the embedding stage."""
    own = config.pretrain
    return own.init_from is None and tables_file(own.start, family_of(config)) is not None


def _settings(config: Config) -> dict[str, Any]:
    own = config.pretrain.identity()
    own["family"] = family_of(config)
    own["init_from"] = config.pretrain.init_from is not None  # what is in the folder counts, not where it is
    return {**own, "seed": config.seed, "skip": not pretrains(config)}


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    folder = config.pretrain.init_from
    return {} if folder is None else {"init_from": model_digest(Path(folder))}


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Write the job, train, and leave the model folder in `output`."""
    if not pretrains(config):
        return Built(
            kind="model",
            skipped="finetune.init_from names a model that is trained already; "
            "to pretrain as well, name it in pretrain.init_from",
        )
    resolved = Resolved.load(inputs["resolve"].path)
    given = config.pretrain.init_from
    material = load_task(context.spec.task).material(
        TrainingRequest(
            config=config,
            family=context.spec.family,
            resolved=resolved,
            records=inputs["validate"].path,
            tokens=inputs["tokenize"].path,
            start=None if given is None else Path(given),
            work=context.work,
        )
    )
    if isinstance(material, Skipped):
        return Built(kind="model", skipped=material.reason)
    job = make_job(config, resolved, material, inputs, output, context)
    result = launch(job, work=context.work, progress=context.progress)
    material.finish(output)
    return Built(kind="model", summary={**material.counts, **result.summary()})


def make_job(
    config: Config, resolved: Resolved, material: Material, inputs: Inputs, output: Path, context: StageContext
) -> TrainingJob:
    """The pretraining job; explicit settings win over the resolved ones."""
    own, family = config.pretrain, context.spec.family
    start = _start(config, resolved, inputs)
    if own.init_from is not None:
        check_vocabulary(Path(own.init_from), material.vocab_size)
    return TrainingJob(
        name="pretrain",
        task=context.spec.task,
        family=family,
        model=None if own.init_from is not None else model_fields(resolved.model, material.vocab_size, family),
        init_from=own.init_from,
        start=start,
        data=material.data,
        options=dict(material.options),
        context=material.context,
        steps=resolved.steps,
        batch=material.batch,
        micro_batch=material.micro_batch,
        schedule=Schedule(
            learning_rate=own.learning_rate or resolved.learning_rate,
            embedding_learning_rate=own.embedding_learning_rate or _embedding_learning_rate(resolved, start),
            weight_decay=own.weight_decay,
            warmup=own.warmup,
            cooldown=own.cooldown,
            gradient_clip=own.gradient_clip,
        ),
        precision=resolved.precision,
        recompute_activations=own.recompute_activations,
        threads=resolved.threads,
        workers=resolved.workers,
        devices=device_count(own.devices, material.batch, enlarge="pretrain.batch_tokens"),
        sharding=own.sharding,
        rank_timeout=own.rank_timeout,
        peak_flops=resolved.peak_flops,
        watts_per_core=own.watts_per_core,
        seed=config.seed,
        output=str(output),
        checkpoints=str(context.work / "checkpoints"),
        tokenizer=str(material.tokenizer),
        checkpoint_every=own.checkpoint_every,
        validate_every=own.validate_every,
        tracking_uri=context.tracked.tracking_uri,
        tracking_run_id=context.tracked.run_id,
        run_id=context.run_id,
    )


def _start(config: Config, resolved: Resolved, inputs: Inputs) -> Start:
    """What is put into the weights of a new model; nothing into those of a given one."""
    own, shape = config.pretrain, resolved.model
    if own.init_from is not None:
        return Start()
    vectors = inputs["embed"].path if _uses_vectors(config) else None
    tied = shape.tie_embeddings
    return choose_start(own.start, family=family_of(config), layers=shape.layers, tied=tied, vectors=vectors)


def _embedding_learning_rate(resolved: Resolved, start: Start) -> float:
    """The resolved rate, lowered for tables that are good already."""
    lowered = start.next_token_vectors is not None
    return resolved.embedding_learning_rate * (NEXT_TOKEN_RATE if lowered else 1.0)


STAGE = Stage(
    name="pretrain",
    version=STAGE_VERSION,
    needs=_needs,
    build=build,
    settings=_settings,
    models=pretrained,
    sources=_sources,
    libraries=("torch", "lightning"),
    retried=True,
)
