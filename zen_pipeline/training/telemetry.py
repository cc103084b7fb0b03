"""What a training takes from the machine: floating-point operations, memory, energy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from zen_pipeline.machine.energy import EnergyMeter
from zen_pipeline.machine.memory import resident_memory

if TYPE_CHECKING:
    import torch

    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.training.data import Batch
    from zen_pipeline.training.job import TrainingJob

_SECONDS = 1.0  # between two readings


def step_flops(model: FamilyModel, batch: Batch) -> float:
    """`FamilyModel.step_flops` of a batch."""
    return model.step_flops(
        batch.tokens,
        len(batch.input_ids),
        supervised=batch.supervised,
        source_tokens=None if batch.source_mask is None else int(batch.source_mask.sum()),
    )


def peak_of_all(job: TrainingJob, *, gpu: bool) -> float | None:
    """FLOP/s that all devices of a job reach in a matrix product; None where that was not measured.

    The measured figure is that of one GPU, or of the processor with the threads of the job, which processes share.
    """
    if job.peak_flops is None:
        return None
    return job.peak_flops * (job.devices if gpu else max(1.0, job.devices / job.threads))


class Readings:
    """Memory and energy, read at most once a second.

    Args:
        job: whose `watts_per_core` an estimate uses.
        device: that this process trains on.
    """

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self.meter = EnergyMeter(
            watts_per_core=job.watts_per_core, processes=job.devices, gpus=_uuids(job.devices) if self._gpu else ()
        )
        self._joules, self._read = 0.0, -1e9

    @property
    def energy_key(self) -> str:
        """What the energy is called where it is logged: an estimate is never called anything else."""
        return "energy_joules" if self.meter.measured else "estimated_energy_joules"

    def joules(self) -> float:
        """Energy since the last call."""
        before, self._joules = self._joules, self.meter.joules()
        return self._joules - before

    def memory(self) -> dict[str, float]:
        """`memory_bytes`, resident, and on a GPU `gpu_memory_bytes`, allocated by torch."""
        held = {"memory_bytes": float(resident_memory())}
        if self._gpu:
            import torch

            held["gpu_memory_bytes"] = float(torch.cuda.memory_allocated())
        return held

    def due(self) -> bool:
        """True if it is time to read again."""
        now = time.monotonic()
        if now - self._read < _SECONDS:
            return False
        self._read = now
        return True


def _uuids(devices: int) -> list[str]:
    import torch

    count = min(devices, torch.cuda.device_count())
    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(count)]
