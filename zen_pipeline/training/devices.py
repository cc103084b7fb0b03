"""How many devices train together."""

from __future__ import annotations

from typing import Literal

from zen_pipeline.errors import ConfigError
from zen_pipeline.machine.facts import gpu_names


def cuda_devices() -> int:
    """How many CUDA devices torch finds; torch is only imported where the driver lists some."""
    if not gpu_names():
        return 0
    import torch

    return torch.cuda.device_count()


def device_count(setting: int | Literal["auto"], batch: int, *, enlarge: str, gpus: int | None = None) -> int:
    """How many processes train together.

    Args:
        setting: `pretrain.devices`.
        batch: sequences of a step.
        enlarge: the setting that a larger batch follows from.
        gpus: CUDA devices; None: those of this machine.

    Raises:
        ConfigError: there are more of them than sequences in a batch, or than CUDA devices where there are any.
    """
    if setting == 1:
        return 1
    gpus = cuda_devices() if gpus is None else gpus
    if setting == "auto":
        return max(1, min(gpus, batch))
    if setting > batch:
        raise ConfigError(
            f"pretrain.devices is {setting}, but a batch has {batch} sequences, at least one for each: "
            f"set fewer devices, or more {enlarge}"
        )
    if 0 < gpus < setting:
        raise ConfigError(f"pretrain.devices is {setting}, but torch finds {gpus} CUDA devices: set at most {gpus}")
    return setting
