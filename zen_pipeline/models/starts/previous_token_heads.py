"""Previous-token heads in the first layer: each attends to a fixed distance from the start, whatever the tokens are.

A transformer first has to learn a previous-token head (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"); later layers build on it, such as induction heads (Olsson et al. 2022, "In-context Learning and Induction
Heads"). Here the heads of the first layer have it from the start: the first attends to the token before, the second to
the one before that, and so on. What they read changes nothing by itself, because output projections start at zero
(`induction_heads` has a use for it), and all of it is trained like any other weight.

With rotary positions the score of a query and a key that are the same for every token is a sum of cosines of their
distance, one for each pair of dimensions that turns together: with phases that agree at one distance it peaks there. A
query that is the same for every token: all token vectors point to one side of a plane, the projection reads that
direction alone, and the normalization of queries and keys (QK-norm) takes away how far.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3

_MOST = 4  # heads
_SHARPNESS = 20.0  # the score at the head's own distance; other distances have less, down to minus this
RESTING = 0.1  # of their random weights is left to keys that no query reads, since two zeros would never learn
_LEAST_SIDE = 0.05  # cosine of every token vector and the direction that is read


@torch.no_grad()
def put_previous_token_heads(model: Qwen3) -> Tensor:
    """Set queries and keys of the first layer of an untrained model, and move token vectors that point away.

    Head h attends to the token h + 1 places before; heads behind the fourth keep their projections, unless they share a
    key with one of the four.

    Args:
        model: its token vectors are final but for the direction that is read: those that point away from the mean of
            all, of whatever length, get as much of it as makes the cosine 0.05.

    Returns:
        That direction, (C,), of length 1.
    """
    layer = model.model.layers[0]
    assert isinstance(layer, DecoderLayer)
    attention, config = layer.self_attn, model.config
    direction = _one_side(model.token_embeddings.weight)
    cos, sin = model.model.rotary.cos, model.model.rotary.sin  # (positions, D/2)
    # both halves together have a root mean square of 1, so QK-norm leaves them as they are
    amplitudes = (config.head_dim * _shares(cos)).sqrt()
    key = torch.cat((amplitudes, torch.zeros_like(amplitudes)))
    count = min(_MOST, attention.heads, len(cos) - 1)
    distances = range(1, count + 1)
    queries = torch.cat([torch.cat((amplitudes * cos[d], -amplitudes * sin[d])) for d in distances])
    keys = key.repeat(-(-count * attention.kv_heads // attention.heads))
    attention.q_proj.weight[: len(queries)] = queries[:, None] * direction
    unused = torch.cat((amplitudes, amplitudes)).repeat(len(keys) // config.head_dim) == 0
    rest = RESTING * unused[:, None] * attention.k_proj.weight[: len(keys)]
    attention.k_proj.weight[: len(keys)] = keys[:, None] * direction + rest
    gain = math.sqrt(_SHARPNESS / math.sqrt(config.head_dim))  # of queries and of keys; attention divides by the root
    attention.q_norm.weight.fill_(gain)
    attention.k_norm.weight.fill_(gain)
    return direction


def _one_side(vectors: Tensor) -> Tensor:
    """The direction of the mean of all vectors, (C,), after moving those that point away from it, in place."""
    lengths = vectors.norm(dim=1).clamp(min=1e-12)  # (V,)
    direction: Tensor = F.normalize((vectors / lengths[:, None]).mean(dim=0), dim=0)
    missing = (_LEAST_SIDE * lengths - vectors @ direction).clamp(min=0.0)
    vectors.add_(missing[:, None] * direction)
    return direction


def _shares(cosines: Tensor) -> Tensor:
    """Shares of the frequencies in the score, (D/2,), in all 1: the fastest ones equally, the best number.

    Slow ones hardly tell neighbours apart, and few fast ones come round to the same phases at a longer distance.

    Args:
        cosines: (positions, D/2) of the rotary angles: the contributions at each distance from the peak.
    """
    counts = torch.arange(1, cosines.shape[1] + 1)
    means = cosines.cumsum(dim=1) / counts  # (positions, D/2), of the fastest one, two, …
    best = int(counts[(_SHARPNESS * means).softmax(dim=0)[0].argmax()])
    return (counts <= best) / best
