"""Qwen3: a decoder with RMSNorm, QK-norm, rotary positions, grouped-query attention and SwiGLU (Yang et al. 2025).

Field names and state-dict keys are those of Hugging Face's `Qwen3ForCausalLM`, so no weight map is needed.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import MOST_POSITIONS, CausalModel, FamilyConfig, linear_weights
from zen_pipeline.models.blocks import (
    Attention,
    CacheShape,
    Embedding,
    KeyValueCache,
    Linear,
    RMSNorm,
    RotaryEmbedding,
    Stack,
    SwiGLU,
    Visible,
    document_positions,
    seen_before,
)


class Qwen3Config(FamilyConfig):
    """The shape of a model, in transformers' field names.

    `bos_token_id` and `eos_token_id` are written for the tools that generate; the defaults are this project's
    `<|endoftext|>`, which begins every document and ends the one before. `sliding_layers` says for each layer whether
    its queries see `sliding_window` keys only; empty: none does.
    """

    model_type: ClassVar[str] = "qwen3"
    only: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "attention_bias": (False,),
        "attention_dropout": (0, 0.0),
        "hidden_act": ("silu",),
    }

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    head_dim: int = Field(ge=2, multiple_of=2)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1, le=MOST_POSITIONS)
    rope_theta: float = Field(10_000.0, gt=0.0)
    rms_norm_eps: float = Field(1e-6, gt=0.0)
    tie_word_embeddings: bool = False
    sliding_window: int | None = Field(None, ge=1)
    sliding_layers: tuple[bool, ...] = ()
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        if self.sliding_layers and len(self.sliding_layers) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types names {len(self.sliding_layers)} layers, but num_hidden_layers is "
                f"{self.num_hidden_layers}"
            )
        if any(self.sliding_layers) and self.sliding_window is None:
            raise ValueError("layer_types asks for sliding windows, but sliding_window gives no size")
        return self

    @override
    @classmethod
    def derived_fields(cls, data: Mapping[str, Any], path: Path) -> dict[str, Any]:
        return {"rope_theta": _rope_theta(data, path), **_sliding_windows(data, path)}

    @override
    def to_hugging_face(self) -> dict[str, Any]:
        """`rope_theta` stands in both places, for readers of transformers 4's form."""
        fields = super().to_hugging_face()
        layers = fields.pop("sliding_layers")
        windows = {"layer_types": ["sliding_attention" if s else "full_attention" for s in layers]} if layers else {}
        return {
            **fields,
            **windows,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "use_sliding_window": any(layers),
            "use_cache": True,
        }

    @override
    def generation(self) -> dict[str, Any]:
        return {"bos_token_id": self.bos_token_id, "eos_token_id": self.eos_token_id}


def _rope_theta(data: Mapping[str, Any], path: Path) -> float:
    """The base of the rotary angles, which transformers 5 keeps in `rope_parameters` and version 4 at the top."""
    found = data.get("rope_theta", 10_000.0)
    for name in ("rope_scaling", "rope_parameters"):
        rope = data.get(name) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default" or set(rope) - {"rope_type", "type", "rope_theta"}:
            raise ConfigError(
                f"{path}: {name} is {reprlib.repr(rope)}, but only the default rotary positions are supported"
            )
        found = rope.get("rope_theta", found)
    return float(found)


