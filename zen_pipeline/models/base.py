"""What the families have in common: a config that config.json maps to, and the parts that all models have.

A family is one file with a config and its models. The names in a model's state dict are Hugging Face's; where the
files differ from that (older names, weights kept as (in, out)), the class says so and `folder` translates.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

import torch
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.blocks import CacheShape, KeyValueCache, Stack

MOST_POSITIONS = 1 << 20  # tables of positions follow from the config alone, so nothing else bounds their memory


class FamilyConfig(BaseModel):
    """The shape of a model, in transformers' field names.

    Every family has the sizes below under these names, as a field or, where transformers calls it otherwise, as a
    property.

    Class attributes:
        model_type: the family's name in config.json.
        only: settings that transformers honours and this implementation does not, with the values that are accepted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    vocab_size: int
    if TYPE_CHECKING:  # for the checker alone: pydantic takes no field that hides a property

        @property
        def hidden_size(self) -> int:
            """Width."""

        @property
        def num_hidden_layers(self) -> int:
            """Layers, of both sides in an encoder-decoder."""

        @property
        def num_attention_heads(self) -> int:
            """Query heads, of the decoder where there are two sides."""

        @property
        def num_key_value_heads(self) -> int:
            """Key/value heads."""

        @property
        def head_dim(self) -> int:
            """Size of a head."""

        @property
        def intermediate_size(self) -> int:
            """Width of the feed-forward layers, of the decoder where there are two sides."""

        @property
        def max_position_embeddings(self) -> int:
            """Longest sequence in tokens."""

        @property
        def tie_word_embeddings(self) -> bool:
            """The head is the table of tokens."""

    _given_generation: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    model_type: ClassVar[str]
    only: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @classmethod
    def from_hugging_face(cls, data: Mapping[str, Any], generation: Mapping[str, Any], path: Path) -> Self:
        """The config that a folder states.

        Args:
            data: content of config.json.
            generation: content of generation_config.json, empty when there is none. It wins for the special tokens:
                chat models name several end tokens there and one in config.json.
            path: of config.json, for messages.

        Raises:
            ConfigError: a field is missing, wrong or not supported; the message names it.
        """
        for name, accepted in cls.only.items():
            if name in data and data[name] not in accepted:
                raise ConfigError(
                    f"{path}: {name} is {reprlib.repr(data[name])}, but only {accepted[0]!r} is supported"
                )
        fields = {name: data[name] for name in cls.model_fields if name in data}
        for name, field in cls.model_fields.items():
            if name.endswith("_token_id"):
                found = data.get(name) if generation.get(name) is None else generation[name]
                fields.pop(name, None)
                if found is not None or type(None) in get_args(field.annotation):
                    fields[name] = found
        config = cls.parse({**fields, **cls.derived_fields(data, path)}, path)
        stated = {"transformers_version", "_from_model_config", *(config.generation() or {})}
        config._given_generation = {name: value for name, value in generation.items() if name not in stated}
        return config

    @classmethod
    def derived_fields(cls, _data: Mapping[str, Any], _path: Path) -> dict[str, Any]:
        """Fields that config.json does not state under their own name."""
        return {}

    @classmethod
    def parse(cls, fields: Mapping[str, Any], path: Path) -> Self:
        """The validated config.

        Raises:
            ConfigError: names the first field that is wrong.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the shape"
            raise ConfigError(f"{path}: {where}: {first['msg']}") from None

    def check_embedded(self, *names: str) -> None:
        """Refuse token ids that the table of tokens has no row for; a validator of configs whose model reads them.

        Raises:
            ValueError: names the first one.
        """
        rows = self.vocab_size
        for name in names:
            if (found := getattr(self, name)) is not None and not 0 <= found < rows:
                raise ValueError(f"{name} is {found}, but vocab_size is {rows}")

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of config.json, but for the architecture and the dtype."""
        return {"model_type": self.model_type, **self.model_dump(mode="json")}

    def generation(self) -> dict[str, Any] | None:
        """What the shape says about generation_config.json; None for a model that generates nothing."""
        return None

    def generation_settings(self) -> dict[str, Any] | None:
        """The content of generation_config.json: what came with the folder stays, such as how to sample."""
        if (own := self.generation()) is None:
            return None
        return {**(self._given_generation or {"_from_model_config": True}), **own}


