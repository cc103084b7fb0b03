"""Marian: the encoder-decoder of "Attention Is All You Need" (Vaswani et al. 2017), with sinusoidal positions.

Field names and state-dict keys are those of Hugging Face's `MarianMTModel`, which the OPUS-MT models are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.models.base import MOST_POSITIONS, FamilyConfig, FamilyModel, init_normal, linear_weights, xavier_std
from zen_pipeline.models.blocks import (
    ACTIVATIONS,
    Activation,
    CacheShape,
    Embedding,
    KeyValueCache,
    Linear,
    Stack,
    Visible,
    attend,
    dropout,
    seen_before,
    seen_everywhere,
    split_heads,
)

Memory = tuple[Tensor, Tensor]  # keys and values of the source for one layer of the decoder, each (B, H, S, D)


class MarianConfig(FamilyConfig):
    """The shape of a model, in transformers' field names.

    Source and target share one vocabulary and one table (`share_encoder_decoder_embeddings`), or have one each.
    """

    model_type: ClassVar[str] = "marian"
    only: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "is_encoder_decoder": (True,),
        "encoder_layerdrop": (0.0, 0),
        "decoder_layerdrop": (0.0, 0),
        "add_bias_logits": (False,),
        "add_final_layer_norm": (False,),
        "normalize_before": (False,),
        "normalize_embedding": (False,),
        "static_position_embeddings": (True,),
    }

    vocab_size: int = Field(ge=1)
    decoder_vocab_size: int | None = Field(None, ge=1, description="default: vocab_size")
    max_position_embeddings: int = Field(ge=1, le=MOST_POSITIONS)
    d_model: int = Field(ge=2, multiple_of=2)
    encoder_layers: int = Field(ge=1)
    encoder_attention_heads: int = Field(ge=1)
    encoder_ffn_dim: int = Field(ge=1)
    decoder_layers: int = Field(ge=1)
    decoder_attention_heads: int = Field(ge=1)
    decoder_ffn_dim: int = Field(ge=1)
    activation_function: Activation = "gelu"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    activation_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    scale_embedding: bool = False
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int = Field(ge=0)
    decoder_start_token_id: int = Field(ge=0)
    bos_token_id: int | None = None
    eos_token_id: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> Self:
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            if self.d_model % getattr(self, name):
                raise ValueError(f"d_model ({self.d_model}) must be a multiple of {name} ({getattr(self, name)})")
        shared = self.share_encoder_decoder_embeddings
        if shared and self.target_size != self.vocab_size:
            raise ValueError("decoder_vocab_size differs from vocab_size, but share_encoder_decoder_embeddings is true")
        if shared and not self.tie_word_embeddings:
            raise ValueError("tie_word_embeddings must be true where share_encoder_decoder_embeddings is")
        self.check_embedded("pad_token_id")
        if self.decoder_start_token_id >= self.target_size:
            raise ValueError(f"decoder_start_token_id is {self.decoder_start_token_id}, of {self.target_size} tokens")
        return self

    @property
    def target_size(self) -> int:
        """Tokens that the decoder knows."""
        return self.decoder_vocab_size or self.vocab_size

    # The common names.

    @property
    @override
    def hidden_size(self) -> int:
        return self.d_model

    @property
    @override
    def num_hidden_layers(self) -> int:
        return self.encoder_layers + self.decoder_layers

    @property
    @override
    def num_attention_heads(self) -> int:
        return self.decoder_attention_heads

    @property
    @override
    def num_key_value_heads(self) -> int:
        return self.decoder_attention_heads

    @property
    @override
    def head_dim(self) -> int:
        return self.d_model // self.decoder_attention_heads

    @property
    @override
    def intermediate_size(self) -> int:
        return self.decoder_ffn_dim

    @override
    def to_hugging_face(self) -> dict[str, Any]:
        fixed = {"is_encoder_decoder": True, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}
        own = {"forced_eos_token_id": self.eos_token_id}
        return {**super().to_hugging_face(), **fixed, **own}

    @override
    def generation(self) -> dict[str, Any]:
        """Padding is never generated, as in the OPUS-MT models."""
        names = ("pad_token_id", "decoder_start_token_id", "eos_token_id")
        ids = {name: getattr(self, name) for name in names}
        limits = {"max_length": self.max_position_embeddings, "num_beams": 1}
        return {**ids, **limits, "forced_eos_token_id": self.eos_token_id, "bad_words_ids": [[self.pad_token_id]]}


class MarianAttention(nn.Module):
    """Multi-head attention whose keys and values may come from another sequence."""

    def __init__(self, config: MarianConfig, heads: int) -> None:
        super().__init__()
        self.config, self.heads = config, heads
        size = config.d_model
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (Linear(size, size, bias=True) for _ in range(4))

    def keys_and_values(self, x: Tensor) -> Memory:
        """Keys and values of (B, S, C), each (B, H, S, D)."""
        return split_heads(self.k_proj(x), self.heads), split_heads(self.v_proj(x), self.heads)

    @override
    def forward(self, x: Tensor, keys: Tensor, values: Tensor, visible: Visible) -> Tensor:
        q = split_heads(self.q_proj(x), self.heads)  # (B, H, T, D)
        y = attend(q, keys, values, visible, self.config.attention_dropout if self.training else 0.0)  # (B, T, C)
        return dropout(self.out_proj(y), self.config.dropout, self.training)


class _Layer(nn.Module):
    """What the layers of both sides have: self-attention and the feed-forward layer, each added and normalized."""

    def __init__(self, config: MarianConfig, heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.config = config
        self.self_attn = MarianAttention(config, heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = Linear(config.d_model, ffn_dim, bias=True)
        self.fc2 = Linear(ffn_dim, config.d_model, bias=True)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def feed_forward(self, x: Tensor) -> Tensor:
        config = self.config
        y = dropout(ACTIVATIONS[config.activation_function](self.fc1(x)), config.activation_dropout, self.training)
        y = dropout(self.fc2(y), config.dropout, self.training)
        return self.final_layer_norm(x + y)  # type: ignore[no-any-return]


class MarianEncoderLayer(_Layer):
    """A layer that reads the whole source."""

    @override
    def forward(self, x: Tensor, visible: Visible) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, *self.self_attn.keys_and_values(x), visible))
        return self.feed_forward(x)


class MarianDecoderLayer(_Layer):
    """A layer that reads the target so far, and then the source."""

    def __init__(self, config: MarianConfig, layer: int) -> None:
        super().__init__(config, config.decoder_attention_heads, config.decoder_ffn_dim)
        self.layer = layer
        self.encoder_attn = MarianAttention(config, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model)

    @override
    def forward(
        self, x: Tensor, visible: Visible, memory: Memory, source: Visible, cache: KeyValueCache | None
    ) -> Tensor:
        keys, values = self.self_attn.keys_and_values(x)
        if cache is not None:
            keys, values = cache.update(self.layer, keys, values)
        x = self.self_attn_layer_norm(x + self.self_attn(x, keys, values, visible))
        x = self.encoder_attn_layer_norm(x + self.encoder_attn(x, *memory, source))
        return self.feed_forward(x)


class _Side(nn.Module):
    """Embeddings and positions of one side.

    The sines of all positions fill the first half of the dimensions, the cosines the second (Marian's order).
    """

    positions: Tensor

    def __init__(self, config: MarianConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(vocab_size, config.d_model, config.pad_token_id)
        if torch.get_default_device().type != "meta":
            self.fill()

    def fill(self, device: torch.device | str = "cpu") -> None:
        """Compute the table of positions, (max_position_embeddings, C) float32; needed after a move from meta."""
        size = self.config.d_model
        exponent = torch.arange(0, size, 2, dtype=torch.float64, device=device) / size
        places = torch.arange(self.config.max_position_embeddings, dtype=torch.float64, device=device)
        angles = places[:, None] / 10_000.0**exponent
        self.register_buffer("positions", torch.cat((angles.sin(), angles.cos()), dim=1).float(), persistent=False)

    def embed(self, input_ids: Tensor, past: int) -> Tensor:
        config, end = self.config, past + input_ids.shape[1]
        if end > config.max_position_embeddings:
            raise ValueError(f"{end} positions, but the model was built for {config.max_position_embeddings}")
        scale = config.d_model**0.5 if config.scale_embedding else 1.0
        x = self.embed_tokens(input_ids) * scale + self.positions[past:end].to(self.embed_tokens.weight.dtype)
        return dropout(x, config.dropout, self.training)  # (B, T, C)


class MarianEncoder(_Side):
    """Reads the source."""

    def __init__(self, config: MarianConfig) -> None:
        super().__init__(config, config.vocab_size)
        heads, ffn_dim = config.encoder_attention_heads, config.encoder_ffn_dim
        self.layers = Stack(MarianEncoderLayer(config, heads, ffn_dim) for _ in range(config.encoder_layers))

    @override
    def forward(self, input_ids: Tensor, visible: Visible) -> Tensor:
        x = self.embed(input_ids, 0)
        for layer in self.layers:
            x = self.layers.run(layer, x, visible)
        return x


class MarianDecoder(_Side):
    """Writes the target."""

    def __init__(self, config: MarianConfig) -> None:
        super().__init__(config, config.target_size)
        self.layers = Stack(MarianDecoderLayer(config, i) for i in range(config.decoder_layers))

    def memories(self, encoded: Tensor) -> list[Memory]:
        """Keys and values of the source for each layer."""
        attentions = [cast(MarianDecoderLayer, layer).encoder_attn for layer in self.layers]
        return [attention.keys_and_values(encoded) for attention in attentions]

    @override
    def forward(
        self,
        input_ids: Tensor,
        memories: list[Memory],
        source: Visible,
        cache: KeyValueCache | None,
        attention_mask: Tensor | None,
    ) -> Tensor:
        length, past = input_ids.shape[1], 0 if cache is None else cache.length
        x = self.embed(input_ids, past)
        visible = seen_before(length, past, x.device, attention_mask=attention_mask)
        for layer, memory in zip(self.layers, memories, strict=True):
            x = self.layers.run(layer, x, visible, memory, source, cache)
        if cache is not None:
            cache.advance(length)
        return x


class MarianBody(nn.Module):
    """Both sides, and the table that they share."""

    def __init__(self, config: MarianConfig) -> None:
        super().__init__()
        if config.share_encoder_decoder_embeddings:
            self.shared = Embedding(config.vocab_size, config.d_model, config.pad_token_id)
        self.encoder = MarianEncoder(config)
        self.decoder = MarianDecoder(config)


class Marian(FamilyModel):
    """A translation model.

    Args:
        config: the shape.
        seed: of the weights; None leaves them unset, for a caller that fills them from a checkpoint.
    """

    architecture = "MarianMTModel"
    config: MarianConfig
    final_logits_bias: Tensor

    def __init__(self, config: MarianConfig, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.model = MarianBody(config)
        self.lm_head = Linear(config.d_model, config.target_size)
        self.register_buffer("final_logits_bias", torch.zeros(1, config.target_size))
        self.tie_weights()
        if seed is not None:
            # Tables have unit vectors, since they are scaled up on the way in and are the head as well.
            table = config.d_model**-0.5
            init_normal(self, seed, lambda name, w: xavier_std(w) if ".layers." in name else table)

    @property
    @override
    def token_embeddings(self) -> nn.Embedding:
        return self.model.encoder.embed_tokens

    @property
    def cache_shape(self) -> CacheShape:
        """What the cache of the decoder has to hold; the source is not in it."""
        config = self.config
        return CacheShape(config.decoder_layers, config.decoder_attention_heads, config.head_dim)

    @override
    def tied(self) -> dict[str, str]:
        config = self.config
        names = {"lm_head.weight": "model.decoder.embed_tokens.weight"} if config.tie_word_embeddings else {}
        if config.share_encoder_decoder_embeddings:
            sides = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
            names |= dict.fromkeys(sides, "model.shared.weight")
        return names

    @override
    @classmethod
    def name_of(cls, stored: str) -> str | None:
        """Files may hold the table of positions, which follows from the config."""
        return None if stored.endswith(".embed_positions.weight") else stored

    @override
    def fill_buffers(self, device: torch.device | str) -> None:
        self.model.encoder.fill(device)
        self.model.decoder.fill(device)

    @override
    def parts(self) -> Iterator[nn.Module]:
        """The layers; the maps of the source to keys and values apart, since they are used before their layers."""
        for layer in self.model.decoder.layers:
            attention = cast(MarianDecoderLayer, layer).encoder_attn
            yield from (attention.k_proj, attention.v_proj)
        yield from super().parts()

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What the encoder makes of the source, (B, S, C); `attention_mask` (B, S) is 0 where padding is."""
        return self.model.encoder(input_ids, seen_everywhere(attention_mask))  # type: ignore[no-any-return]

    def memories(self, encoded: Tensor) -> list[Memory]:
        """Keys and values of the source for each layer of the decoder; the same at every step of a translation."""
        return self.model.decoder.memories(encoded)

    def decode(
        self,
        decoder_input_ids: Tensor,
        memories: list[Memory],
        attention_mask: Tensor | None = None,
        *,
        cache: KeyValueCache | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The output of the decoder's last layer, (B, T, C).

        Args:
            decoder_input_ids: (B, T) int64, the target so far, or what is new of it when there is a cache.
            memories: of the source.
            attention_mask: (B, S) of the source.
            cache: target positions from before; the new ones are appended.
            decoder_attention_mask: (B, T) of the target.

        Raises:
            ValueError: more positions than `max_position_embeddings`.
        """
        source = seen_everywhere(attention_mask)
        return self.model.decoder(  # type: ignore[no-any-return]
            decoder_input_ids, memories, source, cache, decoder_attention_mask
        )

    def hidden_states(
        self,
        input_ids: Tensor,
        decoder_input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The output of the decoder's last layer, (B, T, C), which `logits` turns into predictions.

        Args:
            input_ids: (B, S) int64, the source.
            decoder_input_ids: (B, T) int64, the target behind `decoder_start_token_id`.
            attention_mask: (B, S), 0 where the source is padding.
            decoder_attention_mask: (B, T), 0 where the target is padding.

        Raises:
            ValueError: more positions than `max_position_embeddings`.
        """
        memories = self.memories(self.encode(input_ids, attention_mask))
        return self.decode(decoder_input_ids, memories, attention_mask, decoder_attention_mask=decoder_attention_mask)

    @override
    def logits(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden) + self.final_logits_bias[0]  # type: ignore[no-any-return]

    @override
    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor, **context: Any) -> Tensor:
        """Logits of the next target token at every position, (B, T, V); arguments as for `hidden_states`."""
        return self.logits(self.hidden_states(input_ids, decoder_input_ids, **context))

    @override
    def flops_per_token(self, context: int, source: int | None = None) -> float:
        """For one target token, with `source` tokens of source for `context` of target; default: as many."""
        config, read = self.config, context if source is None else source
        layers = [cast(MarianDecoderLayer, layer).encoder_attn for layer in self.model.decoder.layers]
        of_source = linear_weights(self.model.encoder) + sum(
            linear_weights(projection) for layer in layers for projection in (layer.k_proj, layer.v_proj)
        )
        of_target = linear_weights(self) - of_source
        keys = config.encoder_layers * read * read / context + config.decoder_layers * ((context + 1) / 2 + read)
        return 6.0 * (of_source * read / context + of_target) + 12.0 * config.d_model * keys

    @override
    def step_flops(self, tokens: int, rows: int, *, supervised: int, source_tokens: int | None = None) -> float:
        """Targets and sources count with the mean length of each."""
        source = None if source_tokens is None else max(1, round(source_tokens / rows))
        return tokens * self.flops_per_token(max(1, round(tokens / rows)), source)
