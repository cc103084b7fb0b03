"""A second layer that copies: heads which begin by going on as the text did after the same token before.

Trained transformers have such heads (Olsson et al. 2022, "In-context Learning and Induction Heads"): they look for an
earlier occurrence of the present token and raise the probability of what came after it. Gradients find them late,
because two layers have to fit each other before either is of use. Here they are there from the start, as ordinary
weights that training is free to change:

1. Some directions of the residual stream are cleared: those in which the tables of tokens hold least.
2. In the first layer the head that looks one token back (`models/position_heads.py`) writes there which token it sees:
   a code, a projection of the token's vector which all tokens together fill evenly.
3. In the second layer queries read the code of the present token from its vector, and keys the code of the token
   before theirs from the cleared directions. Both turn slowly with their position, so their product says whether the
   tokens are the same, more or less wherever they stand.
4. Values and outputs of these heads take the vector of the token that is looked at to what raises the logit of the same
   token, as far as matrices of their rank can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zen_pipeline.models.blocks import Attention
from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3

# The best of those tried (docs/experiments.md).
_CODE_SHARE = 6  # a code has at most this part of the width
_WRITTEN = 2.0  # standard deviation of a code where it is written; token vectors have about 1
_SHARPNESS = 6.0  # the score of equal tokens; that of unrelated ones is about 0
_BOOST = 2.0  # what the logit of a copied token gains in the mean, before the last normalization
_COPYING = 2  # key/value heads
_TINY = 1e-6  # instead of nothing, where tables say nothing about their tokens
_RIDGE = 0.01  # of the mean variance, in the two regressions


@torch.no_grad()
def start_induction_heads(model: Qwen3, looking_back: Tensor) -> None:
    """Set the first heads of the first two layers of an untrained model.

    Args:
        model: of two layers or more, with an untied head; its tables predict the next token, and its first head looks
            one token back. Both tables lose what they hold in the cleared directions.
        looking_back: (C,) unit vector that queries and keys of that head read; it is not cleared.
    """
    first, second = _attention(model, 0), _attention(model, 1)
    inputs, outputs = model.token_embeddings.weight, model.get_parameter("lm_head.weight")
    size = min(first.head_dim // 2, inputs.shape[1] // _CODE_SHARE)  # of a code
    cleared = _least_used(inputs, outputs, looking_back, size)  # (C, size)
    for table in (inputs, outputs):
        table.sub_(table @ cleared @ cleared.mT)
    tokens = F.rms_norm(inputs, inputs.shape[1:])  # (V, C), as the layers read them
    codes = _codes(tokens, cleared)  # (size, C)

    width = first.head_dim
    first.v_proj.weight[:width] = _rows(width, range(size), codes)
    first.o_proj.weight[:, :size] = _WRITTEN * cleared

    gain = math.sqrt(_SHARPNESS / math.sqrt(width))  # of queries and of keys; attention divides by the root
    second.q_norm.weight.fill_(gain)
    second.k_norm.weight.fill_(gain)
    # dimensions i and i + width / 2 turn together, the last ones slowest
    slow = [width // 2 - 1 - i // 2 + (i % 2) * (width // 2) for i in range(size)]
    copying = min(_COPYING, second.kv_heads)
    values, writes = _same_token(tokens, outputs, cleared, rank=copying * width)
    shared = second.heads // second.kv_heads  # queries of a key: the first of each group copies
    for head in range(copying):
        own = slice(head * width, (head + 1) * width)
        asking = slice(head * shared * width, (head * shared + 1) * width)
        second.q_proj.weight[asking] = _rows(width, slow, codes)
        second.k_proj.weight[own] = _rows(width, slow, cleared.mT)
        second.v_proj.weight[own] = values[own]
        second.o_proj.weight[:, asking] = writes[:, own]


def _attention(model: Qwen3, number: int) -> Attention:
    layer = model.model.layers[number]
    assert isinstance(layer, DecoderLayer)
    return layer.self_attn


def _rows(count: int, places: Sequence[int], rows: Tensor) -> Tensor:
    """`count` rows of zeros but for the given ones at their places."""
    result = rows.new_zeros(count, rows.shape[1])
    result[list(places)] = rows
    return result


def _least_used(inputs: Tensor, outputs: Tensor, kept: Tensor, count: int) -> Tensor:
    """Orthonormal directions, (C, count), orthogonal to `kept`, in which both tables together vary least."""
    used = torch.outer(kept, kept) * 2.0  # more than any other direction can have
    others = torch.eye(len(kept)) - torch.outer(kept, kept)
    for table in (F.rms_norm(inputs, inputs.shape[1:]), outputs - outputs.mean(dim=0)):
        moments = others @ table.mT @ table @ others
        used += moments / (2.0 * moments.trace().clamp(min=_TINY))
    _, directions = torch.linalg.eigh(used)  # by ascending eigenvalues
    result: Tensor = directions[:, :count]
    return result


def _codes(tokens: Tensor, cleared: Tensor) -> Tensor:
    """(size, C): the leading principal directions outside the mean and what is cleared, scaled to unit variance."""
    mean = F.normalize(tokens.mean(dim=0), dim=0)
    inside = torch.eye(len(mean)) - torch.outer(mean, mean) - cleared @ cleared.mT
    covariance = inside @ torch.cov(tokens.mT, correction=0) @ inside
    values, vectors = torch.linalg.eigh(covariance)
    size = cleared.shape[1]
    result: Tensor = (vectors[:, -size:] / values[-size:].clamp(min=_TINY).sqrt()).mT
    return result


def _same_token(tokens: Tensor, outputs: Tensor, cleared: Tensor, *, rank: int) -> tuple[Tensor, Tensor]:
    """Matrices (rank, C) and (C, rank) whose product takes a token's vector to what raises its own logit by `_BOOST`.

    Least squares for outputs @ product @ tokens.T = one, regularized on both sides, then the best of that rank.
    """
    seen, wanted = tokens - tokens.mean(dim=0), outputs - outputs.mean(dim=0)  # softmax does not see a mean
    both = wanted.mT @ seen / len(seen)
    product = torch.linalg.solve(_regularized(seen), torch.linalg.solve(_regularized(wanted), both).mT).mT
    product -= cleared @ (cleared.mT @ product)
    left, values, right = torch.linalg.svd(product)
    root = values[:rank].sqrt()
    reads, writes = root[:, None] * right[:rank], left[:, :rank] * root
    boost = ((seen @ reads.mT @ writes.mT) * wanted).sum(dim=1).mean()
    factor = math.sqrt(_BOOST / max(float(boost), _TINY))
    return reads * factor, writes * factor


def _regularized(rows: Tensor) -> Tensor:
    """The covariance of centred rows, with a ridge."""
    covariance = rows.mT @ rows / len(rows)
    return covariance + (_RIDGE * covariance.trace() / len(covariance)).clamp(min=_TINY) * torch.eye(len(covariance))
