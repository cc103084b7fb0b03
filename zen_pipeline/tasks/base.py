"""The interface of a task: everything that the stages, the training process and the server ask about it.

A task says which records it learns from, how they become examples, which figure decides about a model and on what it
is measured, the plain baseline that it must beat, and how a model answers. Stages and the training loop know this
interface only. Importing a task must stay cheap, so torch and the like are imported where they are used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.config import Config
from zen_pipeline.evaluation.results import Sample
from zen_pipeline.evaluation.scores import Metric
from zen_pipeline.progress import Tell
from zen_pipeline.settings.models import Family

if TYPE_CHECKING:
    from zen_pipeline.blocks import ModelReport
    from zen_pipeline.corpus.records import Kind
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.training.data import Batch, Source
    from zen_pipeline.training.job import ConversationData, PairData, TokenData, TrainingJob
    from zen_pipeline.training.resolved import Evaluation, Resolved

Say = Callable[[Any], list[Sample]]  # some samples of a model


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingRequest:
    """Where a task finds what it makes training data from.

    Attributes:
        config: the whole configuration.
        family: of the model.
        resolved: sizes that the budget came to.
        records: folder of the validated records.
        tokens: folder of the token shards and their tokenizer.
        start: model folder that training starts from; None: random weights.
        work: scratch that survives a kill; the files of the training process are written here.
    """

    config: Config
    family: Family
    resolved: Resolved
    records: Path
    tokens: Path
    start: Path | None
    work: Path


@dataclass(frozen=True)
class Material:
    """What the training process is given.

    Attributes:
        data: where it reads sequences.
        tokenizer: folder of the tokenizer that goes with the model.
        vocab_size: embeddings of a model that starts at random.
        batch: sequences per optimizer step.
        micro_batch: sequences per forward pass.
        context: longest sequence in tokens.
        options: of the task, for `Task.transform`.
        counts: what became of the records, for the summary.
        finish: completes the folder of the trained model.
    """

    data: TokenData | ConversationData | PairData
    tokenizer: Path
    vocab_size: int
    batch: int
    micro_batch: int
    context: int
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Path], None] = lambda _folder: None


class Skipped(NamedTuple):
    """The reason why there is nothing to do."""

    reason: str


# --- evaluation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvaluationRequest:
    """Where a task finds what it measures a model on.

    Attributes:
        config: the whole configuration.
        records: folder of the validated records.
        tokens: folder of the token shards and their tokenizer.
        model: folder of the model that this run trained.
        sizes: how much the budget pays for.
    """

    config: Config
    records: Path
    tokens: Path
    model: Path
    sizes: Evaluation


class TestSet(NamedTuple):
    """What a model is measured on.

    Attributes:
        items: test documents, questions or pairs; the task's own.
        digest: SHA-256 of them, whatever the tokenizer: equal digest, equal test set.
        sizes: how much it is, by what it is counted in.
    """

    items: Any
    digest: str
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Measured:
    """What a model was measured at.

    Attributes:
        units: float64 (units, k), sums from which `Task.figure` makes the deciding figure, one row for each unit.
        figures: further figures of the whole set.
        samples: some of what the model made of it.
    """

    units: NDArray[np.float64]
    figures: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[Sample] = ()


# --- the interface ----------------------------------------------------------------------------------------------------


class Task(ABC):
    """What a model can be taught.

    Attributes:
        name: of the task and of its module.
        model: short name of the model, which its registered name ends with.
        help: one sentence about what such a model does.
        families: that can learn it.
        decodes: measuring it writes one sequence at a time, for which fewer threads may be faster.
        starts_from: the task whose model it is fine-tuned from; None: it is pretrained.
        makes_examples: `transform` makes other examples of windows of text.
        text: kind of the records that tokens are made of where the corpus has them; None: the usual kind.
        metric: the figure that decides.
        loss_unit: unit of `loss`.
        command: of `zen` that lets such a model answer.
        columns: names of the fields that a request may have, each a text.
        output: name of what an answer is.
    """

    name: ClassVar[str]
    model: ClassVar[str]
    help: ClassVar[str]
    families: ClassVar[frozenset[Family]]
    starts_from: ClassVar[str | None] = None
    decodes: ClassVar[bool] = False
    makes_examples: ClassVar[bool] = False
    text: ClassVar[Kind | None] = None
    metric: ClassVar[Metric]
    loss_unit: ClassVar[str] = "bits_per_byte"
    command: ClassVar[str] = "generate"
    columns: ClassVar[tuple[str, ...]] = ("prompt",)
    output: ClassVar[str] = "text"

    # training

    def teaches(self, records: Path) -> bool:
        """True if a file of records probably holds something to learn from, at a fraction of the cost of making it."""
        return True

    def train_bytes(self, records: Path) -> int:
        """UTF-8 bytes of a file of records that are learnt once per epoch."""
        from zen_pipeline.corpus.records import base_kind
        from zen_pipeline.corpus.texts import text_bytes

        return text_bytes(records, kind=base_kind(records), split="train")

    def pair_lengths(self, records: Path, bytes_per_token: float) -> tuple[tuple[int, int], ...]:
        """About how many tokens source and target of some pairs will have, before there is a tokenizer."""
        return ()

    def needed_context(self, records: Path, bytes_per_token: float) -> int:
        """Positions that most of the examples need; 0 where windows are cut to any length."""
        return 0

    @abstractmethod
    def material(self, asked: TrainingRequest) -> Material | Skipped:
        """Write the files of the training process, or say why there is nothing to learn.

        Raises:
            ConfigError: a given model's tokenizer lacks a token that the task needs.
            DataError: nothing fits.
        """

    def transform(self, batch: Batch, generator: np.random.Generator, options: Mapping[str, Any]) -> Batch:
        """Make examples of windows of text; drawn anew in every step."""
        return batch

    @abstractmethod
    def say(self, job: TrainingJob, source: Source, tokenizer: Tokenizer) -> Say | None:
        """A function that lets a model in training say something; None where there is nothing to begin with."""

    # evaluation

    @abstractmethod
    def test_set(self, asked: EvaluationRequest) -> TestSet | Skipped:
        """The test set of this run, of the size that the budget pays for."""

    @abstractmethod
    def measure(self, folder: Path, test: TestSet, tell: Tell | None = None) -> Measured:
        """Measure the model in a folder, with its own tokenizer; `tell` is told how far it is."""

    @abstractmethod
    def figure(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The deciding figure of (..., k) sums over units."""

    @abstractmethod
    def baselines(self, asked: EvaluationRequest, test: TestSet) -> dict[str, float]:
        """The deciding figure of what needs no network, by name."""

    def samples(self, asked: EvaluationRequest, test: TestSet) -> Sequence[Sample]:
        """What the model makes of some of the test set, where measuring does not make it."""
        return ()

    @abstractmethod
    def loss(self, folder: Path, asked: EvaluationRequest, most: int, tell: Tell | None = None) -> float:
        """A cheap figure, lower is better, in `loss_unit`, of about `most` test tokens: compares forms of one model."""

    @abstractmethod
    def report(self, asked: EvaluationRequest, metrics: Mapping[str, Any], samples: Sequence[Sample]) -> ModelReport:
        """The evaluation as the report page shows it.

        Args:
            asked: where it was measured.
            metrics: the content of metrics.json (see `zen_pipeline.stages.evaluate`).
            samples: some of what the model made.
        """

    @abstractmethod
    def produce(self, model: Any, tokens: int) -> Iterator[int]:
        """Work at batch 1 until about `tokens` tokens are done; gives how many each time some are."""

    # answers

    def taught(self, folder: Path) -> bool:
        """True if a model folder of one of the families, whatever its name, is of this task."""
        return True

    @abstractmethod
    def load(self, folder: Path) -> Answerer:
        """The model in a folder, ready to answer."""


class Answerer(ABC):
    """A loaded model that answers rows of fields."""

    @abstractmethod
    def answer(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
        """One answer for each row.

        Args:
            rows: the fields named by the task's `columns`.
            settings: `max_new_tokens`, `temperature`, `seed`.

        Raises:
            DataError: a row lacks what it needs, or is too long; the message names its number.
        """


def digest_of(parts: Iterator[str] | Sequence[str]) -> str:
    """SHA-256 of texts in order, such that moving a boundary changes it."""
    import hashlib

    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()


def load_ready(folder: Path) -> Any:
    """The model in a folder, in evaluation mode, on the device that all models are measured and answer on."""
    import torch

    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.models.folder import load_any

    return load_any(folder, FamilyModel, device="cuda" if torch.cuda.is_available() else "cpu")