class FamilyModel(nn.Module):
    """A model of one family.

    Attributes:
        architecture: the class in transformers that has the same weights.
        also_reads: other classes whose files hold the weights of this model, such as a decoder without its head.
        config: the shape.
    """

    architecture: ClassVar[str]
    also_reads: ClassVar[tuple[str, ...]] = ()
    config: Any  # of the family's own class, which each model states

    @classmethod
    def wanted(cls) -> str:
        """What models of this class are called in a message."""
        return f"a {cls.architecture}"

    @property
    def token_embeddings(self) -> nn.Embedding:
        """The table that turns input ids into vectors."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.token_embeddings.weight.device

    def logits(self, hidden: Tensor) -> Tensor:
        """What the head makes of `hidden_states`."""
        raise NotImplementedError

    def flops_per_token(self, context: int) -> float:
        """FLOPs of forward and backward for one training token, in sequences of `context` tokens.

        Six per weight of a matrix product (Kaplan et al. 2020), and for attention 12 per layer, query dimension and
        key that is looked at (PaLM, appendix B).
        """
        raise NotImplementedError

    def step_flops(self, tokens: int, rows: int, *, supervised: int, source_tokens: int | None = None) -> float:
        """FLOPs that a training step needs, as `flops_per_token` counts them; recomputation does not count.

        Sequences count with their mean length.

        Args:
            tokens: of all sequences, without padding.
            rows: sequences.
            supervised: tokens that are targets.
            source_tokens: of all sources, where a model turns one text into another.
        """
        return tokens * self.flops_per_token(max(1, round(tokens / rows)))

    # --- names and weights in files ---

    def tied(self) -> dict[str, str]:
        """Names in the state dict that stand for the tensor of another name; files hold the other one."""
        return {}

    def tie_weights(self) -> None:
        """Let tied names share their memory; needed again after `to_empty`."""
        for name, source in self.tied().items():
            parent, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(parent), leaf, self.get_parameter(source))

    @classmethod
    def name_of(cls, stored: str) -> str | None:
        """The state dict's name for a name in a file; None for what this model does not need."""
        return stored

    @classmethod
    def is_transposed(cls, _name: str) -> bool:
        """True if files hold this weight as (in, out)."""
        return False

    def fill_buffers(self, device: torch.device | str) -> None:
        """Compute what follows from the config and is not in the state dict."""

    # --- parts ---

    def stacks(self) -> Iterator[Stack]:
        """The stacks of equal layers, whose matrices are the bulk of the model."""
        return (module for module in self.modules() if isinstance(module, Stack))

    def parts(self) -> Iterator[nn.Module]:
        """What can be sharded one by one: modules that are only used by calling them, inner ones first."""
        for stack in self.stacks():
            yield from stack

    def recompute_activations(self, on: bool = True) -> None:
        """Keep no activations inside layers during the forward pass, and compute them again in the backward pass.

        Memory falls from all activations to one vector per layer and token; a step costs a third more compute (Chen et
        al. 2016). The gradients are the same, dropout included.
        """
        for stack in self.stacks():
            stack.recompute = on


class CausalModel(FamilyModel):
    """A decoder: predicts each token from those before it."""

    lm_head: nn.Module

    @override
    @classmethod
    def wanted(cls) -> str:
        return "a model that continues text"

    @property
    def cache_shape(self) -> CacheShape:
        """What a key/value cache has to hold."""
        raise NotImplementedError

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        cache: KeyValueCache | None = None,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """The normalized output of the last layer, (B, T, C), which `logits` turns into predictions.

        Args:
            input_ids: (B, T) int64.
            cache: positions read before; the new ones are appended to it.
            position_ids: (B, T) or (T,) int64, each below `max_position_embeddings`; default: counted on from the
                cache, and from the start of each document. They only say where a token stands: who sees whom follows
                from the order in the sequence.
            attention_mask: (B, S) of all positions so far, 0 where padding is.
            documents: (B, T) which document of a packed sequence each token belongs to; it sees no other one.

        Raises:
            ValueError: more positions than `max_position_embeddings`.
        """
        raise NotImplementedError

    @override
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token, (…, V)."""
        return self.lm_head(hidden)  # type: ignore[no-any-return]

    @override
    def step_flops(self, tokens: int, rows: int, *, supervised: int, source_tokens: int | None = None) -> float:
        """The head counts for the targets only, since it is asked for no other position."""
        flops = super().step_flops(tokens, rows, supervised=supervised)
        return flops - 6.0 * (tokens - supervised) * linear_weights(self.lm_head)

    @override
    def forward(self, input_ids: Tensor, **context: Any) -> Tensor:
        """Logits of the next token at every position, (B, T, V); arguments as for `hidden_states`."""
        return self.logits(self.hidden_states(input_ids, **context))


@torch.no_grad()
def init_normal(model: FamilyModel, seed: int, std: Callable[[str, Tensor], float]) -> None:
    """Fill matrices and tables with normal numbers of `std(name, weight)`, gains with one and biases with zero.

    Equal for equal seeds, whatever the global generator's state, which is left alone.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            weight.copy_(torch.randn(weight.shape, generator=generator) * std(name, weight))


def linear_weights(module: nn.Module) -> int:
    """Weights of all linear maps inside; a head that is tied to the embeddings counts, since it multiplies."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


def xavier_std(weight: Tensor) -> float:
    """Standard deviation that keeps the scale of activations and gradients (Glorot and Bengio 2010)."""
    return math.sqrt(2.0 / (weight.shape[0] + weight.shape[1]))
