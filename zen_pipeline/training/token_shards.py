"""Tensors of which each process holds some rows: taking a part, putting them together, and Muon's matrices.

FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al. 2023, "PyTorch FSDP") cuts every parameter by rows into one
part per process, as `torch.chunk` does: the last parts may be smaller, or empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def own_rows(tensor: Tensor) -> Tensor:
    """The rows that this process holds, sharing their memory; all of an ordinary tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All rows, on every process; of a sharded tensor, all processes must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as `like` is cut and where it is; every process has the whole one, so nothing is sent."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered(values: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    """A state dict, nested ones included, whose sharded tensors are whole and on the CPU.

    One tensor at a time is whole on the device. Names for the same tensor get the same one again.

    Args:
        values: the same names in the same order on every process.
        keep: whether this process wants them; else it only takes part, and gets no sharded tensor.
    """
    known: dict[int, Tensor] = {}

    def gather(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: gather(inner) for name, inner in value.items()}
        if not isinstance(value, DTensor):
            return value
        if id(value) not in known:
            full = value.full_tensor().detach()
            known[id(value)] = full.cpu() if keep else full.new_empty(0)
        return known[id(value)]

    return {name: gather(value) for name, value in values.items()}


def on_whole_matrices(change: Callable[[Tensor], Tensor], rows: list[Tensor], like: DTensor) -> list[Tensor]:
    """Apply `change` to whole matrices of equal shape, each on one process, and take the own rows of the results.

    The matrices are dealt out in turn. Each number is sent twice: to where its matrix is made whole, and back.

    Args:
        change: of (K, M, N), any K above 0, to the same shape.
        rows: of each matrix, what this process holds: (m, N).
        like: one of the matrices as it is sharded.
    """
    group, rank, size = like.device_mesh.get_group(), like.device_mesh.get_local_rank(), like.device_mesh.size()
    height, width = like.shape
    share = -(-height // size)
    heights = [max(0, min(share, height - r * share)) for r in range(size)]
    dealt = [range(r, len(rows), size) for r in range(size)]
    here = len(dealt[rank])

    outside = [len(theirs) * heights[rank] * width for theirs in dealt]  # numbers of my rows, by whose matrix it is
    inside = [here * h * width for h in heights]  # numbers of my matrices, by whose rows they are
    sent = torch.cat([rows[i].reshape(-1) for theirs in dealt for i in theirs])
    received = sent.new_empty(sum(inside))
    torch.distributed.all_to_all_single(received, sent, inside, outside, group=group)
    if here:
        parts = [p.view(here, h, width) for p, h in zip(received.split_with_sizes(inside), heights, strict=True)]
        changed = change(torch.cat(parts, dim=1))  # (here, M, N)
        received = torch.cat([p.reshape(-1) for p in changed.split_with_sizes(heights, dim=1)])
    back = torch.empty_like(sent)
    torch.distributed.all_to_all_single(back, received, outside, inside, group=group)

    results = [rows[0]] * len(rows)
    for theirs, part in zip(dealt, back.split_with_sizes(outside), strict=True):
        for i, result in zip(theirs, part.view(len(theirs), heights[rank], width), strict=True):
            results[i] = result
    return results
