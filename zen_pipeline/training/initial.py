"""The model that training starts from: a Hugging Face folder, or a new one with a start put in."""

from __future__ import annotations

from pathlib import Path

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import FamilyModel
from zen_pipeline.models.families import CONFIGS, new_model
from zen_pipeline.models.folder import load_any
from zen_pipeline.models.starts.apply import apply_start
from zen_pipeline.training.job import TrainingJob


def initial_model(job: TrainingJob) -> FamilyModel:
    """The untrained model of a job, in float32 on the CPU.

    Raises:
        ConfigError: the folder to start from, or the start, cannot be used.
    """
    if job.init_from is not None:
        model = load_any(Path(job.init_from), FamilyModel)
    elif job.model is not None:
        model = new_model(CONFIGS[job.family].model_validate(job.model), seed=job.seed)
    else:
        raise ConfigError("a training job names neither a shape nor a folder to start from")
    if job.context > model.config.max_position_embeddings:
        raise ConfigError(
            f"sequences of {job.context} tokens are longer than the model's {model.config.max_position_embeddings} "
            "positions: set pretrain.model.context_length to that, or less"
        )
    apply_start(model, job.start)
    model.recompute_activations(job.recompute_activations)
    return model.train()
