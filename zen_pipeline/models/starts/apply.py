"""Puts a start into a new model: token tables first, then the heads that are built on them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import FamilyModel
from zen_pipeline.models.qwen3 import Qwen3
from zen_pipeline.models.starts.choice import Start
from zen_pipeline.models.starts.induction_heads import put_induction_heads
from zen_pipeline.models.starts.previous_token_heads import put_previous_token_heads


def apply_start(model: FamilyModel, start: Start) -> None:
    """Set first weights of an untrained model, in place.

    Raises:
        ConfigError: vectors or heads are not for this model.
    """
    if start.next_token_vectors is not None:
        put_next_token_vectors(model, Path(start.next_token_vectors))
    if start.token_vectors is not None:
        put_token_vectors(model, Path(start.token_vectors))
    if start.previous_token_heads:
        if not isinstance(model, Qwen3):
            raise ConfigError(f"previous-token heads start models of the qwen3 family, not {model.config.model_type}")
        direction = put_previous_token_heads(model)
        if start.induction_heads:
            if model.config.num_hidden_layers < 2:
                raise ConfigError("induction heads need a model of two layers or more")
            put_induction_heads(model, direction)


@torch.no_grad()
def put_next_token_vectors(model: FamilyModel, path: Path) -> None:
    """Start embedding and head from vectors that predict the next token as the bigram does.

    The residual branches of a new model are zero, so its first prediction is softmax(norm(input) @ output.T), which is
    what the vectors were fitted to, until induction heads are put in.

    Raises:
        ConfigError: the vectors are for another vocabulary or width, or the model has no head of its own, or is of
            another family: where positions are added to the token vectors, the first prediction is not theirs.
    """
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
    """The vectors, centred, (V, at most `width`)."""
    centred = vectors - vectors.mean(dim=0)
    if vectors.shape[1] <= width:
        return centred
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)  # (min(V, D), D)
    directions = directions[:width]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    projected: Tensor = centred @ (directions * largest.sign()).T
    return projected
