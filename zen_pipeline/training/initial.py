"""The model that training starts from: random, a Hugging Face folder, or random with token tables and heads put in."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import FamilyModel
from zen_pipeline.models.families import CONFIGS, new_model
from zen_pipeline.models.folder import load_any
from zen_pipeline.models.induction_heads import start_induction_heads
from zen_pipeline.models.position_heads import start_position_heads
from zen_pipeline.models.qwen3 import Qwen3
from zen_pipeline.training.job import TrainingJob


def initial_model(job: TrainingJob) -> FamilyModel:
    """The untrained model of a job, in float32 on the CPU.

    Raises:
        ConfigError: the folder to start from cannot be used.
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
    if job.next_token_vectors is not None:
        put_next_token_vectors(model, Path(job.next_token_vectors))
    if job.token_vectors is not None:
        put_token_vectors(model, Path(job.token_vectors))
    if job.position_heads and isinstance(model, Qwen3):
        looking_back = start_position_heads(model)
        if job.induction_heads:
            start_induction_heads(model, looking_back)
    model.recompute_activations(job.recompute_activations)
    return model.train()


@torch.no_grad()
def put_next_token_vectors(model: FamilyModel, path: Path) -> None:
    """Start embedding and head from vectors that predict the next token as the bigram does.

    The residual branches of a new model are zero, so its first prediction is softmax(norm(input) @ output.T), which is
    what the vectors were fitted to, until heads that copy are put in.

    Raises:
        ConfigError: the vectors are for another vocabulary or width, or the model has no head of its own, or is of
            another family: where positions are added to the token vectors, the first prediction is not theirs.
    """
    from safetensors.torch import load_file

    if not isinstance(model, Qwen3):
        raise ConfigError(f"next-token vectors start models of the qwen3 family, not {model.config.model_type}")
    if model.config.tie_word_embeddings:
        raise ConfigError("next-token vectors need an untied head: leave pretrain.model.tie_embeddings at false")
    vectors = load_file(path)
    for name, weight in (("input", model.token_embeddings.weight), ("output", model.get_parameter("lm_head.weight"))):
        if vectors[name].shape != weight.shape:
            raise ConfigError(
                f"{path} holds {name} vectors of shape {tuple(vectors[name].shape)}, "
                f"but the model's are {tuple(weight.shape)}"
            )
        weight.copy_(vectors[name])


@torch.no_grad()
def put_token_vectors(model: FamilyModel, path: Path) -> int:
    """Replace token embeddings by trained vectors, and return how many were.

    1. Tokens without a vector (a row of zeros: in no word) keep their random embedding.
    2. Wider vectors than the model's are projected on their first principal directions (SVD of the centred vectors,
       signs fixed); narrower ones fill the first columns and the other columns stay random.
    3. The filled part is centred and scaled to the standard deviation that the random embedding had there.

    Raises:
        ConfigError: the vectors are for another vocabulary.
    """
    from safetensors.torch import load_file

    vectors = load_file(path)["vectors"].float()  # (V, D)
    weight = model.token_embeddings.weight
    if len(vectors) != len(weight):
        raise ConfigError(f"{path} holds {len(vectors)} token vectors, but the model's vocabulary has {len(weight)}")
    known = vectors.abs().sum(dim=1) > 0
    if not known.any():
        return 0
    filled = _to_width(vectors[known], weight.shape[1])
    width = filled.shape[1]
    scale = weight[:, :width].std() / filled.std().clamp(min=1e-12)
    weight[known, :width] = filled * scale
    return int(known.sum())


def _to_width(vectors: Tensor, width: int) -> Tensor:
    centred = vectors - vectors.mean(dim=0)
    if vectors.shape[1] <= width:
        return centred
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)  # (min(V, D), D)
    directions = directions[:width]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    projected: Tensor = centred @ (directions * largest.sign()).T
    return projected