def _sliding_windows(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Window and layers; transformers ignores both without `use_sliding_window`, and may leave `layer_types` out."""
    if not data.get("use_sliding_window"):
        if any(kind != "full_attention" for kind in data.get("layer_types") or ()):
            raise ConfigError(f"{path}: layer_types asks for sliding windows, but use_sliding_window is false")
        return {"sliding_window": None}
    kinds = data.get("layer_types")
    if kinds is None:
        first = int(data.get("max_window_layers", 28))
        kinds = ["sliding_attention" if i >= first else "full_attention" for i in range(data["num_hidden_layers"])]
    if unknown := set(kinds) - {"full_attention", "sliding_attention"}:
        raise ConfigError(f"{path}: layer_types holds {reprlib.repr(min(unknown))}, which is not supported")
    return {"sliding_layers": tuple(kind == "sliding_attention" for kind in kinds)}


class DecoderLayer(nn.Module):
    """Attention, then the feed-forward layer, each normalized before and added after."""

    def __init__(self, config: Qwen3Config, layer: int) -> None:
        super().__init__()
        eps = config.rms_norm_eps
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.slides = bool(config.sliding_layers) and config.sliding_layers[layer]
        self.self_attn = Attention(config.hidden_size, heads, kv_heads, config.head_dim, eps, layer)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps)

    @override
    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, visible: Visible, cache: KeyValueCache | None = None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, visible, cache)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Everything below the head: token embeddings, layers, last normalization."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.window = config.sliding_window if any(config.sliding_layers) else None
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = Stack(DecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryEmbedding(config.head_dim, config.max_position_embeddings, config.rope_theta)

    @override
    def forward(
        self,
        input_ids: Tensor,
        cache: KeyValueCache | None,
        position_ids: Tensor | None,
        attention_mask: Tensor | None,
        documents: Tensor | None,
    ) -> Tensor:
        length, past = input_ids.shape[1], 0 if cache is None else cache.length
        x = self.embed_tokens(input_ids)  # (B, T, C)
        if documents is not None and position_ids is None:
            position_ids = document_positions(documents)
        cos, sin = self.rotary(past, length, position_ids)
        masks: dict[str, Any] = {"attention_mask": attention_mask, "documents": documents}
        visible = seen_before(length, past, x.device, **masks)
        near = visible if self.window is None else seen_before(length, past, x.device, window=self.window, **masks)
        for layer in self.layers:
            x = self.layers.run(layer, x, cos, sin, near if layer.slides else visible, cache)
        if cache is not None:
            cache.advance(length)
        return self.norm(x)  # type: ignore[no-any-return]


class Qwen3(CausalModel):
    """A causal language model of the Qwen3 family.

    Args:
        config: the shape.
        seed: of `init_weights`; None leaves the weights unset, for a caller that fills them from a checkpoint.
    """

    architecture = "Qwen3ForCausalLM"
    also_reads = ("Qwen3Model",)  # without the head, which is the table of tokens where both are tied
    config: Qwen3Config

    def __init__(self, config: Qwen3Config, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.tie_weights()
        if seed is not None:
            init_weights(self, seed)

    @property
    @override
    def token_embeddings(self) -> nn.Embedding:
        return self.model.embed_tokens

    @property
    @override
    def cache_shape(self) -> CacheShape:
        config = self.config
        return CacheShape(config.num_hidden_layers, config.num_key_value_heads, config.head_dim)

    @override
    @classmethod
    def name_of(cls, stored: str) -> str | None:
        """Files of the bare model have no prefix."""
        return stored if stored.startswith(("model.", "lm_head.")) else f"model.{stored}"

    @override
    def tied(self) -> dict[str, str]:
        return {"lm_head.weight": "model.embed_tokens.weight"} if self.config.tie_word_embeddings else {}

    @override
    def fill_buffers(self, device: torch.device | str) -> None:
        self.model.rotary.fill(device)

    @override
    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: KeyValueCache | None = None,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        return self.model(input_ids, cache, position_ids, attention_mask, documents)  # type: ignore[no-any-return]

    @override
    def flops_per_token(self, context: int) -> float:
        """A causal query looks at (context + 1) / 2 keys on average: half of what PaLM counts."""
        query_size = self.config.num_attention_heads * self.config.head_dim
        keys = (context + 1) / 2
        return 6.0 * linear_weights(self) + 12.0 * self.config.num_hidden_layers * query_size * keys


@torch.no_grad()
def init_weights(model: Qwen3, seed: int) -> None:
    """Fill all weights; equal for equal seeds, whatever the global generator's state, which is left alone.

    The scheme of nanochat and modded-nanogpt:
    1. Matrices that read the residual stream (q, k, v, gate, up): uniform with standard deviation 1/sqrt(fan_in), so
       that normalized input stays at unit scale. Uniform has no outliers that bf16 rounds badly.
    2. Matrices that write to it (o, down): zero, so that each layer starts as the identity.
    3. Token embeddings: normal, standard deviation 1, which is what RMSNorm makes of them anyway. When they are also
       the head: 0.02 (GPT-2's), or the first logits would be large.
    4. A head of its own: normal with standard deviation 0.001: the first prediction is nearly uniform.
    5. Gains: one.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)

    def fill(weight: Tensor, values: Tensor) -> None:
        weight.copy_(values)

    def normal(weight: Tensor, std: float) -> None:
        fill(weight, torch.randn(weight.shape, generator=generator) * std)

    normal(model.token_embeddings.weight, 0.02 if model.config.tie_word_embeddings else 1.0)
    for layer in model.model.layers:
        assert isinstance(layer, DecoderLayer)
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            bound = math.sqrt(3.0 / linear.in_features)  # a uniform on ±b has the standard deviation b / sqrt(3)
            fill(linear.weight, (torch.rand(linear.weight.shape, generator=generator) * 2 - 1) * bound)
        attention.o_proj.weight.zero_()
        mlp.down_proj.weight.zero_()
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.weight.fill_(1.0)
    if not model.config.tie_word_embeddings:
        normal(model.get_parameter("lm_head.weight"), 0.001)
