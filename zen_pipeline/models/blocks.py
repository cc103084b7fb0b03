"""Building blocks shared by the decoder families: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Shapes in comments: B sequences, T positions, S positions that can be looked at, C hidden size, H query heads,
K key/value heads, D head size.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override


class KeyValueCache(Protocol):
    """Keys and values of the positions that were read before (see `zen_pipeline.inference.cache`)."""

    length: int

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, K, T, D) keys and values of one layer; returns all so far, (B, K, length + T, D)."""
        ...

    def advance(self, positions: int) -> None:
        """Count the appended positions, once every layer has seen them."""
        ...


class Linear(nn.Linear):
    """A linear map without bias; its memory is filled by `init_weights` or by a checkpoint, not twice."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    @override
    def reset_parameters(self) -> None:
        """Leave the memory as it is: torch's own initialization would draw from the global generator."""


class Embedding(nn.Embedding):
    """A table of vectors; filled like `Linear`."""

    @override
    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class RMSNorm(nn.Module):
    """Root-mean-square normalization with a gain (Zhang and Sennrich 2019), over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    @override
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(
            x, self.weight.shape, self.weight.to(x.dtype), self.eps
        )  # autocast leaves the gain in float32


class RotaryEmbedding(nn.Module):
    """Rotary positions (Su et al. 2021), the half-split form: dimension i turns together with i + D/2.

    The cosines and sines of all positions are computed once, in float32, (max_positions, D/2). They follow from the
    config, so they are not part of the state dict.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_positions: int, theta: float) -> None:
        super().__init__()
        self.head_dim, self.max_positions, self.theta = head_dim, max_positions, theta
        self.fill()

    def fill(self, device: torch.device | str = "cpu") -> None:
        """Compute the tables; needed again after a move from the meta device.

        Never on the meta device itself, where arithmetic makes torch import its compiler, which takes seconds.
        """
        exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=device) / self.head_dim
        positions = torch.arange(self.max_positions, dtype=torch.float32, device=device)
        angles = positions[:, None] * (1.0 / self.theta**exponent)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    @override
    def forward(self, start: int, length: int, position_ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cosines and sines to multiply (B, T, heads, D/2) with: (T, 1, D/2), or (B, T, 1, D/2) for given positions.

        Raises:
            ValueError: the positions from `start` on reach beyond the table.
        """
        if position_ids is not None:
            return self.cos[position_ids].unsqueeze(-2), self.sin[position_ids].unsqueeze(-2)
        if start + length > self.max_positions:
            raise ValueError(f"{start + length} positions, but the model was built for {self.max_positions}")
        window = slice(start, start + length)
        return self.cos[window].unsqueeze(-2), self.sin[window].unsqueeze(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + D/2]) of (B, T, heads, D) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al. 2023) with RMSNorm on each query and key head (QK-norm)."""

    def __init__(self, hidden_size: int, heads: int, kv_heads: int, head_dim: int, eps: float, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.layer = heads, kv_heads, head_dim, layer
        self.q_proj = Linear(hidden_size, heads * head_dim)
        self.k_proj = Linear(hidden_size, kv_heads * head_dim)
        self.v_proj = Linear(hidden_size, kv_heads * head_dim)
        self.o_proj = Linear(heads * head_dim, hidden_size)
        self.q_norm = RMSNorm(head_dim, eps)
        self.k_norm = RMSNorm(head_dim, eps)

    @override
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        batch, length, _ = x.shape  # (B, T, C)
        q = self.q_norm(self.q_proj(x).view(batch, length, self.heads, self.head_dim))
        k = self.k_norm(self.k_proj(x).view(batch, length, self.kv_heads, self.head_dim))
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        q = rotate(q, cos, sin).transpose(1, 2)  # (B, H, T, D)
        k = rotate(k, cos, sin).transpose(1, 2)  # (B, K, T, D)
        past = 0
        if cache is not None:
            past = cache.length
            k, v = cache.update(self.layer, k, v)  # (B, K, S, D)
        y = attend(q, k, v, past)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


def attend(q: Tensor, k: Tensor, v: Tensor, past: int) -> Tensor:
    """Causal attention of T queries (B, H, T, D) at positions `past`… over S = past + T keys (B, K, S, D)."""
    grouped = q.shape[1] != k.shape[1]
    length = q.shape[2]
    if past == 0:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    mask = None
    if length > 1:  # SDPA's own causal mask starts at the first key, not `past` keys later
        mask = torch.ones(length, past + length, dtype=torch.bool, device=q.device).tril(past)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size)
        self.up_proj = Linear(hidden_size, intermediate_size)
        self.down_proj = Linear(intermediate_size, hidden_size)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]
