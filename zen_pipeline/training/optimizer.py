"""One optimizer for a transformer: Muon for the matrices of its blocks, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw
from typing_extensions import override

from zen_pipeline.models.base import FamilyModel
from zen_pipeline.training.cores import Cores
from zen_pipeline.training.job import Schedule
from zen_pipeline.training.token_shards import on_whole_matrices, own_rows

# Odd quintics, one for each round: the first is the best approximation of 1 on [0.03, 1], each other one on what the
# round before makes of that (Amsel et al. 2025, "The Polar Express"). Together they are within 0.037 of 1 there.
_QUINTICS = ((7.3625, -20.7434, 15.1606), (2.9175, -2.1824, 0.4755), (2.0463, -1.4295, 0.3934))
_MARGIN = 0.98  # from the end of the interval, where bfloat16 rounds to beyond it and the first quintic is steep
_MOMENTUM = 0.95
_ADAM_BETAS = (0.9, 0.95)  # 0.95 instead of 0.999 forgets early gradients soon: usual for short runs (nanochat)
_ADAM_EPS = 1e-10  # embeddings of rare tokens have tiny gradients, which the usual 1e-8 would drown (nanochat)


class MuonAdamW(Optimizer):
    """Muon and AdamW behind one `step`, so that Lightning sees one optimizer and counts one step.

    `torch.optim.Muon` (2.13) does one matrix at a time; here matrices of equal shape are orthogonalized together,
    in the dtype that is asked for, since bfloat16 is slow on CPUs without instructions for it.

    Parameters may be sharded (FSDP2). AdamW and the momentum work on the rows that a process holds; each matrix is
    orthogonalized whole on one of the processes, which share them out.

    Args:
        matrices: two-dimensional weights of the blocks.
        others: embeddings, head and gains.
        learning_rate: of the matrices; an update has about unit singular values before it is scaled.
        embedding_learning_rate: of the others.
        weight_decay: of the matrices, decoupled.
        orthogonalize_in: dtype of the Newton-Schulz iteration.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        embedding_learning_rate: float,
        weight_decay: float,
        orthogonalize_in: torch.dtype = torch.bfloat16,
    ) -> None:
        groups = [
            {"kind": "muon", "params": list(matrices), "lr": learning_rate, "peak": learning_rate},
            {"kind": "adamw", "params": list(others), "lr": embedding_learning_rate, "peak": embedding_learning_rate},
        ]
        groups = [g for g in groups if g["params"]]
        # "fused" has torch put the counters of steps on the device when a state is loaded, where the kernel wants them
        super().__init__(groups, {"weight_decay": weight_decay, "fused": True})
        self._dtype = orthogonalize_in
        self._cores: Cores | None = None

    def set_factor(self, factor: float) -> None:
        """Set all learning rates to their peak times `factor`."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * factor

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["kind"] == "muon":
                self._muon(parameters, group)
            else:
                self._adamw(parameters, group)
        return loss

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        alike = sorted(parameters, key=lambda parameter: tuple(parameter.shape))  # stable
        workers = min(torch.get_num_threads(), len(alike))
        if workers < 2 or any(isinstance(p, DTensor) or p.device.type != "cpu" for p in alike):
            self._orthogonal_updates(alike, group)
            return
        # each core takes matrices of its own: they are too small to be divided among cores
        if self._cores is None or self._cores.workers != workers:
            self._cores = Cores(workers, workers)
        self._cores.run([partial(self._orthogonal_updates, alike[first::workers], group) for first in range(workers)])

    @torch.no_grad()  # which belongs to a thread
    def _orthogonal_updates(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for shape, alike in groupby(parameters, key=lambda parameter: tuple(parameter.shape)):
            members = list(alike)
            wanted = [self._nesterov(p).to(self._dtype) for p in members]
            if isinstance(first := members[0], DTensor):
                updates = on_whole_matrices(orthogonalize, wanted, first)
            else:
                updates = list(orthogonalize(torch.stack(wanted)))
            # A tall matrix has unit columns, so its outputs would grow less than a square one's (Jordan).
            rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            decay = 1.0 - group["lr"] * group["weight_decay"]
            for parameter, update in zip(members, updates, strict=True):
                own_rows(parameter).mul_(decay).add_(update.to(parameter.dtype), alpha=-rate)

    def _nesterov(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        grad = parameter.grad
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        grad, momentum = own_rows(grad), own_rows(state["momentum_buffer"])
        momentum.lerp_(grad, 1.0 - _MOMENTUM)
        return grad.lerp(momentum, _MOMENTUM)

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[p] for p in parameters]
        adamw(
            [own_rows(p) for p in parameters],
            [own_rows(p.grad) for p in parameters if p.grad is not None],
            [own_rows(s["exp_avg"]) for s in states],
            [own_rows(s["exp_avg_sq"]) for s in states],
            [],
            [s["step"] for s in states],
            fused=True,
            amsgrad=False,
            beta1=_ADAM_BETAS[0],
            beta2=_ADAM_BETAS[1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=_ADAM_EPS,
            maximize=False,
        )


def orthogonalize(matrices: Tensor) -> Tensor:
    """Matrices of about the same singular vectors whose singular values are near one, (K, M, N), in the dtype given.

    Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) does it by Newton-Schulz iteration:
    X <- a X + (b A + c A A) X with A = X X^T, on the side on which A is small. Here rows are divided by the root of the
    sum of |A| in their row first. That keeps the largest singular value below 1 and makes the others less small than
    the Frobenius norm would (Prach and Lampert 2022, "Almost-Orthogonal Layers"; for Muon: Boissin et al. 2025,
    "Turbo-Muon"), at the price of turning the singular vectors a little where rows differ in length.

    Values above 0.03 after that come to within 0.04 of one; smaller ones, of which a square matrix has some, end below.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram = x @ x.mT
    scale = gram.abs().sum(dim=-1, keepdim=True).clamp(min=1e-30).rsqrt() * _MARGIN  # (K, m, 1)
    x, gram = x * scale, gram * scale * scale.mT
    for number, (a, b, c) in enumerate(_QUINTICS):
        gram = gram if number == 0 else x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def build_optimizer(model: FamilyModel, schedule: Schedule, *, orthogonalize_in: torch.dtype) -> MuonAdamW:
    """The optimizer of a model: the matrices of its layers to Muon; embeddings, head, gains and biases to AdamW."""
    inside = {id(p) for stack in model.stacks() for p in stack.parameters() if p.ndim == 2}
    matrices = [p for p in model.parameters() if id(p) in inside]
    others = [p for p in model.parameters() if id(p) not in inside]
    return MuonAdamW(
        matrices,
        others,
        learning_rate=schedule.learning_rate,
        embedding_learning_rate=schedule.embedding_learning_rate,
        weight_decay=schedule.weight_decay,
        orthogonalize_in=orthogonalize_in,
    )
