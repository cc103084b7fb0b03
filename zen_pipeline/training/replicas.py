"""Micro-batches side by side on one machine's cores: replicas of a model that share its weights.

A small model's products are too small to be divided among cores: two threads inside every operation train it hardly
faster than one (docs/experiments.md). So each core takes a micro-batch of its own, as data-parallel processes would,
but in one process: the replicas read the same memory, nothing is sent, and the optimizer works once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from zen_pipeline.models.blocks import dropout_from
from zen_pipeline.training.cores import Cores
from zen_pipeline.training.data import Batch, micro_batches
from zen_pipeline.training.step import summed_loss

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyModel

_Part = TypeVar("_Part")
_Model = TypeVar("_Model", bound=torch.nn.Module)


class Replicas:
    """The gradients of a step, computed by several threads at the same time.

    The micro-batches are dealt out in order, and the replicas' gradients are added in order, so the result does not
    depend on which thread is faster: the same bits every time for the same number of workers. Each micro-batch draws
    its dropout from a generator of its own, seeded by the global one and its number.

    Args:
        model: trained in place; it works on the first share itself. On the CPU.
        workers: how many micro-batches at a time.
        threads: cores in all; each worker computes with an equal part of them.
        bf16: whether the forward pass runs under bfloat16 autocast, which belongs to a thread.
    """

    def __init__(self, model: FamilyModel, *, workers: int, threads: int, bf16: bool) -> None:
        self._models = [model, *(replica(model) for _ in range(workers - 1))]
        self._cores, self._bf16 = Cores(workers, threads), bf16

    def accumulate_gradients(
        self, batch: Batch, *, micro_batch: int, between: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, int]:
        """Add the gradients of the mean loss over all supervised targets; as `step.accumulate_gradients` does.

        Args:
            batch: all of the step.
            micro_batch: sequences per forward pass.
            between: called before each micro-batch of the first share; it may raise.
        """
        supervised = batch.supervised
        seed = int(torch.randint(0, 1 << 62, ()))
        parts = [(part, seed + number) for number, part in enumerate(micro_batches(batch, micro_batch))]
        shares = dealt(parts, len(self._models))
        befores = [between, *((lambda: None) for _ in shares[1:])]
        works = [
            partial(self._add, model, share, supervised, before)
            for model, share, before in zip(self._models, shares, befores, strict=True)
        ]
        losses = self._cores.run(works)
        for model in self._models[1:]:
            _move_gradients(model, self._models[0])
        return torch.stack(losses).sum(), supervised

    def _add(
        self, model: FamilyModel, parts: Sequence[tuple[Batch, int]], supervised: int, between: Callable[[], None]
    ) -> Tensor:
        """Add one share's gradients to one replica; returns its share of the mean loss."""
        total = torch.zeros(())
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):  # around all, so that weights are cast once
            for part, seed in parts:
                between()
                with dropout_from(torch.Generator().manual_seed(seed)):
                    loss = summed_loss(model, part) / max(1, supervised)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        return total


def dealt(parts: Sequence[_Part], workers: int) -> list[list[_Part]]:
    """Parts that become longer and longer, dealt out to and fro, so that each worker has about as much."""
    shares: list[list[_Part]] = [[] for _ in range(workers)]
    for first in range(0, len(parts), workers):
        order = range(workers) if first // workers % 2 == 0 else reversed(range(workers))
        for part, worker in zip(parts[first : first + workers], order, strict=False):
            shares[worker].append(part)
    return shares


def replica(model: _Model) -> _Model:
    """A copy that reads the same memory and has gradients of its own."""
    copied = copy.deepcopy(model)
    for own, shared in zip(copied.parameters(), model.parameters(), strict=True):
        own.data, own.grad = shared.data, None
    return copied


def _move_gradients(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Add gradients to those of the other, and forget them."""
    for own, shared in zip(source.parameters(), target.parameters(), strict=True):
        if own.grad is None:
            continue
        shared.grad = own.grad if shared.grad is None else shared.grad.add_(own.grad)
        own.grad = None
