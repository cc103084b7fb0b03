"""The two JSON files between a stage and its training process: the job that it is given, the result that it leaves.

The job holds plain values only, so that a training process can be started, moved or looked at without the stage.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from zen_pipeline.artifacts import canonical_json
from zen_pipeline.family_specs import DEFAULT_FAMILY
from zen_pipeline.files import write_atomically
from zen_pipeline.models.starts.choice import Start
from zen_pipeline.settings.models import WATTS_PER_CORE, Family

Precision = Literal["bf16", "fp32"]
Sharding = Literal["none", "full"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenData(_Record):
    """Windows of a stream of tokens, all of them targets unless the task makes other examples of them.

    Attributes:
        folder: a tokens artifact, with `train.bin`, `valid.bin` and what belongs to them.
        document_start: id that begins a document, where attention is to stay inside documents; None: it is not.
        validation_windows: at most so many windows of the valid split are scored.
    """

    kind: Literal["tokens"] = "tokens"
    folder: str
    document_start: int | None = None
    validation_windows: int = Field(128, ge=1)


class ConversationData(_Record):
    """Padded sequences, some of whose tokens are targets; see `data.save_conversations`.

    Attributes:
        train: safetensors file of the training sequences.
        valid: the same for validation; None: no validation.
    """

    kind: Literal["conversations"] = "conversations"
    train: str
    valid: str | None = None


class PairData(_Record):
    """Sources and targets; see `training.pairs.save_pairs`.

    Attributes:
        train: safetensors file of the training pairs.
        valid: the same for validation; None: no validation.
        start_id: stands before every target.
        pad_id: fills up short rows.
        token_bytes: file with the UTF-8 bytes that each id stands for.
    """

    kind: Literal["pairs"] = "pairs"
    train: str
    valid: str | None = None
    start_id: int
    pad_id: int
    token_bytes: str


class Schedule(_Record):
    """Learning rates over the run, and the optimizer's other settings.

    Attributes:
        learning_rate: peak rate of the matrices of the blocks (Muon).
        embedding_learning_rate: peak rate of embeddings, head and gains (AdamW).
        weight_decay: decoupled, on the matrices only, multiplied by the current learning rate.
        warmup: share of the steps with a rising rate.
        cooldown: share of the steps with a falling rate.
        gradient_clip: the largest norm of all gradients together.
    """

    learning_rate: float = Field(gt=0.0)
    embedding_learning_rate: float = Field(gt=0.0)
    weight_decay: float = Field(ge=0.0)
    warmup: float = Field(ge=0.0, le=1.0)
    cooldown: float = Field(ge=0.0, le=1.0)
    gradient_clip: float = Field(gt=0.0)


class TrainingJob(_Record):
    """Everything that a training process needs to know.

    Attributes:
        name: what is shown: `pretrain`, `finetune`.
        task: what the model is taught; makes examples of windows of text, and samples.
        family: of a model that starts at random.
        model: fields of the family's config for such a model; None with `init_from`.
        init_from: Hugging Face folder whose weights are trained on.
        start: what is put into the weights of a model that starts at random.
        options: of the task, for its examples.
        context: longest sequence in tokens.
        batch: sequences per optimizer step.
        micro_batch: sequences per forward pass; only memory and speed depend on it, up to rounding.
        threads: cores in all.
        workers: micro-batches that are computed at the same time, each on an equal part of the threads; see `Replicas`.
        recompute_activations: keep no activations for the backward pass; see `FamilyModel.recompute_activations`.
        devices: processes that train together, one per device; each takes a share of every batch.
        sharding: whether each of them holds all parameters (DDP) or a part (FSDP2); auto: a part when all do not fit.
        rank_timeout: seconds that one of them waits for the others.
        peak_flops: FLOP/s of a matrix product in the job's precision, of one GPU or of `threads` threads; None: not
            measured.
        watts_per_core: power of a busy core, for the estimate where a machine does not tell its energy.
        seed: decides the initial weights, the order of the data and all random numbers.
        output: folder that is filled with the model and `history.jsonl`.
        checkpoints: folder of the checkpoints; a job with the same identity goes on from them.
        tokenizer: folder whose tokenizer files are copied next to the model; None: none.
        tracking_uri: MLflow's address; None: nothing is tracked.
        tracking_run_id: the MLflow run to log into.
        run_id: the pipeline run that asks, for the lock's note.
    """

    name: str
    task: str = "language"
    family: Family = DEFAULT_FAMILY
    model: dict[str, Any] | None = None
    init_from: str | None = None
    start: Start = Start()
    data: Annotated[TokenData | ConversationData | PairData, Field(discriminator="kind")]
    options: dict[str, Any] = {}
    context: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    schedule: Schedule
    precision: Precision = "fp32"
    recompute_activations: bool = False
    threads: int = Field(1, ge=1)
    workers: int = Field(1, ge=1)
    devices: int = Field(1, ge=1)
    sharding: Literal["auto"] | Sharding = "auto"
    rank_timeout: float = Field(120.0, gt=0.0)
    peak_flops: float | None = Field(None, gt=0.0)
    watts_per_core: float = Field(WATTS_PER_CORE, gt=0.0)
    seed: int = Field(0, ge=0)
    output: str
    checkpoints: str
    tokenizer: str | None = None
    checkpoint_every: int = Field(100, ge=1)
    validate_every: int = Field(200, ge=1)
    tracking_uri: str | None = None
    tracking_run_id: str | None = None
    run_id: str = "none"

    @property
    def identity(self) -> str:
        """SHA-256 of what decides the weights; a checkpoint with another identity is never loaded.

        Paths stand for what they hold: whoever gives a job with the same checkpoint folder must mean the same data.
        The number of threads decides how sums are rounded, so it is part of it. So do the number of processes and their
        sharding, but a run may go on with others.
        """
        elsewhere = {
            *("output", "checkpoints", "tokenizer", "checkpoint_every", "validate_every"),
            *("tracking_uri", "tracking_run_id", "run_id", "devices", "sharding", "rank_timeout"),
            *("peak_flops", "watts_per_core"),
        }
        values = self.model_dump(mode="json", exclude=elsewhere, exclude_none=True)
        return hashlib.sha256(canonical_json(values).encode()).hexdigest()

    @property
    def memory_advice(self) -> str:
        """What the user can set when memory runs out; nothing that has finished is done again for it."""
        smaller = "finetune.batch_size" if self.name == "finetune" else "pretrain.micro_batch"
        sharded = self.devices == 1 or self.sharding == "full"
        return f"try a smaller {smaller}" + ("" if sharded else ", or pretrain.sharding: full")

    def save(self, path: Path) -> None:
        """Write the job file."""
        write_atomically(path, self.model_dump_json(indent=1))

    @classmethod
    def load(cls, path: Path) -> TrainingJob:
        """Read a job file."""
        return cls.model_validate_json(path.read_bytes())


class Setback(_Record):
    """That a training went back once because its loss was no number or had left its course.

    Attributes:
        failed_step: steps done when that was found.
        back_to: steps of the checkpoint that it went on from; 0: the start.
        rate_factor: what the learning rates are multiplied with from there on.
        reason: what was wrong, as a clause.
    """

    failed_step: int
    back_to: int
    rate_factor: float
    reason: str

    @property
    def sentence(self) -> str:
        """What a user reads about it."""
        return (
            f"after {self.failed_step} steps {self.reason}: went back to step {self.back_to} and on with "
            f"{self.rate_factor:g} of the learning rates"
        )

    def factor(self, step: int) -> float:
        """Of the learning rates in the step that follows `step` steps."""
        return self.rate_factor if step >= self.back_to else 1.0


class TrainingResult(_Record):
    """What a training process reports when it has finished; written as `training.json` next to the model.

    Attributes:
        steps: optimizer steps done in all.
        tokens: positions that were trained on, padding not counted.
        supervised_tokens: those of them that were targets.
        parameters: trained numbers, shared ones counted once.
        seconds: time inside steps, over all attempts.
        tokens_per_second: `tokens` / `seconds`.
        flops: of the model, forward and backward; recomputation does not count.
        mfu: `flops` / `seconds`, as a share of what the same devices reach in a matrix product; None: not measured.
        checkpoint_seconds: time that saving took, over all attempts.
        sample_seconds: time that samples took.
        energy_joules: from the first step to the end, validation and checkpoints included; of other work on the
            machine too where counters are read.
        energy_measured: all of it comes from counters.
        energy_source: where it comes from, in words.
        train_loss: mean over the last tenth of the steps, nats per target.
        validation_loss: at the end, nats per target; None without validation data.
        validation_bits_per_byte: at the end; None where the targets are not text as it stands.
        resumed_from: steps at which a later attempt went on.
        setback: that it went back once; None: it did not.
        peak_memory_bytes: of the last attempt; on a GPU, of the GPU.
        peak_resident_bytes: of the process in the last attempt.
        device: what it ran on.
        devices: how many of them at the end.
        sharding: whether each of them held all parameters or a part, at the end.
    """

    name: str
    steps: int
    tokens: int
    supervised_tokens: int
    parameters: int
    seconds: float
    tokens_per_second: float
    train_loss: float
    validation_loss: float | None = None
    validation_bits_per_byte: float | None = None
    resumed_from: list[int] = []
    setback: Setback | None = None
    peak_memory_bytes: int | None = None
    peak_resident_bytes: int | None = None
    flops: float = 0.0
    mfu: float | None = None
    checkpoint_seconds: float = 0.0
    sample_seconds: float = 0.0
    energy_joules: float | None = None
    energy_measured: bool = False
    energy_source: str | None = None
    device: str = "cpu"
    devices: int = 1
    sharding: Sharding = "none"
    precision: Precision = "fp32"
    threads: int = 1

    def summary(self) -> dict[str, Any]:
        """The figures that are worth showing; `final` keeps them apart from MLflow's curves."""
        final = {"train_loss", "validation_loss", "validation_bits_per_byte", "tokens_per_second", "mfu"}
        own = {
            *("steps", "tokens", "parameters", "seconds", "precision", "threads", "device", "devices", "flops"),
            *("peak_memory_bytes", "peak_resident_bytes", "checkpoint_seconds", "sample_seconds", "sharding"),
        }
        energy = {"joules": self.energy_joules, "measured": self.energy_measured, "source": self.energy_source}
        return {
            **self.model_dump(mode="json", include=own),
            "energy": energy,
            "resumed": len(self.resumed_from),
            **({} if self.setback is None else {"setback": self.setback.model_dump(mode="json")}),
            "final": self.model_dump(mode="json", include=final, exclude_none=True),
        }
