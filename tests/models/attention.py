"""What a layer attends to, written down from the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from zen_pipeline.models.blocks import rotate
from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3


def attention_weights(model: Qwen3, layer: DecoderLayer, hidden: Tensor) -> Tensor:
    """(H, T, T) of one layer that reads the residual stream `hidden`, (1, T, C)."""
    length, own = hidden.shape[1], layer.self_attn
    x = layer.input_layernorm(hidden)
    cos, sin = model.model.rotary(0, length)
    q = rotate(own.q_norm(own.q_proj(x).view(1, length, own.heads, -1)), cos, sin)[0].transpose(0, 1)
    k = rotate(own.k_norm(own.k_proj(x).view(1, length, own.kv_heads, -1)), cos, sin)[0].transpose(0, 1)
    k = k.repeat_interleave(own.heads // own.kv_heads, dim=0)
    scores = q @ k.mT / own.head_dim**0.5
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf")).softmax(dim=-1)
