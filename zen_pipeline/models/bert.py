"""BERT: an encoder with learned positions, normalized after each sum (Devlin et al. 2019), and three heads.

Field names and state-dict keys are those of Hugging Face's `BertForMaskedLM`, `BertForQuestionAnswering` and
`BertForSequenceClassification`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from zen_pipeline.models.base import MOST_POSITIONS, FamilyConfig, FamilyModel, init_normal, linear_weights
from zen_pipeline.models.blocks import (
    ACTIVATIONS,
    Activation,
    Embedding,
    Linear,
    Stack,
    Visible,
    attend,
    dropout,
    seen_everywhere,
    split_heads,
)

MASKED_SHARE = 0.15  # of the tokens, which the masked-LM head is asked for


class BertConfig(FamilyConfig):
    """The shape of a model, in transformers' field names; `num_labels` counts the classes of a classifier."""

    model_type: ClassVar[str] = "bert"
    only: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "add_cross_attention": (False,),
        "is_decoder": (False,),
        "position_embedding_type": ("absolute",),
    }

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1, le=MOST_POSITIONS)
    type_vocab_size: int = Field(2, ge=1)
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: float = Field(0.0, ge=0.0, lt=1.0)
    attention_probs_dropout_prob: float = Field(0.0, ge=0.0, lt=1.0)
    classifier_dropout: float | None = Field(None, ge=0.0, lt=1.0, description="default: hidden_dropout_prob")
    layer_norm_eps: float = Field(1e-12, gt=0.0)
    tie_word_embeddings: bool = True
    num_labels: int = Field(2, ge=1)
    pad_token_id: int | None = 0

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        self.check_embedded("pad_token_id")
        return self

    @property
    @override
    def num_key_value_heads(self) -> int:
        return self.num_attention_heads

    @property
    @override
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @override
    @classmethod
    def derived_fields(cls, data: Mapping[str, Any], path: Path) -> dict[str, Any]:
        labels = data.get("id2label")  # transformers counts the classes by their names
        return {} if labels is None else {"num_labels": len(labels)}

    @override
    def to_hugging_face(self) -> dict[str, Any]:
        fields = super().to_hugging_face()
        count = fields.pop("num_labels")
        names = {str(i): f"LABEL_{i}" for i in range(count)}
        return {**fields, "id2label": names, "label2id": {name: int(i) for i, name in names.items()}}


class BertEmbeddings(nn.Module):
    """Sum of token, position and segment embeddings, normalized."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @override
    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None) -> Tensor:
        length = input_ids.shape[1]
        if position_ids is not None:
            positions = self.position_embeddings(position_ids)
        elif length > self.config.max_position_embeddings:
            raise ValueError(f"{length} positions, but the model was built for {self.config.max_position_embeddings}")
        else:
            positions = self.position_embeddings.weight[:length]  # (T, C)
        tables = self.token_type_embeddings
        segments = tables.weight[0] if token_type_ids is None else tables(token_type_ids)
        x = self.LayerNorm(self.word_embeddings(input_ids) + segments + positions)  # (B, T, C)
        return dropout(x, self.config.hidden_dropout_prob, self.training)


class BertSelfAttention(nn.Module):
    """Multi-head attention over all positions that are no padding."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.query, self.key, self.value = (Linear(size, size, bias=True) for _ in range(3))

    @override
    def forward(self, x: Tensor, visible: Visible) -> Tensor:
        maps = (self.query, self.key, self.value)
        q, k, v = (split_heads(linear(x), self.config.num_attention_heads) for linear in maps)  # (B, H, T, D)
        return attend(q, k, v, visible, self.config.attention_probs_dropout_prob if self.training else 0.0)


class BertOutput(nn.Module):
    """A linear map whose result is added to the residual stream, and the sum normalized."""

    def __init__(self, config: BertConfig, in_features: int) -> None:
        super().__init__()
        self.config = config
        self.dense = Linear(in_features, config.hidden_size, bias=True)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @override
    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        y = dropout(self.dense(y), self.config.hidden_dropout_prob, self.training)
        return self.LayerNorm(y + x)  # type: ignore[no-any-return]


class BertLayer(nn.Module):
    """Attention and the feed-forward layer, each added and then normalized."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        output = BertOutput(config, config.hidden_size)
        self.attention = nn.ModuleDict({"self": BertSelfAttention(config), "output": output})
        self.intermediate = nn.ModuleDict({"dense": Linear(config.hidden_size, config.intermediate_size, bias=True)})
        self.output = BertOutput(config, config.intermediate_size)

    @override
    def forward(self, x: Tensor, visible: Visible) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, visible), x)
        y = ACTIVATIONS[self.config.hidden_act](self.intermediate["dense"](x))
        return self.output(y, x)  # type: ignore[no-any-return]


class BertPooler(nn.Module):
    """What the first position says about the whole sequence."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size, bias=True)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.dense(hidden[:, 0]))  # (B, C)


