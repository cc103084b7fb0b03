"""Trains the base model on token shards or translation pairs, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from zen_pipeline.artifacts import Built, canonical_json
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError
from zen_pipeline.files import file_digest, own_file, read_json_object
from zen_pipeline.machine.facts import gpu_names
from zen_pipeline.models.starts.choice import NEXT_TOKEN_RATE, Start, choose_start, tables_file
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext
from zen_pipeline.stages.pretrain_material import make_material, vocab_size
from zen_pipeline.stages.resolve import family_of, load_resolved, pretrains
from zen_pipeline.training.dial import Resolved
from zen_pipeline.training.job import Schedule, TrainingJob, TrainingResult
from zen_pipeline.training.launcher import launch
from zen_pipeline.training.rules import model_fields
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 7
_MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")


def _needs(config: Config) -> tuple[str, ...]:
    if family_of(config) == "marian":
        return ("validate", "resolve", "tokenize")
    return ("resolve", "tokenize", "embed") if _uses_vectors(config) else ("resolve", "tokenize")


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


def model_digest(folder: Path) -> str:
    """SHA-256 over the files of a Hugging Face folder that decide what is loaded from it.

    Raises:
        ConfigError: there is no such folder, or no model in it.
    """
    import hashlib

    from zen_pipeline.corpus.tokens.tokenizer import tokenizer_files

    names = {path.name for pattern in _MODEL_FILES for path in folder.glob(pattern)}
    files = {name: path for name in names if (path := own_file(folder, name)) is not None} | tokenizer_files(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"init_from names {folder}, where no config.json is: give a Hugging Face model folder")
    digests = {name: file_digest(path) for name, path in files.items()}
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Write the job, train, and leave the model folder in `output`."""
    if not pretrains(config):
        return Built(
            kind="model",
            skipped="finetune.init_from names a model that is trained already; "
            "to pretrain as well, name it in pretrain.init_from",
        )
    resolved = load_resolved(inputs["resolve"].path)
    job = make_job(config, resolved, inputs, output, context)
    result = launch(job, work=context.work, progress=context.progress)
    return Built(kind="model", summary=summary(result))


def make_job(config: Config, resolved: Resolved, inputs: Inputs, output: Path, context: StageContext) -> TrainingJob:
    """The pretraining job; explicit settings win over the resolved ones."""
    own, tokens = config.pretrain, inputs["tokenize"].path
    start = _start(config, resolved, inputs)
    family = family_of(config)
    vocabulary = vocab_size(tokens)
    if own.init_from is not None:
        check_vocabulary(Path(own.init_from), vocabulary)
    material = make_material(config, resolved, inputs, context.work)
    return TrainingJob(
        name="pretrain",
        family=family,
        model=None if own.init_from is not None else model_fields(resolved.model, material.vocab_size, family),
        init_from=own.init_from,
        start=start,
        data=material.data,
        context=resolved.model.context_length,
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


def cuda_devices() -> int:
    """How many CUDA devices torch finds; torch is only imported where the driver lists some."""
    if not gpu_names():
        return 0
    import torch

    return torch.cuda.device_count()


def device_count(setting: int | Literal["auto"], batch: int, *, enlarge: str, gpus: int | None = None) -> int:
    """How many processes train together.

    Args:
        setting: `pretrain.devices`.
        batch: sequences of a step.
        enlarge: the setting that a larger batch follows from.
        gpus: CUDA devices; None: those of this machine.

    Raises:
        ConfigError: there are more of them than sequences in a batch, or than CUDA devices where there are any.
    """
    if setting == 1:
        return 1
    gpus = cuda_devices() if gpus is None else gpus
    if setting == "auto":
        return max(1, min(gpus, batch))
    if setting > batch:
        raise ConfigError(
            f"pretrain.devices is {setting}, but a batch has {batch} sequences, at least one for each: "
            f"set fewer devices, or more {enlarge}"
        )
    if 0 < gpus < setting:
        raise ConfigError(f"pretrain.devices is {setting}, but torch finds {gpus} CUDA devices: set at most {gpus}")
    return setting


def check_vocabulary(folder: Path, vocabulary: int) -> None:
    """Refuse a given model that has no embedding for some of the tokens.

    Raises:
        ConfigError: too few embeddings, or no readable config.json.
    """
    found = read_json_object(folder / "config.json").get("vocab_size")
    if not isinstance(found, int):
        raise ConfigError(f"{folder / 'config.json'} states no vocab_size")
    if vocabulary > found:
        raise ConfigError(
            f"the tokens have {vocabulary} ids, but the model in {folder} has {found} embeddings: the tokenizer must "
            "be the model's own"
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


def summary(result: TrainingResult) -> dict[str, Any]:
    """The figures of a training that are worth showing; `final` keeps them apart from MLflow's curves."""
    final = {"train_loss", "validation_loss", "validation_bits_per_byte", "tokens_per_second", "mfu"}
    own = {
        *("steps", "tokens", "parameters", "seconds", "precision", "threads", "device", "devices", "flops"),
        *("peak_memory_bytes", "peak_resident_bytes", "checkpoint_seconds", "sample_seconds", "sharding"),
    }
    energy = {"joules": result.energy_joules, "measured": result.energy_measured, "source": result.energy_source}
    return {
        **result.model_dump(mode="json", include=own),
        "energy": energy,
        "resumed": len(result.resumed_from),
        **({} if result.setback is None else {"setback": result.setback.model_dump(mode="json")}),
        "final": result.model_dump(mode="json", include=final, exclude_none=True),
    }


STAGE = Stage(
    name="pretrain",
    version=STAGE_VERSION,
    needs=_needs,
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("torch", "lightning"),
    retried=True,
)
run = STAGE.run
