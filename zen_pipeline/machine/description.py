"""The machine in full, for `zen doctor` and for reports: facts, versions, and speeds when asked."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel

from zen_pipeline.machine.facts import GIB, Profile, bf16_instructions, profile
from zen_pipeline.machine.speed import Speed, measure

LIBRARIES = (
    "zen-pipeline",
    "torch",
    "lightning",
    "transformers",
    "tokenizers",
    "prefect",
    "fastapi",
    "sqlalchemy",
    "mlflow",
    "great-expectations",
    "pandas",
    "pyarrow",
    "numpy",
)


class Gpu(BaseModel):
    """One graphics card that torch can use."""

    device: str
    name: str
    memory_gib: float


class Description(BaseModel):
    """Everything worth knowing about the machine.

    Attributes:
        profile: the facts that are cheap to ask for.
        cores_of_machine: logical cores of the hardware, of which this process may use `profile.cores`.
        bf16_instructions: instruction sets of the CPU that multiply bfloat16 in hardware; empty: float32 is faster.
        gpus: graphics cards that torch can use; empty when nothing was measured, since that needs torch.
        speeds: what was measured, one entry per device.
        versions: of Python and of the libraries that the pipeline stands on; None where one is not installed.
    """

    profile: Profile
    cores_of_machine: int
    bf16_instructions: list[str]
    gpus: list[Gpu] = []
    speeds: list[Speed] = []
    versions: dict[str, str | None]


def describe(*, measured: bool = True) -> Description:
    """The machine as it is now.

    Args:
        measured: import torch, list its devices and measure each for about three seconds.
    """
    facts = Description(
        profile=profile(),
        cores_of_machine=os.cpu_count() or 1,
        bf16_instructions=bf16_instructions(),
        versions={"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
    )
    if not measured:
        return facts
    gpus = _gpus()
    speeds = [measure(device) for device in ("cpu", *(gpu.device for gpu in gpus if gpu.device.startswith("cuda")))]
    return facts.model_copy(update={"gpus": gpus, "speeds": speeds})


def _gpus() -> list[Gpu]:
    import torch

    gpus = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        gpus.append(Gpu(device=f"cuda:{index}", name=card.name, memory_gib=round(card.total_memory / GIB, 1)))
    if torch.backends.mps.is_available():
        memory = torch.mps.recommended_max_memory()
        gpus.append(Gpu(device="mps", name="Apple GPU", memory_gib=round(memory / GIB, 1)))
    return gpus


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
