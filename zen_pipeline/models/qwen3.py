"""Qwen3: a decoder with RMSNorm, QK-norm, rotary positions, grouped-query attention and SwiGLU (Yang et al. 2025).

Field names and state-dict keys are those of Hugging Face's `Qwen3ForCausalLM`, so no weight map is needed.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.models.blocks import Attention, Embedding, KeyValueCache, Linear, RMSNorm, RotaryEmbedding, SwiGLU


class Qwen3Config(BaseModel):
    """The shape of a model, in transformers' field names.

    `bos_token_id` and `eos_token_id` are written for the tools that generate; the defaults are this project's
    `<|endoftext|>`, which begins every document and ends the one before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    head_dim: int = Field(ge=2, multiple_of=2)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    rope_theta: float = Field(10_000.0, gt=0.0)
    rms_norm_eps: float = Field(1e-6, gt=0.0)
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        return self


class DecoderLayer(nn.Module):
    """Attention, then the feed-forward layer, each normalized before and added after."""

    def __init__(self, config: Qwen3Config, layer: int) -> None:
        super().__init__()
        eps = config.rms_norm_eps
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.self_attn = Attention(config.hidden_size, heads, kv_heads, config.head_dim, eps, layer)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps)

    @override
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Everything below the head: token embeddings, layers, last normalization."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryEmbedding(config.head_dim, config.max_position_embeddings, config.rope_theta)

    @override
    def forward(self, input_ids: Tensor, cache: KeyValueCache | None, position_ids: Tensor | None) -> Tensor:
        length = input_ids.shape[1]
        x = self.embed_tokens(input_ids)  # (B, T, C)
        cos, sin = self.rotary(0 if cache is None else cache.length, length, position_ids)
        for layer in self.layers:
            x = layer(x, cos, sin, cache)
        if cache is not None:
            cache.advance(length)
        return self.norm(x)  # type: ignore[no-any-return]


class Qwen3(nn.Module):
    """A causal language model of the Qwen3 family.

    Args:
        config: the shape.
        seed: of `init_weights`; None leaves the weights unset, for a caller that fills them from a checkpoint.
    """

    def __init__(self, config: Qwen3Config, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.tie_weights()
        if seed is not None:
            init_weights(self, seed)

    def tie_weights(self) -> None:
        """Let the head use the token embeddings, when the config says so; needed again after `to_empty`."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def hidden_states(
        self, input_ids: Tensor, *, cache: KeyValueCache | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """The normalized output of the last layer, (B, T, C), which `lm_head` turns into logits.

        Args:
            input_ids: (B, T) int64.
            cache: positions read before; the new ones are appended to it.
            position_ids: (B, T) or (T,) int64, each below `max_position_embeddings`; default: counted on from the
                cache. They only turn queries and keys: who sees whom follows from the order in the sequence.

        Raises:
            ValueError: more positions than `max_position_embeddings`.
        """
        return self.model(input_ids, cache, position_ids)  # type: ignore[no-any-return]

    @override
    def forward(
        self, input_ids: Tensor, *, cache: KeyValueCache | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """Logits of the next token at every position, (B, T, V); arguments as for `hidden_states`."""
        return self.lm_head(self.hidden_states(input_ids, cache=cache, position_ids=position_ids))  # type: ignore[no-any-return]


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

    normal(model.model.embed_tokens.weight, 0.02 if model.config.tie_word_embeddings else 1.0)
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
        normal(model.lm_head.weight, 0.001)


def matmul_parameters(config: Qwen3Config) -> int:
    """Weights that every token is multiplied with: all linear layers and the head, not the embedding look-up."""
    c, d = config.hidden_size, config.head_dim
    attention = c * d * (2 * config.num_attention_heads + 2 * config.num_key_value_heads)
    mlp = 3 * c * config.intermediate_size
    return config.num_hidden_layers * (attention + mlp) + c * config.vocab_size


def num_parameters(config: Qwen3Config) -> int:
    """All trained numbers of a model of this shape; tied embeddings count once."""
    gains = config.num_hidden_layers * (2 * config.hidden_size + 2 * config.head_dim) + config.hidden_size
    embeddings = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return matmul_parameters(config) + gains + embeddings


def flops_per_token(config: Qwen3Config, context: int) -> float:
    """FLOPs of forward and backward for one training token, in sequences of `context` tokens.

    Six per matmul weight (Kaplan et al. 2020), and for attention 12 per layer, query dimension and key that is looked
    at (PaLM, appendix B), where a causal query looks at (context + 1) / 2 keys on average: half of what PaLM counts.
    """
    query_size = config.num_attention_heads * config.head_dim
    return 6.0 * matmul_parameters(config) + 12.0 * config.num_hidden_layers * query_size * (context + 1) / 2
