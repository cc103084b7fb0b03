"""The arithmetic of one optimizer step, free of Lightning, so that the benchmark and the measurement run the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from zen_pipeline.models import fused
from zen_pipeline.training.data import IGNORED, Batch, micro_batches

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyModel


def summed_loss(model: FamilyModel, batch: Batch) -> Tensor:
    """Sum of the cross entropy over the supervised targets, in nats; float32, a scalar."""
    return target_losses(model, batch).sum()


def target_losses(model: FamilyModel, batch: Batch) -> Tensor:
    """Cross entropy of each supervised target in nats, float32, (number of them,), in reading order."""
    hidden = _hidden_states(model, batch)  # (B, T, C)
    wanted = batch.targets != IGNORED  # (B, T)
    if wanted.all():
        hidden, targets = hidden.flatten(0, 1), batch.targets.flatten()
    else:  # the head is the widest layer: leave out what nobody asks for
        hidden, targets = hidden[wanted], batch.targets[wanted]
    logits = model.logits(hidden)
    if fused.pays(logits):
        return fused.apply(fused.CrossEntropy, logits, targets)
    return cross_entropy(logits.float(), targets, reduction="none")


def _hidden_states(model: Any, batch: Batch) -> Tensor:
    """What stands below the head; every family has a `hidden_states` with the arguments that its kind of batch fits."""
    if batch.documents is not None:
        hidden: Tensor = model.hidden_states(batch.input_ids, documents=batch.documents)
    elif batch.source_ids is None:
        hidden = model.hidden_states(batch.input_ids)
    else:
        hidden = model.hidden_states(batch.source_ids, batch.input_ids, attention_mask=batch.source_mask)
    return hidden


def accumulate_gradients(
    model: FamilyModel,
    batch: Batch,
    *,
    micro_batch: int,
    supervised: int | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
    between: Callable[[], None] = lambda: None,
    unfinished: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Tensor, int]:
    """Add the gradients of the mean loss over all supervised targets of the step.

    Args:
        model: its gradients are added to.
        batch: this process's share of the step.
        micro_batch: sequences per forward pass.
        supervised: targets of the whole step; None: the batch is all of it.
        backward: called with each micro-batch's share of the loss.
        between: called before each micro-batch.
        unfinished: entered for each micro-batch but the last.

    Returns:
        The batch's share of the mean loss in nats (detached scalar) and the number of supervised targets.
    """
    supervised = batch.supervised if supervised is None else supervised
    total = torch.zeros((), device=batch.input_ids.device)
    parts = list(micro_batches(batch, micro_batch))
    for number, part in enumerate(parts, 1):
        between()
        with unfinished() if number < len(parts) else nullcontext():
            loss = summed_loss(model, part) / max(1, supervised)
            backward(loss)
        total += loss.detach()
    return total, supervised


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Make every random number of a step a function of (seed, step), and of the process where there are several."""
    torch.manual_seed((seed * 1_000_003 + step + rank * 1_000_000_007) % (1 << 63))


def orthogonalization_dtype(precision: str, device: torch.device) -> torch.dtype:
    """bfloat16 where the machine is fast in it, which is where training was chosen to use it."""
    return torch.bfloat16 if precision == "bf16" or device.type == "cuda" else torch.float32
