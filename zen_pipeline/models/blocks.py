"""Building blocks of the families: linear maps, normalization, positions, attention and who sees whom in it.

Shapes in comments: B sequences, T positions, S positions that can be looked at, C hidden size, H query heads,
K key/value heads, D head size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from zen_pipeline.models import fused

_LONGEST = 512  # positions up to which the gradient of attention with whole matrices is faster, see docs/experiments.md

Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish"]
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


_own = threading.local()


@contextmanager
def dropout_from(generator: torch.Generator) -> Iterator[None]:
    """Let `dropout` draw from a generator of this thread while the block lasts, on the CPU.

    PyTorch's own draws from one generator in the order in which threads ask. Not with recomputed activations, which
    would draw again.
    """
    _own.generator = generator
    try:
        yield
    finally:
        _own.generator = None


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zeros instead of a share of the numbers in training, and the others larger by as much."""
    generator: torch.Generator | None = getattr(_own, "generator", None)
    if not training or rate == 0.0 or generator is None:
        return F.dropout(x, rate, training)
    kept = torch.empty_like(x).bernoulli_(1.0 - rate, generator=generator)
    return x * kept.div_(1.0 - rate)


class CacheShape(NamedTuple):
    """What the key/value cache of a decoder holds for each position: layers, key/value heads, and their size."""

    layers: int
    kv_heads: int
    head_dim: int


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
    """A linear map; its memory is filled by the model's initialization or by a checkpoint, not twice."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)

    @override
    def reset_parameters(self) -> None:
        """Leave the memory as it is: torch's own initialization would draw from the global generator."""


class Embedding(nn.Embedding):
    """A table of vectors; filled like `Linear`. The row of `padding_idx` gets no gradient from what is looked up."""

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
        if fused.pays(x):  # in the dtype of the matrix products that read it, which would each convert it
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            return fused.apply(fused.RMSNorm, x, self.weight, self.eps, dtype)
        # autocast leaves the gain in float32
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class LayerNorm(nn.LayerNorm):
    """Layer normalization (Ba et al. 2016) for matrix products to read; see `RMSNorm`."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        if fused.pays(input) and torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            return fused.apply(fused.LayerNorm, input, self.weight, self.bias, self.eps, dtype)
        return super().forward(input)


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
        if torch.get_default_device().type != "meta":
            self.fill()

    def fill(self, device: torch.device | str = "cpu") -> None:
        """Compute the tables; needed after a move from the meta device.

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
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    if fused.pays(x):
        return fused.apply(fused.Rotation, x, cos, sin)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Stack(nn.ModuleList):
    """Layers that are run one after the other.

    Attributes:
        recompute: compute the activations inside a layer again in the backward pass, instead of keeping them.
    """

    recompute = False

    def run(self, layer: nn.Module, *arguments: object) -> Tensor:
        """The output of one layer."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(layer, *arguments, use_reentrant=False)  # type: ignore[no-any-return]
        return layer(*arguments)  # type: ignore[no-any-return]


class Visible(NamedTuple):
    """Who sees whom in attention.

    Attributes:
        mask: True where a query sees a key, broadcast to (B, H, T, S); None: see `causal`.
        causal: without a mask, whether a query sees the keys up to its own position, or all.
    """

    mask: Tensor | None
    causal: bool


def seen_before(
    length: int,
    past: int,
    device: torch.device,
    *,
    attention_mask: Tensor | None = None,
    documents: Tensor | None = None,
    window: int | None = None,
) -> Visible:
    """What T = `length` queries at positions `past`… see of S = past + T keys: those up to their own.

    Args:
        length: queries.
        past: keys from before.
        device: where the mask is needed.
        attention_mask: (B, S), 0 where a key is padding.
        documents: (B, T) document of each token, without a past; a query sees only its own document.
        window: a query sees so many keys, its own included.
    """
    narrow = window is not None and past + length > window
    if attention_mask is None and documents is None and not narrow:
        if past == 0:
            return Visible(None, causal=True)
        if length == 1:
            return Visible(None, causal=False)
    keys = torch.arange(past + length, device=device)
    queries = keys[past:, None]
    mask = keys <= queries  # (T, S); SDPA's own causal mask starts at the first key, not `past` keys later
    if window is not None:
        mask = mask & (keys > queries - window)
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])  # (B, 1, T, S)
    if attention_mask is not None:
        # a padding position sees itself, since a softmax over nothing is not a number
        mask = (mask & attention_mask[:, None, None, :].bool()) | (keys == queries)
    return Visible(mask, causal=False)


def seen_everywhere(attention_mask: Tensor | None) -> Visible:
    """What an encoder's queries see: every key that is no padding; `attention_mask` is (B, S)."""
    return Visible(None if attention_mask is None else attention_mask[:, None, None, :].bool(), causal=False)


def document_positions(documents: Tensor) -> Tensor:
    """Positions counted from the start of each document, (B, T), from the document of each token."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(starts, places, 0).cummax(dim=1).values


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Visible, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of (B, H, T, D) queries over (B, K, S, D) keys and values; (B, T, H * D).

    No matrix of attention weights is kept where the device has a kernel for it.
    """
    plain = visible.mask is None and visible.causal and not dropout and q.shape == k.shape
    if plain and q.dtype == torch.bfloat16 and q.shape[2] <= _LONGEST and fused.pays(q):
        return fused.apply(fused.CausalAttention, q, k, v).transpose(1, 2).flatten(2)
    y = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=visible.mask,
        is_causal=visible.causal,
        dropout_p=dropout,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return y.transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * D) as (B, heads, T, D)."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


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
    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, visible: Visible, cache: KeyValueCache | None = None
    ) -> Tensor:
        batch, length, _ = x.shape  # (B, T, C)
        q = self.q_norm(self.q_proj(x).view(batch, length, self.heads, self.head_dim))
        k = self.k_norm(self.k_proj(x).view(batch, length, self.kv_heads, self.head_dim))
        v = split_heads(self.v_proj(x), self.kv_heads)  # (B, K, T, D)
        q = rotate(q, cos, sin).transpose(1, 2)  # (B, H, T, D)
        k = rotate(k, cos, sin).transpose(1, 2)  # (B, K, T, D)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)  # (B, K, S, D)
        return self.o_proj(attend(q, k, v, visible))  # type: ignore[no-any-return]


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
