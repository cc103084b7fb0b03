"""Induction heads in the second layer: they go on as the text did after the same token before.

Trained transformers have such heads (Olsson et al. 2022, "In-context Learning and Induction Heads"): they attend to
what followed an earlier occurrence of the present token, and raise the probability that it follows again. Gradients
find them late, because two layers have to fit each other before either is of use. Here they are there from the start,
as ordinary weights that training is free to change:

1. Some directions of the residual stream are cleared: those in which the tables of tokens hold least.
2. In the first layer the previous-token head (`previous_token_heads`) writes there which token it reads: a code, a
   projection of the token's vector which all tokens together fill evenly.
3. In the second layer queries read the code of the present token from its vector, and keys the code of the token
   before theirs from the cleared directions. Both are in those dimensions of a head that turn slowest with their
   position, so their product says whether the tokens are the same, and the more the nearer they stand.
4. Values and outputs of these heads take the vector of the token that they attend to into what raises the logit of the
   same token, as far as matrices of their rank can.

The first prediction is no better for it, since not all that is copied belongs there; what is gained shows after some
steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zen_pipeline.models.blocks import Attention
from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3
from zen_pipeline.models.starts.previous_token_heads import RESTING

# The best of those tried (docs/experiments.md).
_CODE_SHARE = 6  # a code has at most this part of the width
_WRITTEN = 2.0  # standard deviation of a code where it is written; token vectors have about 1
_SHARPNESS = 6.0  # the score of equal tokens side by side; that of unrelated ones is about 0
_BOOST = 2.0  # what the logit of a copied token gains in the mean, before the last normalization
_COPYING = 2  # key/value heads
_RIDGE = 0.01  # of the mean variance, in the two regressions
_TINY = 1e-6  # of what counts as nothing, where tables say nothing about their tokens


@torch.no_grad()
def put_induction_heads(model: Qwen3, direction: Tensor) -> None:
    """Set the first heads of the first two layers of an untrained model.

    Args:
        model: of two layers or more, with an untied head; its tables predict the next token, and its first head is a
            previous-token head. Both tables lose what they hold in the cleared directions.
        direction: (C,) unit vector that queries and keys of that head read; it is not cleared.
    """
    first, second = _attention(model, 0), _attention(model, 1)
    inputs, outputs = model.token_embeddings.weight, model.get_parameter("lm_head.weight")
    width, head_dim = inputs.shape[1], first.head_dim
    size = max(1, min(head_dim // 2, width // _CODE_SHARE))  # of a code
    cleared = _least_used(inputs, outputs, direction, size)  # (C, size)
    for table in (inputs, outputs):
        table.sub_(table @ cleared @ cleared.mT)
    tokens = F.rms_norm(inputs, (width,), eps=model.config.rms_norm_eps)  # (V, C), as the layers read them
    codes = _codes(tokens, cleared)  # (size, C)

    first.v_proj.weight[:size] = codes
    first.o_proj.weight[:, :size] = _WRITTEN * cleared

    gain = math.sqrt(_SHARPNESS / math.sqrt(head_dim))  # of queries and of keys; attention divides by the root
    second.q_norm.weight.fill_(gain)
    second.k_norm.weight.fill_(gain)
    half = head_dim // 2  # dimensions i and i + half turn together, the last ones slowest
    slow = [half - 1 - i // 2 + (i % 2) * half for i in range(size)]
    copying = min(_COPYING, second.kv_heads)
    rank = min(head_dim, (width - size) // copying)  # of each
    reads, writes = _same_token(tokens, outputs, cleared, rank=copying * rank)
    shared = second.heads // second.kv_heads  # queries of a key: the first of each group copies
    for head in range(copying):
        key, query, part = head * head_dim, head * shared * head_dim, slice(head * rank, (head + 1) * rank)
        queries, keys = second.q_proj.weight[query : query + head_dim], second.k_proj.weight[key : key + head_dim]
        queries.zero_()[slow] = codes
        keys.mul_(RESTING)[slow] = cleared.mT
        second.v_proj.weight[key : key + rank] = reads[part]
        second.o_proj.weight[:, query : query + rank] = writes[:, part]


def _attention(model: Qwen3, number: int) -> Attention:
    layer = model.model.layers[number]
    assert isinstance(layer, DecoderLayer)
    return layer.self_attn


def _least_used(inputs: Tensor, outputs: Tensor, kept: Tensor, count: int) -> Tensor:
    """Orthonormal directions, (C, count), orthogonal to `kept`, in which both tables together vary least."""
    used = torch.outer(kept, kept) * 2.0  # more than any other direction can have
    others = torch.eye(len(kept)) - torch.outer(kept, kept)
    for table in (F.rms_norm(inputs, inputs.shape[1:]), outputs - outputs.mean(dim=0)):
        moments = others @ table.mT @ table @ others
        used += moments / (2.0 * moments.trace().clamp(min=_TINY))
    _, directions = torch.linalg.eigh(used)  # by ascending eigenvalues
    return _with_fixed_signs(directions[:, :count])


def _codes(tokens: Tensor, cleared: Tensor) -> Tensor:
    """(size, C): the leading principal directions outside the mean and what is cleared, scaled to unit variance."""
    mean = F.normalize(tokens.mean(dim=0), dim=0)
    inside = torch.eye(len(mean)) - torch.outer(mean, mean) - cleared @ cleared.mT
    covariance = inside @ torch.cov(tokens.mT, correction=0) @ inside
    values, vectors = torch.linalg.eigh(covariance)
    size = cleared.shape[1]
    values, vectors = values[-size:], _with_fixed_signs(vectors[:, -size:])
    scales = torch.where(values > _TINY, values.clamp(min=_TINY).rsqrt(), 1.0)
    return (vectors * scales).mT


def _same_token(tokens: Tensor, outputs: Tensor, cleared: Tensor, *, rank: int) -> tuple[Tensor, Tensor]:
    """Matrices (rank, C) and (C, rank) whose product takes a token's vector to what raises its own logit by `_BOOST`.

    Least squares for outputs @ product @ tokens.T = one, regularized on both sides, then the best of that rank.
    """
    seen, wanted = tokens - tokens.mean(dim=0), outputs - outputs.mean(dim=0)  # softmax does not see a mean
    both = wanted.mT @ seen / len(seen)
    product = torch.linalg.solve(_regularized(seen), torch.linalg.solve(_regularized(wanted), both).mT).mT
    product -= cleared @ (cleared.mT @ product)
    _, values, right = torch.linalg.svd(product)
    reads = _with_fixed_signs(right[:rank].mT).mT
    writes = product @ reads.mT  # left singular vectors times their values
    root = values[:rank].clamp(min=_TINY).sqrt()
    reads, writes = reads * root[:, None], writes / root
    boost = ((seen @ reads.mT @ writes.mT) * wanted).sum(dim=1).mean()
    factor = math.sqrt(_BOOST / float(boost)) if boost > _TINY else 1.0
    return reads * factor, writes * factor


def _regularized(rows: Tensor) -> Tensor:
    """The covariance of centred rows, with a ridge."""
    covariance = rows.mT @ rows / len(rows)
    return covariance + (_RIDGE * covariance.trace() / len(covariance)).clamp(min=_TINY) * torch.eye(len(covariance))


def _with_fixed_signs(columns: Tensor) -> Tensor:
    """Each column with that sign which makes its largest number positive: a decomposition leaves it open."""
    largest = columns.gather(0, columns.abs().argmax(dim=0, keepdim=True))
    return columns * torch.where(largest < 0, -1.0, 1.0)