class BertEncoder(nn.Module):
    """Everything below the heads; the pooler belongs to the classifier alone."""

    def __init__(self, config: BertConfig, *, pooler: bool) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.encoder = nn.ModuleDict({"layer": Stack(BertLayer(config) for _ in range(config.num_hidden_layers))})
        if pooler:
            self.pooler = BertPooler(config)

    @override
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> Tensor:
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        layers, visible = self.encoder["layer"], seen_everywhere(attention_mask)
        assert isinstance(layers, Stack)
        for layer in layers:
            x = layers.run(layer, x, visible)
        return x  # type: ignore[no-any-return]


class Bert(FamilyModel):
    """What the three models share.

    Args:
        config: the shape.
        seed: of the weights; None leaves them unset, for a caller that fills them from a checkpoint.
    """

    config: BertConfig
    pooler: ClassVar[bool] = False

    def __init__(self, config: BertConfig, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.bert = BertEncoder(config, pooler=self.pooler)
        self.add_head()
        self.tie_weights()
        if seed is not None:
            init_normal(self, seed, lambda _, __: 0.02)

    def add_head(self) -> None:
        """Make the modules above the encoder."""
        raise NotImplementedError

    @property
    @override
    def token_embeddings(self) -> nn.Embedding:
        return self.bert.embeddings.word_embeddings

    @override
    @classmethod
    def name_of(cls, stored: str) -> str | None:
        """Files of the bare encoder have no prefix.

        Those of before 2019 call gain and bias of a LayerNorm gamma and beta, and some hold the position ids.
        """
        if stored.startswith(("embeddings.", "encoder.", "pooler.")):
            stored = f"bert.{stored}"
        if stored.endswith("embeddings.position_ids") or stored.startswith("cls.seq_relationship."):
            return None
        if stored.startswith("bert.pooler.") and not cls.pooler:
            return None
        return stored.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """The output of the last layer, (B, T, C), which `logits` turns into predictions.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T), 0 where padding is.
            token_type_ids: (B, T) segment of each token; default: 0.
            position_ids: (B, T) or (T,); default: counted.

        Raises:
            ValueError: more positions than `max_position_embeddings`.
        """
        return self.bert(input_ids, attention_mask, token_type_ids, position_ids)  # type: ignore[no-any-return]

    @override
    def forward(self, input_ids: Tensor, **context: Any) -> Tensor:
        """`logits` of `hidden_states`; arguments as for the latter."""
        return self.logits(self.hidden_states(input_ids, **context))

    @override
    def flops_per_token(self, context: int) -> float:
        """Every query looks at all keys; a masked-LM head reads the masked share of the positions only."""
        body = linear_weights(self.bert)
        head = linear_weights(self) - body
        attention = 12.0 * self.config.num_hidden_layers * self.config.hidden_size * context
        return 6.0 * (body + MASKED_SHARE * head) + attention


class _Predictions(nn.Module):
    """The masked-LM head: one more layer, then every token's score."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.activation = ACTIVATIONS[config.hidden_act]
        self.transform = nn.ModuleDict(
            {"dense": Linear(size, size, bias=True), "LayerNorm": nn.LayerNorm(size, eps=config.layer_norm_eps)}
        )
        self.decoder = Linear(size, config.vocab_size, bias=True)
        if config.tie_word_embeddings:
            self.bias = self.decoder.bias
        else:  # transformers has it, and uses the decoder's
            self.register_buffer("bias", torch.zeros(config.vocab_size))

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        x = self.transform["LayerNorm"](self.activation(self.transform["dense"](hidden)))
        return self.decoder(x)  # type: ignore[no-any-return]


class BertForMaskedLM(Bert):
    """Says which token was at a masked position; logits (…, V)."""

    architecture = "BertForMaskedLM"
    also_reads = ("BertForPreTraining",)  # with one more head

    @override
    def add_head(self) -> None:
        self.cls = nn.ModuleDict({"predictions": _Predictions(self.config)})

    @override
    def tied(self) -> dict[str, str]:
        if not self.config.tie_word_embeddings:
            return {}
        decoder = "cls.predictions.decoder"
        return {
            f"{decoder}.weight": "bert.embeddings.word_embeddings.weight",
            f"{decoder}.bias": "cls.predictions.bias",
        }

    @override
    def logits(self, hidden: Tensor) -> Tensor:
        return self.cls["predictions"](hidden)  # type: ignore[no-any-return]


class BertForQuestionAnswering(Bert):
    """Says where an answer starts and ends; logits (…, 2)."""

    architecture = "BertForQuestionAnswering"

    @override
    def add_head(self) -> None:
        self.qa_outputs = Linear(self.config.hidden_size, 2, bias=True)

    @override
    def logits(self, hidden: Tensor) -> Tensor:
        return self.qa_outputs(hidden)  # type: ignore[no-any-return]


class BertForSequenceClassification(Bert):
    """Says which class a sequence is of, from its first position; logits (B, num_labels)."""

    architecture = "BertForSequenceClassification"
    pooler = True

    @override
    def add_head(self) -> None:
        self.classifier = Linear(self.config.hidden_size, self.config.num_labels, bias=True)

    @override
    def logits(self, hidden: Tensor) -> Tensor:
        own = self.config.classifier_dropout
        rate = self.config.hidden_dropout_prob if own is None else own
        pooled = dropout(self.bert.pooler(hidden), rate, self.training)
        return self.classifier(pooled)  # type: ignore[no-any-return]
