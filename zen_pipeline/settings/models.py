"""Settings of what is trained: vectors, the base model, the chat model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from zen_pipeline.family_specs import DEFAULT_FAMILY, FAMILIES, StartPart, families_of
from zen_pipeline.settings.base import NOT_IDENTITY, Fraction, Section

WATTS_PER_CORE = 4.0  # of a processor that is not known: codecarbon's DEFAULT_POWER_PER_CORE (codecarbon/core/cpu.py)


class EmbedConfig(Section):
    """Word vectors: Word2Vec (Mikolov et al. 2013) or GloVe (Pennington et al. 2014); and next-token vectors."""

    former: ClassVar[Mapping[str, str]] = {
        "ablation_steps": "leave it out; benchmarks/compare_starts.py compares starts",
        "device": "leave it out; word vectors are trained on the CPU",
    }

    enabled: bool = Field(True, description="train word vectors")
    method: Literal["skipgram", "cbow", "glove"] = "skipgram"
    units: Literal["words", "tokens"] = Field("words", description="vectors of words, or of the tokenizer's tokens")
    dimensions: int = Field(100, ge=2, le=2048)
    window: int | None = Field(None, ge=1, le=50, description="default: 5, GloVe 10")
    negatives: int = Field(5, ge=1, le=50, description="noise words per pair; not for GloVe")
    epochs: int | None = Field(None, ge=1, le=1000, description="default: 3, GloVe 25")
    min_count: int = Field(5, ge=1, description="rarer words have no vector")
    phrases: int = Field(0, ge=0, le=5, description="passes that join words which belong together, such as new_york")
    phrase_threshold: float = Field(100.0, gt=0.0, description="score from which two words are a phrase")
    subsample: float = Field(
        1e-4, ge=0.0, description="threshold of the frequent-word subsampling; 0 turns it off; not for GloVe"
    )
    learning_rate: float | None = Field(None, gt=0.0, description="default: 0.035, CBOW 0.065, GloVe 0.05")
    x_max: float = Field(10.0, gt=0.0, description="GloVe: counts from here on have full weight")
    alpha: float = Field(0.75, ge=0.0, le=2.0, description="GloVe: power of the weight below x_max")
    deterministic: bool = Field(True, description="the same bits every time; false: threads without locks")
    threads: int | None = Field(
        None,
        ge=1,
        description="default: all cores; deterministic Word2Vec uses two at most",
        json_schema_extra=NOT_IDENTITY,
    )
    memory_megabytes: int = Field(
        1024, ge=16, description="GloVe: what counts and pairs may take each", json_schema_extra=NOT_IDENTITY
    )
    max_words: int | None = Field(None, ge=1, description="train on the first so many words of a fixed shuffle")
    probes: tuple[str, ...] = Field(
        (), description="files of word pairs with scores, or of analogies", json_schema_extra=NOT_IDENTITY
    )
    next_token: bool = Field(True, description="also make the vectors that start the language model at bigram quality")
    next_token_steps: int = Field(30, ge=0, description="full-batch steps after their decomposition")


HEAD_SIZE = 64  # of a head where the number of heads is not set, as in most published models of this size
if TYPE_CHECKING:
    Family = str
else:  # one of those that are declared
    Family = Literal[tuple(FAMILIES)]
CAUSAL_FAMILIES: tuple[Family, ...] = families_of("decoder")  # those that continue text
_ENCODERS: tuple[Family, ...] = families_of("encoder")
StartName = Literal["auto", "random", StartPart]


class ModelShape(Section):
    """Sizes of a model; what is None is chosen by the budget.

    `layers` of an encoder-decoder are those of both sides; `kv_heads` are for families with grouped-query attention.
    """

    hidden_size: int | None = Field(None, ge=16)
    layers: int | None = Field(None, ge=1)
    heads: int | None = Field(None, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    intermediate_size: int | None = Field(None, ge=16)
    context_length: int | None = Field(None, ge=16)
    tie_embeddings: bool | None = None

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        heads, hidden = self.heads, self.hidden_size
        if heads is not None and hidden is not None and 2 * heads > hidden:
            raise ValueError(f"heads {heads} leave less than two of hidden_size {hidden} to each")
        if self.kv_heads is not None:
            if heads is None and hidden is not None:
                heads = max(1, hidden // HEAD_SIZE)
            if heads is not None and heads % self.kv_heads:
                raise ValueError(f"heads {heads} must be a multiple of kv_heads {self.kv_heads}")
        return self


def _check_schedule(warmup: float, cooldown: float) -> None:
    if warmup + cooldown > 1.0:
        raise ValueError(
            f"warmup {warmup:g} and cooldown {cooldown:g} are shares of the same steps: together at most 1"
        )


class PretrainConfig(Section):
    """Training of the base model: on next tokens, masked tokens or translations, as its family learns."""

    former: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("start_vectors", "position_heads", "induction_heads"),
        "pretrain.start says what a new model starts from: auto, random, words, next_token or heads",
    )

    family: Family | None = Field(None, description=f"default: that of init_from, else {DEFAULT_FAMILY}")
    init_from: str | None = Field(None, description="a Hugging Face folder to start from, with its tokenizer")
    start: StartName = Field("auto", description="first weights of a new model; auto: the best that fits the family")
    model: ModelShape = ModelShape()
    document_mask: bool = Field(
        False, description=f"{', '.join(CAUSAL_FAMILIES)}: attention does not look into another document"
    )
    whole_words: bool = Field(False, description=f"{', '.join(_ENCODERS)}: mask all tokens of a word or none")
    recompute_activations: bool = Field(False, description="less memory for a third more compute")
    steps: int | None = Field(None, ge=1)
    batch_tokens: int | None = Field(None, ge=16, description="tokens per optimizer step")
    micro_batch: int | None = Field(None, ge=1, description="sequences per forward pass")
    devices: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="processes that train together, in fine-tuning too; auto: one per GPU",
        json_schema_extra=NOT_IDENTITY,
    )
    sharding: Literal["auto", "none", "full"] = Field(
        "auto",
        description="full: each device holds a part of all parameters; auto: where they do not fit one device",
        json_schema_extra=NOT_IDENTITY,
    )
    rank_timeout: float = Field(
        120.0, gt=0.0, description="seconds that one process waits for the others", json_schema_extra=NOT_IDENTITY
    )
    watts_per_core: float = Field(
        WATTS_PER_CORE,
        gt=0.0,
        description="power of a busy core, where the energy of a training must be estimated; of fine-tuning too",
        json_schema_extra=NOT_IDENTITY,
    )
    price_per_hour: float | None = Field(
        None, ge=0.0, description="what the machine costs, for `zen plan`", json_schema_extra=NOT_IDENTITY
    )
    price_per_kilowatt_hour: float | None = Field(
        None, ge=0.0, description="what energy costs, for `zen plan`", json_schema_extra=NOT_IDENTITY
    )
    precision: Literal["bf16", "fp32"] | None = Field(None, description="default: the one measured faster")
    learning_rate: float | None = Field(None, gt=0.0, description="peak rate of the matrices (Muon)")
    embedding_learning_rate: float | None = Field(None, gt=0.0, description="peak rate of everything else (AdamW)")
    weight_decay: float = Field(0.1, ge=0.0)
    warmup: Fraction = Field(0.02, description="share of the steps with a rising rate")
    cooldown: Fraction = Field(0.5, description="share of the steps with a falling rate")
    gradient_clip: float = Field(1.0, gt=0.0)
    checkpoint_every: int = Field(100, ge=1, description="optimizer steps", json_schema_extra=NOT_IDENTITY)
    validate_every: int = Field(200, ge=1, description="optimizer steps", json_schema_extra=NOT_IDENTITY)

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        _check_schedule(self.warmup, self.cooldown)
        context = self.model.context_length
        if self.batch_tokens is not None and context is not None and self.batch_tokens < context:
            raise ValueError(f"batch_tokens {self.batch_tokens} hold no sequence of context_length {context}")
        self._check_family()
        if self.sharding == "full" and self.devices == 1:
            raise ValueError("sharding full shares the parameters between devices, and devices is 1")
        return self

    def _check_family(self) -> None:
        family, shape = self.family, self.model
        if family is None:
            return
        if not FAMILIES[family].grouped_queries:
            if shape.kv_heads not in (None, shape.heads):
                grouped = " and ".join(name for name, spec in FAMILIES.items() if spec.grouped_queries)
                raise ValueError(f"kv_heads are for {grouped}, and family is {family}")
            if shape.heads is not None and shape.hidden_size is not None and shape.hidden_size % shape.heads:
                raise ValueError(
                    f"hidden_size {shape.hidden_size} must be a multiple of heads {shape.heads} in the family {family}"
                )
        fitting = [name for name, spec in FAMILIES.items() if self.start in ("auto", "random", *spec.starts)]
        if family not in fitting and self.init_from is None:
            raise ValueError(f"start {self.start} is for {' and '.join(fitting)}, and family is {family}")
        if self.document_mask and family not in CAUSAL_FAMILIES:
            raise ValueError(f"document_mask is for {' and '.join(CAUSAL_FAMILIES)}, and family is {family}")
        if self.whole_words and family not in _ENCODERS:
            raise ValueError(f"whole_words is for {' and '.join(_ENCODERS)}, and family is {family}")


class FinetuneConfig(Section):
    """Answering questions; the loss is on the answer only."""

    enabled: bool = True
    init_from: str | None = Field(None, description="a Hugging Face chat or base folder; pretraining is then skipped")
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1, description="conversations per optimizer step")
    learning_rate: float | None = Field(None, gt=0.0)
    embedding_learning_rate: float | None = Field(None, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)
    warmup: Fraction = 0.05
    cooldown: Fraction = 0.5
    gradient_clip: float = Field(1.0, gt=0.0)
    test_fraction: Fraction = Field(
        0.1,
        description="share of the documented functions and classes kept for the test; conversations keep their split",
    )
    checkpoint_every: int = Field(100, ge=1, json_schema_extra=NOT_IDENTITY)
    validate_every: int = Field(100, ge=1, json_schema_extra=NOT_IDENTITY)

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        _check_schedule(self.warmup, self.cooldown)
        if self.test_fraction == 1.0:
            raise ValueError("test_fraction 1 leaves nothing to train on")
        return self
