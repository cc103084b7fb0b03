"""The LightningModule: one batch is one optimizer step, for pretraining and fine-tuning alike."""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from typing_extensions import override

from zen_pipeline.errors import TrainingError
from zen_pipeline.models.base import FamilyModel
from zen_pipeline.training.data import IGNORED, Batch
from zen_pipeline.training.events import Stop
from zen_pipeline.training.job import Setback, TrainingJob
from zen_pipeline.training.optimizer import MuonAdamW, build_optimizer
from zen_pipeline.training.processes import Processes
from zen_pipeline.training.replicas import Replicas
from zen_pipeline.training.rules import works_side_by_side
from zen_pipeline.training.schedule import learning_rate_factor
from zen_pipeline.training.setback import LossWatch
from zen_pipeline.training.step import accumulate_gradients, orthogonalization_dtype, seed_step, target_losses
from zen_pipeline.training.strategy import shard
from zen_pipeline.training.token_shards import whole


class LanguageModelTraining(pl.LightningModule):
    """Training with manual optimization, so that one step is written down in one place.

    Dropout follows from (seed, step, process), so no two processes drop the same. A mask belongs to a place in a
    micro-batch, not to a sequence, so with dropout another number of processes, or another micro-batch, is another
    drawing: equal in distribution only. Without dropout the results agree up to the order of float sums.

    Args:
        model: trained in place.
        job: sizes, schedule, seed.
        stop: asked before each micro-batch of a step, when the weights are those of the last one.
        setback: that the job went back, which lowers the learning rates from there on.
        processes: those that train together; each gets the whole batch of a step and takes its share of it.

    Attributes:
        sharded: whether this process holds a part of each parameter; so from when Lightning sets the model up.
        setback: as given.
        watch: what it makes of the losses; travels in the checkpoints.
        last: figures of the last step: `loss` (nats per target), `gradient_norm`, `learning_rate`,
            `embedding_learning_rate`, `tokens`, `supervised_tokens`.
    """

    def __init__(
        self,
        model: FamilyModel,
        job: TrainingJob,
        *,
        stop: Stop | None = None,
        setback: Setback | None = None,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.job = job
        self.last: dict[str, float] = {}
        self.watch = LossWatch()
        self.setback = setback
        self._stop, self._processes = stop or Stop(), processes or Processes()
        self.sharded = False
        self._replicas: Replicas | None = None

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["loss_watch"] = self.watch.state_dict()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if (state := checkpoint.get("loss_watch")) is not None:  # older checkpoints have none
            self.watch.load_state_dict(state)

    @override
    def configure_model(self) -> None:
        if self.device_mesh is not None and not self.sharded:  # only a strategy that shards makes a mesh
            shard(self.model, self.device_mesh["data_parallel"])
            self.sharded = True

    @override
    def on_fit_start(self) -> None:
        job = self.job
        alone = self._processes.size == 1 and self.device.type == "cpu"
        config = self.model.config
        if job.workers > 1 and alone and works_side_by_side(config) and not job.recompute_activations:
            bf16 = job.precision == "bf16"
            self._replicas = Replicas(self.model, workers=job.workers, threads=job.threads, bf16=bf16)

    @override
    def configure_optimizers(self) -> MuonAdamW:
        dtype = orthogonalization_dtype(self.job.precision, self.device)
        return build_optimizer(self.model, self.job.schedule, orthogonalize_in=dtype)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        step, schedule = self.global_step, self.job.schedule
        if batch.step != step:  # resuming went wrong; training on would end in other weights without a word
            raise TrainingError(
                f"the data of step {batch.step} arrived in step {step}: this is a bug, please report it"
            )
        seed_step(self.job.seed, step, self._processes.rank)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss, supervised = self._gradients(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), schedule.gradient_clip)
        self.last = {"loss": loss, "gradient_norm": float(whole(norm))}
        self.watch.see(step, self.last["loss"], self.last["gradient_norm"])
        factor = self._rate_factor(step)
        optimizer.optimizer.set_factor(factor)
        optimizer.step()
        self.last |= {
            "learning_rate": schedule.learning_rate * factor,
            "embedding_learning_rate": schedule.embedding_learning_rate * factor,
            "tokens": batch.tokens,
            "supervised_tokens": supervised,
        }
        if self.setback is not None and step == self.setback.back_to:
            self.last["went_back_from_step"] = self.setback.failed_step

    def _gradients(self, batch: Batch) -> tuple[float, int]:
        """Leave the gradients of the whole step in the parameters; its mean loss and number of targets."""
        processes, trainer = self._processes, self.trainer
        if self._replicas is not None:
            loss, supervised = self._replicas.accumulate_gradients(
                batch, micro_batch=self.job.micro_batch, between=self._stop.check
            )
            return float(loss), supervised
        if processes.size == 1:
            loss, supervised = accumulate_gradients(
                self.model,
                batch,
                micro_batch=self.job.micro_batch,
                backward=self.manual_backward,
                between=self._stop.check,
            )
            return float(loss), supervised
        factor = 1 if self.sharded else processes.size  # DDP takes the mean over processes
        share, supervised = accumulate_gradients(
            self.model,
            batch.share(processes.rank, processes.size, even=self.sharded),
            micro_batch=self.job.micro_batch,
            supervised=batch.supervised,
            backward=lambda loss: self.manual_backward(loss * factor),
            # sharded gradients are summed after every micro-batch: what waits would be whole on every device
            unfinished=nullcontext if self.sharded else trainer.strategy.block_backward_sync,
        )
        mean, stopping = processes.total(float(share), float(self._stop.arrived))
        self._stop.due = stopping > 0  # after this step, for all of them
        return mean, supervised

    def _rate_factor(self, step: int) -> float:
        schedule, back = self.job.schedule, self.setback
        factor = learning_rate_factor(step, self.job.steps, warmup=schedule.warmup, cooldown=schedule.cooldown)
        return factor if back is None else factor * back.factor(step)

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch], token_bytes: np.ndarray | None) -> dict[str, float]:
        """Loss on held-out sequences, nats per target, and bits per byte where `token_bytes` is given.

        A stop waits for its end, so that every validation that falls due is recorded with its step.

        Bits per byte leave out targets that stand for no text. They are measured in windows whose first tokens see
        little before them, so they are a little above those of the evaluation stage.
        """
        nats, count, text_nats, text_bytes = 0.0, 0.0, 0.0, 0.0
        scored = list(batches)
        for first in range(0, len(scored), self._processes.size):
            number = first + self._processes.rank
            if number >= len(scored) and not self.sharded:
                break
            batch = scored[min(number, len(scored) - 1)]
            moved: Batch = self.transfer_batch_to_device(batch, self.device, 0)
            with self.trainer.precision_plugin.val_step_context():
                losses = target_losses(self.model, moved).cpu().double()
            if number >= len(scored):  # only to run the layers as often as the others, who need these rows of them
                continue
            nats += float(losses.sum())
            count += len(losses)
            if token_bytes is not None:
                sizes = torch.from_numpy(token_bytes[batch.targets[batch.targets != IGNORED].numpy()])
                text_nats += float(losses[sizes > 0].sum())
                text_bytes += int(sizes.sum())
        nats, count, text_nats, text_bytes = self._processes.total(nats, count, text_nats, text_bytes)
        if not count:
            return {}
        result = {"validation_loss": nats / count}
        if text_bytes:
            result["validation_bits_per_byte"] = text_nats / (math.log(2) * text_bytes)
        return result
