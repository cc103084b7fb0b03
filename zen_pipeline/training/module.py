"""The LightningModule: one batch is one optimizer step, for pretraining and fine-tuning alike."""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from typing_extensions import override

from zen_pipeline.errors import TrainingDiverged, TrainingError
from zen_pipeline.models.qwen3 import Qwen3
from zen_pipeline.training.data import IGNORED, Batch, used_lengths
from zen_pipeline.training.job import TrainingJob
from zen_pipeline.training.optimizer import MuonAdamW, build_optimizer
from zen_pipeline.training.schedule import learning_rate_factor
from zen_pipeline.training.step import accumulate_gradients, orthogonalization_dtype, seed_step, target_losses


class LanguageModelTraining(pl.LightningModule):
    """Next-token training with manual optimization, so that one step is written down in one place.

    Args:
        model: trained in place.
        job: sizes, schedule, seed.
        interrupt: called before each micro-batch; raises to stop there. The weights are those of the last step then.

    Attributes:
        last: figures of the last step: `loss` (nats per target), `gradient_norm`, `learning_rate`, `tokens`,
            `supervised_tokens`.
    """

    def __init__(self, model: Qwen3, job: TrainingJob, interrupt: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.job = job
        self.last: dict[str, float] = {}
        self._interrupt = interrupt

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
        seed_step(self.job.seed, step)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss, supervised = accumulate_gradients(
            self.model,
            batch,
            micro_batch=self.job.micro_batch,
            backward=self.manual_backward,
            between=self._interrupt,
        )
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), schedule.gradient_clip)
        self.last = {"loss": float(loss), "gradient_norm": float(norm)}
        self._check_finite(step)
        factor = learning_rate_factor(step, self.job.steps, warmup=schedule.warmup, cooldown=schedule.cooldown)
        optimizer.optimizer.set_factor(factor)
        optimizer.step()
        self.last |= {
            "learning_rate": schedule.learning_rate * factor,
            "tokens": int(used_lengths(batch.targets).sum()),  # padding is not work done
            "supervised_tokens": supervised,
        }

    def _check_finite(self, step: int) -> None:
        if math.isfinite(self.last["loss"]) and math.isfinite(self.last["gradient_norm"]):
            return
        section, schedule = self.job.name, self.job.schedule
        raise TrainingDiverged(
            f"the loss of step {step} is {self.last['loss']} and its gradient norm {self.last['gradient_norm']}: "
            f"set {section}.learning_rate (now {schedule.learning_rate:g}) and {section}.embedding_learning_rate "
            f"(now {schedule.embedding_learning_rate:g}) to half of that, or less"
        )

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch], token_bytes: np.ndarray | None) -> dict[str, float]:
        """Loss on held-out sequences, nats per target, and bits per byte where `token_bytes` is given.

        Bits per byte leave out targets that stand for no text. They are measured in windows whose first tokens see
        little before them, so they are a little above those of the evaluation stage.
        """
        nats, count, text_nats, text_bytes = 0.0, 0, 0.0, 0
        for batch in batches:
            self._interrupt()
            moved: Batch = self.transfer_batch_to_device(batch, self.device, 0)
            with self.trainer.precision_plugin.val_step_context():
                losses = target_losses(self.model, moved).double().cpu()
            nats += float(losses.sum())
            count += len(losses)
            if token_bytes is not None:
                sizes = torch.from_numpy(token_bytes[batch.targets[batch.targets != IGNORED].numpy()])
                text_nats += float(losses[sizes > 0].sum())
                text_bytes += int(sizes.sum())
        if not count:
            return {}
        result = {"validation_loss": nats / count}
        if text_bytes:
            result["validation_bits_per_byte"] = text_nats / (math.log(2) * text_bytes)
        return result
