"""The families of models, as settings and budget see them: structure, usual choices, and sizes as config fields.

Nothing here needs torch, so that the command line, `zen plan` and the flows can read it. What a family computes is in
`zen_pipeline.models`, in a module of the family's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

# A decoder continues text, an encoder fills in masked tokens, an encoder-decoder turns one text into another.
Structure = Literal["decoder", "encoder", "encoder-decoder"]
StartPart = Literal["words", "next_token", "heads"]  # of a new model's first weights; see `models.starts`


class Sizes(Protocol):
    """The sizes of a model, under one name each for all families."""

    @property
    def hidden_size(self) -> int:
        """Width."""

    @property
    def layers(self) -> int:
        """Layers, of both sides in an encoder-decoder."""

    @property
    def heads(self) -> int:
        """Query heads."""

    @property
    def kv_heads(self) -> int:
        """Key/value heads."""

    @property
    def head_dim(self) -> int:
        """Size of a head."""

    @property
    def intermediate_size(self) -> int:
        """Width of the feed-forward layers."""

    @property
    def context_length(self) -> int:
        """Longest sequence in tokens."""

    @property
    def tie_embeddings(self) -> bool:
        """The head is the table of tokens."""


@dataclass(frozen=True)
class FamilySpec:
    """One family.

    Attributes:
        name: `pretrain.family`, and `model_type` in config.json.
        structure: decides what it can be taught.
        fields: from sizes and vocabulary to the fields of the family's config.
        gated: a third matrix of the feed-forward layer is a gate (SwiGLU).
        grouped_queries: several query heads can share a key/value head, and heads need not divide `hidden_size`.
        tied: the head is the table of tokens where the settings do not say; an encoder has no use for one of its own.
        starts: what a new model can start from. Next-token vectors fit where nothing is added to the token vectors, or
            the first prediction is not the one that they were fitted to.
    """

    name: str
    structure: Structure
    fields: Callable[[Sizes, int], dict[str, Any]]
    gated: bool = False
    grouped_queries: bool = False
    tied: bool = True
    starts: tuple[StartPart, ...] = ()

    def intermediate_size(self, hidden_size: int) -> int:
        """Four times the width; 8/3 where a third matrix is the gate, so that both have as many weights."""
        return max(32, round(hidden_size * 8 / 3 / 32) * 32) if self.gated else 4 * hidden_size


def _qwen3_fields(sizes: Sizes, _: int) -> dict[str, Any]:
    return {
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "intermediate_size": sizes.intermediate_size,
        "max_position_embeddings": sizes.context_length,
        "tie_word_embeddings": sizes.tie_embeddings,
    }


def _gpt2_fields(sizes: Sizes, _: int) -> dict[str, Any]:
    return {
        "n_embd": sizes.hidden_size,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_inner": sizes.intermediate_size,
        "n_positions": sizes.context_length,
        "tie_word_embeddings": sizes.tie_embeddings,
    }


def _bert_fields(sizes: Sizes, vocab_size: int) -> dict[str, Any]:
    """No dropout: a text is seen too few times to be learnt by heart (Geiping and Goldstein 2023)."""
    return {
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.intermediate_size,
        "max_position_embeddings": sizes.context_length,
        "tie_word_embeddings": sizes.tie_embeddings,
        "pad_token_id": vocab_size - 1,  # see `tasks.special_tokens`
    }


def _marian_fields(sizes: Sizes, vocab_size: int) -> dict[str, Any]:
    """The layers are shared out between both sides; dropout as in the paper, since pairs are few and short."""
    sides = {"encoder": (sizes.layers + 1) // 2, "decoder": max(1, sizes.layers // 2)}
    fields: dict[str, Any] = {}
    for side, layers in sides.items():
        fields[f"{side}_layers"] = layers
        fields[f"{side}_attention_heads"] = sizes.heads
        fields[f"{side}_ffn_dim"] = sizes.intermediate_size
    return {
        **fields,
        "d_model": sizes.hidden_size,
        "max_position_embeddings": sizes.context_length,
        "scale_embedding": True,
        "dropout": 0.1,
        "tie_word_embeddings": True,
        "pad_token_id": vocab_size - 1,  # see `tasks.special_tokens`
        "decoder_start_token_id": vocab_size - 1,
    }


# In the order in which they are listed to users; the first one is the default.
FAMILIES: Mapping[str, FamilySpec] = {
    spec.name: spec
    for spec in (
        FamilySpec(
            "qwen3",
            "decoder",
            _qwen3_fields,
            gated=True,
            grouped_queries=True,
            tied=False,
            starts=("words", "next_token", "heads"),
        ),
        FamilySpec("gpt2", "decoder", _gpt2_fields, starts=("words",)),
        FamilySpec("bert", "encoder", _bert_fields),
        FamilySpec("marian", "encoder-decoder", _marian_fields),
    )
}
DEFAULT_FAMILY = next(iter(FAMILIES))


def families_of(structure: Structure) -> tuple[str, ...]:
    """Names of the families of a structure."""
    return tuple(name for name, spec in FAMILIES.items() if spec.structure == structure)
