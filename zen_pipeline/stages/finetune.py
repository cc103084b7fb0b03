"""Fine-tune: models that start from another model of the pipeline, or from a given one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import Built, step_name
from zen_pipeline.config import Config
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.pipeline.models_made import finetuned
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext
from zen_pipeline.tasks import load_task
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from zen_pipeline.training.job import TrainingJob
    from zen_pipeline.training.resolved import Resolved

STAGE_VERSION = 7
KIND = "model"


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Fill `output` with the model, its tokenizer, its history, and what the task adds."""
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.tasks.base import Skipped, TrainingRequest
    from zen_pipeline.training.given import check_vocabulary
    from zen_pipeline.training.launcher import launch
    from zen_pipeline.training.resolved import Resolved

    own, spec = config.finetune, context.spec
    if not own.enabled:
        return Built(KIND, skipped="fine-tuning is turned off (finetune.enabled: false)")
    base = inputs[_started_from(spec)]
    if own.init_from is None and base.skipped:
        return Built(KIND, skipped=f"there is no {spec.start} model to start from: {base.skipped}")
    start = base.path if own.init_from is None else Path(own.init_from)
    resolved = Resolved.load(inputs["resolve"].path)
    material = load_task(spec.task).material(
        TrainingRequest(
            config=config,
            family=spec.family,
            resolved=resolved,
            records=inputs["validate"].path,
            tokens=inputs["tokenize"].path,
            start=start,
            work=context.work,
        )
    )
    if isinstance(material, Skipped):
        return Built(KIND, skipped=material.reason)
    check_vocabulary(start, Tokenizer.load(material.tokenizer).vocab_size)
    job = _job(
        config,
        resolved,
        context,
        task=spec.task,
        init_from=str(start),
        tokenizer=str(material.tokenizer),
        output=str(output),
        data=material.data,
        options=dict(material.options),
        context=material.context,
        batch=material.batch,
        micro_batch=material.micro_batch,
    )
    result = launch(job, work=context.work, progress=context.progress)
    material.finish(output)
    return Built(KIND, summary={**material.counts, **result.summary()})


def _started_from(spec: ModelSpec) -> str:
    return step_name("pretrain", spec.start)


def _needs(_config: Config, model: ModelSpec | None) -> tuple[str, ...]:
    assert model is not None
    return ("validate", "resolve", "tokenize", _started_from(model))


def _job(config: Config, resolved: Resolved, stage: StageContext, /, **given: Any) -> TrainingJob:
    """The training job; explicit settings win over the resolved ones.

    Args:
        config: the whole configuration.
        resolved: sizes that the budget came to.
        stage: where it works.
        given: the fields that say what is trained on what.
    """
    from zen_pipeline.training.devices import device_count
    from zen_pipeline.training.job import Schedule, TrainingJob

    own, sizes = config.finetune, resolved.finetune
    return TrainingJob(
        name="finetune",
        **given,
        steps=own.steps or sizes.steps,
        schedule=Schedule(
            learning_rate=own.learning_rate or sizes.learning_rate,
            embedding_learning_rate=own.embedding_learning_rate or sizes.embedding_learning_rate,
            weight_decay=own.weight_decay,
            warmup=own.warmup,
            cooldown=own.cooldown,
            gradient_clip=own.gradient_clip,
        ),
        precision=resolved.precision,
        threads=resolved.threads,
        workers=resolved.workers,
        peak_flops=resolved.peak_flops,
        watts_per_core=config.pretrain.watts_per_core,
        devices=device_count(config.pretrain.devices, own.batch_size, enlarge="finetune.batch_size"),
        sharding=config.pretrain.sharding,
        rank_timeout=config.pretrain.rank_timeout,
        seed=config.seed,
        checkpoints=str(stage.work / "checkpoints"),
        checkpoint_every=own.checkpoint_every,
        validate_every=own.validate_every,
        tracking_uri=stage.tracked.tracking_uri,
        tracking_run_id=stage.tracked.run_id,
        run_id=stage.run_id,
    )


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    """The digest of the folder to start from, in place of its path."""
    from zen_pipeline.training.given import model_digest

    folder = config.finetune.init_from if config.finetune.enabled else None
    return {} if folder is None else {"init_from": model_digest(Path(folder))}


def _settings(config: Config) -> dict[str, Any]:
    settings = config.finetune.identity()
    settings["init_from"] = config.finetune.init_from is not None
    return {**settings, "seed": config.seed}


STAGE = Stage(
    name="finetune",
    version=STAGE_VERSION,
    needs=_needs,
    build=build,
    settings=_settings,
    models=finetuned,
    sources=_sources,
    libraries=("torch", "lightning", "tokenizers"),
    retried=True,
)
