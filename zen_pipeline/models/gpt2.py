"""GPT-2: a decoder with LayerNorm, learned positions and a GELU feed-forward layer (Radford et al. 2019).

Field names and state-dict keys are those of Hugging Face's `GPT2LMHeadModel`. Its files keep the weights of the layers
as (in, out), the other way round than a linear map does, so they are transposed on the way in and out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.models.base import MOST_POSITIONS, CausalModel, FamilyConfig, init_normal, linear_weights
from zen_pipeline.models.blocks import (
    ACTIVATIONS,
    Activation,
    CacheShape,
    Embedding,
    KeyValueCache,
    LayerNorm,
    Linear,
    Stack,
    Visible,
    attend,
    document_positions,
    dropout,
    seen_before,
    split_heads,
)

_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


class GPT2Config(FamilyConfig):
    """The shape of a model, in transformers' field names; the defaults of the rates of dropout are none."""

    model_type: ClassVar[str] = "gpt2"
    only: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "add_cross_attention": (False,),
        "reorder_and_upcast_attn": (False,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "scale_attn_weights": (True,),
    }

    vocab_size: int = Field(ge=1)
    n_positions: int = Field(ge=1, le=MOST_POSITIONS)
    n_embd: int = Field(ge=1)
    n_layer: int = Field(ge=1)
    n_head: int = Field(ge=1)
    n_inner: int | None = Field(None, ge=1, description="default: 4 n_embd")
    activation_function: Activation = "gelu_new"
    resid_pdrop: float = Field(0.0, ge=0.0, lt=1.0)
    embd_pdrop: float = Field(0.0, ge=0.0, lt=1.0)
    attn_pdrop: float = Field(0.0, ge=0.0, lt=1.0)
    layer_norm_epsilon: float = Field(1e-5, gt=0.0)
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
        return self

    # The common names, under which transformers knows them too.

    @property
    @override
    def hidden_size(self) -> int:
        return self.n_embd

    @property
    @override
    def num_hidden_layers(self) -> int:
        return self.n_layer

    @property
    @override
    def num_attention_heads(self) -> int:
        return self.n_head

    @property
    @override
    def num_key_value_heads(self) -> int:
        return self.n_head

    @property
    @override
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    @override
    def intermediate_size(self) -> int:
        return self.n_inner or 4 * self.n_embd

    @property
    @override
    def max_position_embeddings(self) -> int:
        return self.n_positions

    @override
    def generation(self) -> dict[str, Any]:
        return {"bos_token_id": self.bos_token_id, "eos_token_id": self.eos_token_id}


class GPT2Attention(nn.Module):
    """Causal multi-head attention with one matrix for queries, keys and values."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd, bias=True)
        self.c_proj = Linear(config.n_embd, config.n_embd, bias=True)

    @override
    def forward(self, x: Tensor, visible: Visible, cache: KeyValueCache | None) -> Tensor:
        q, k, v = (split_heads(part, self.config.n_head) for part in self.c_attn(x).chunk(3, dim=-1))  # (B, H, T, D)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)  # (B, H, S, D)
        y = attend(q, k, v, visible, self.config.attn_pdrop if self.training else 0.0)  # (B, T, C)
        return dropout(self.c_proj(y), self.config.resid_pdrop, self.training)


class GPT2MLP(nn.Module):
    """Feed-forward layer."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.c_fc = Linear(config.n_embd, config.intermediate_size, bias=True)
        self.c_proj = Linear(config.intermediate_size, config.n_embd, bias=True)

    @override
    def forward(self, x: Tensor) -> Tensor:
        y = self.c_proj(ACTIVATIONS[self.config.activation_function](self.c_fc(x)))
        return dropout(y, self.config.resid_pdrop, self.training)


class GPT2Layer(nn.Module):
    """Attention, then the feed-forward layer, each normalized before and added after."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer)
        self.ln_2 = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    @override
    def forward(self, x: Tensor, visible: Visible, cache: KeyValueCache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), visible, cache)
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class GPT2Decoder(nn.Module):
    """Everything below the head: token and position embeddings, layers, last normalization."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.n_positions, config.n_embd)
        self.h = Stack(GPT2Layer(config, i) for i in range(config.n_layer))
        self.ln_f = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

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
        if position_ids is None and documents is not None:
            position_ids = document_positions(documents)
        if position_ids is not None:
            positions = self.wpe(position_ids)
        elif past + length > self.config.n_positions:
            raise ValueError(f"{past + length} positions, but the model was built for {self.config.n_positions}")
        else:
            positions = self.wpe.weight[past : past + length]  # (T, C)
        x = dropout(self.wte(input_ids) + positions, self.config.embd_pdrop, self.training)  # (B, T, C)
        visible = seen_before(length, past, x.device, attention_mask=attention_mask, documents=documents)
        for layer in self.h:
            x = self.h.run(layer, x, visible, cache)
        if cache is not None:
            cache.advance(length)
        return self.ln_f(x)  # type: ignore[no-any-return]


class GPT2(CausalModel):
    """A causal language model of the GPT-2 family.

    Args:
        config: the shape.
        seed: of the weights; None leaves them unset, for a caller that fills them from a checkpoint.
    """

    architecture = "GPT2LMHeadModel"
    also_reads = ("GPT2Model",)  # without the head, which is the table of tokens where both are tied
    config: GPT2Config

    def __init__(self, config: GPT2Config, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.transformer = GPT2Decoder(config)
        self.lm_head = Linear(config.n_embd, config.vocab_size)
        self.tie_weights()
        if seed is not None:
            # GPT-2's: 0.02, less where a layer adds to the residual stream, so that its sum does not grow with depth
            residual = 0.02 / math.sqrt(2 * config.n_layer)
            init_normal(self, seed, lambda name, _: residual if name.endswith("c_proj.weight") else 0.02)

    @property
    @override
    def token_embeddings(self) -> nn.Embedding:
        return self.transformer.wte

    @property
    @override
    def cache_shape(self) -> CacheShape:
        return CacheShape(self.config.n_layer, self.config.n_head, self.config.head_dim)

    @override
    def tied(self) -> dict[str, str]:
        return {"lm_head.weight": "transformer.wte.weight"} if self.config.tie_word_embeddings else {}

    @override
    @classmethod
    def name_of(cls, stored: str) -> str | None:
        """Files of the bare model have no prefix; old ones hold the causal mask as well."""
        if stored.endswith((".attn.bias", ".attn.masked_bias")):
            return None
        return stored if stored.startswith(("transformer.", "lm_head.")) else f"transformer.{stored}"

    @override
    @classmethod
    def is_transposed(cls, name: str) -> bool:
        return name.endswith(_TRANSPOSED)

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
        decoder = self.transformer
        return decoder(input_ids, cache, position_ids, attention_mask, documents)  # type: ignore[no-any-return]

    @override
    def flops_per_token(self, context: int) -> float:
        """A causal query looks at (context + 1) / 2 keys on average: half of what PaLM counts."""
        keys = (context + 1) / 2
        return 6.0 * linear_weights(self) + 12.0 * self.config.n_layer * self.config.n_embd * keys
