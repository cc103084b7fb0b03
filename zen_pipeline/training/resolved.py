"""What the dial starts from and what it comes to, as plain records."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from zen_pipeline.family_specs import DEFAULT_FAMILY
from zen_pipeline.settings.models import Family, ModelShape
from zen_pipeline.training.job import Precision

RESOLVED_FILE = "resolved.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(_Record):
    """All sizes of the model."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    context_length: int
    tie_embeddings: bool


class Case(NamedTuple):
    """One way to compute: `workers` micro-batches at the same time, on `threads` cores in all."""

    precision: Precision
    threads: int
    workers: int = 1

    def __str__(self) -> str:
        cores = f"{self.threads} core{'s' * (self.threads > 1)}"
        return f"{self.precision} on {cores}" + (f", {self.workers} micro-batches at a time" * (self.workers > 1))


class Gpu(NamedTuple):
    """The CUDA device that training runs on."""

    memory_bytes: int
    bf16: bool  # whether it has instructions for it


class Finetuning(_Record):
    """Sizes of the second training."""

    steps: int
    micro_batch: int
    learning_rate: float
    embedding_learning_rate: float


class Evaluation(_Record):
    """How much is measured after training, where the settings do not say.

    Attributes:
        test_tokens: of the test split that are scored.
        questions: that a chat model is asked.
        int8_test_tokens: on which float and int8 weights are compared.
    """

    test_tokens: int
    questions: int
    int8_test_tokens: int


class Resolved(_Record):
    """What the budget came to; the content of `resolved.json`.

    Attributes:
        family: of the model.
        vocab_size: of the tokenizer that is to be trained (it may end smaller on a small corpus).
        model: shape of the model.
        init_from: whether the shape is that of a given model.
        parameters: trained numbers of a model of that shape and vocabulary.
        steps: optimizer steps of pretraining.
        batch_tokens: tokens per optimizer step, a multiple of the context.
        micro_batch: sequences per forward pass.
        threads: of the training process.
        workers: micro-batches that are computed at the same time.
        learning_rate: peak, of the matrices (Muon).
        embedding_learning_rate: peak, of everything else (AdamW).
        reasons: plain sentences with the measured figures.
        peak_flops: FLOP/s of a matrix product in that precision with these threads; None: not measured.
        trained_flops: FLOP/s that the training of a model of middling size reached; None: not measured.
        disturbed: whether steps follow from a measurement made while other programs had the cores.
        evaluation: how much is measured afterwards.
        estimates: `preparation_seconds` (before pretraining), `pretrain_seconds`, `finetune_seconds`, `memory_bytes`,
            `flops`, `tokens`, `epochs`.
    """

    family: Family = DEFAULT_FAMILY
    vocab_size: int
    model: Shape
    init_from: bool
    parameters: int
    steps: int
    batch_tokens: int
    micro_batch: int
    precision: Precision
    threads: int
    workers: int = 1
    learning_rate: float
    embedding_learning_rate: float
    finetune: Finetuning
    evaluation: Evaluation = Evaluation(test_tokens=200_000, questions=100, int8_test_tokens=50_000)
    reasons: list[str]
    peak_flops: float | None = None
    trained_flops: float | None = None
    disturbed: bool = False
    estimates: dict[str, float]

    @classmethod
    def load(cls, folder: Path) -> Resolved:
        """The answer in a `sizes` artifact."""
        return cls.model_validate_json((folder / RESOLVED_FILE).read_bytes())

    @property
    def batch(self) -> int:
        """Sequences per optimizer step of pretraining."""
        return max(1, self.batch_tokens // self.model.context_length)


class Request(_Record):
    """What `choose` starts from.

    Attributes:
        budget: as the user wrote it.
        train_bytes: UTF-8 bytes of the documents in the train split.
        cores: that training may use.
        family: of the model.
        model, vocab_size, steps, batch_tokens, micro_batch, precision: the user's settings; None is chosen here.
        init_from: folder of a given model, which fixes shape and vocabulary.
        pretraining: False when a given model is only fine-tuned.
        finetuning: whether there is something to fine-tune on.
        vectors: whether the embedding stage has something to do.
        compiling: whether that compiles its kernel first, as it does once on every machine.
        side_by_side: whether several micro-batches may be computed at the same time; on a GPU they never are.
        spent_seconds: that the run has taken before.
        pairs: about how many tokens source and target of some translation pairs have; empty: other data.
        supervised_context: positions that most of the conversations need; 0: there are none.
    """

    budget: str
    train_bytes: int
    cores: int
    family: Family = DEFAULT_FAMILY
    model: ModelShape = ModelShape()
    vocab_size: int | None = None
    steps: int | None = None
    batch_tokens: int | None = None
    micro_batch: int | None = None
    precision: Precision | None = None
    init_from: str | None = None
    pretraining: bool = True
    finetuning: bool = True
    vectors: bool = True
    compiling: bool = False
    side_by_side: bool = True
    spent_seconds: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()
    supervised_context: int = 0
