"""The processes that train one model together: who this one is, and what they tell each other besides gradients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from zen_pipeline.machine.facts import usable_memory

if TYPE_CHECKING:
    from zen_pipeline.training.job import Sharding

T = TypeVar("T")


class Processes:
    """This process alone, or one of a group that torch's elastic launcher has started.

    Attributes:
        rank: number of this process, from 0; process 0 writes all files.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def from_environment(cls) -> Processes:
        """What the elastic launcher has put into the environment."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    def memory(self) -> int:
        """Bytes that this process may use: those of its GPU, else its share of the machine's."""
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", 0))).total_memory)
        return usable_memory() // self.size

    @contextmanager
    def joined(self, timeout: float) -> Iterator[None]:
        """Connect the processes while this lasts: NCCL between GPUs, gloo between CPUs.

        Args:
            timeout: seconds that one waits for the others before it gives them up.
        """
        if self.size == 1:
            yield
            return
        import torch

        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(seconds=timeout))
        yield
        torch.distributed.destroy_process_group()  # not after an error: it could wait for a process that is gone

    def total(self, *values: float) -> tuple[float, ...]:
        """The sums of values over all processes, in float64."""
        if self.size == 1:
            return values
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        sums = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(sums)
        return tuple(sums.tolist())

    def of_first(self, value: T) -> T:
        """What process 0 calls this with; the others' values are not used."""
        if self.size == 1:
            return value
        import torch

        box: list[Any] = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        shared: T = box[0]
        return shared


def sharding_for(setting: Literal["auto"] | Sharding, *, needed: int, memory: int, processes: int) -> Sharding:
    """Whether each process holds all parameters (DDP) or a part of each (FSDP2).

    A part costs time: parameters are sent to where they are needed twice in every micro-batch.

    Args:
        setting: what the user wants; `auto` shards what does not fit.
        needed: bytes of one process without sharding: parameters, gradients, optimizer, activations.
        memory: bytes that one process has.
        processes: that train together; one of them has nothing to share.
    """
    if processes == 1:
        return "none"
    if setting != "auto":
        return setting
    return "full" if needed > memory else "none"


def lost_another(error: BaseException) -> bool:
    """True if an error only says that another process did not answer."""
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
