"""Short measurements of what bounds training and decoding: matrix products and reads of memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from zen_pipeline.machine.facts import usable_memory

if TYPE_CHECKING:
    import torch

_SECONDS = 1.0  # per measurement; dozens of calls, of which the fastest counts
_LEAST_BUFFER = 1 << 28  # bytes; enough where the size of the last cache is not known
_L3 = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")


class Speed(BaseModel):
    """What one device reached in the fastest of the calls made in about a second, as STREAM (McCalpin 1995) counts.

    What else runs on the machine makes some calls slower and none faster.

    Attributes:
        device: `cpu`, or `cuda:0` and so on.
        threads: threads that torch used on the CPU; None on a GPU.
        float32_gflops: product of two square float32 matrices, in 10^9 floating-point operations per second.
        bfloat16_gflops: the same in bfloat16.
        memory_gb_per_second: copy between two buffers larger than the caches; bytes read and bytes written both count.
    """

    device: str
    threads: int | None
    float32_gflops: float
    bfloat16_gflops: float
    memory_gb_per_second: float


def measure(device: str = "cpu", *, seconds: float = _SECONDS) -> Speed:
    """Measure one device for about three times `seconds`."""
    import torch

    on_cpu = device == "cpu"
    return Speed(
        device=device,
        threads=torch.get_num_threads() if on_cpu else None,
        float32_gflops=round(matmul_gflops(torch.float32, device, seconds), 1),
        bfloat16_gflops=round(matmul_gflops(torch.bfloat16, device, seconds), 1),
        memory_gb_per_second=round(copy_gb_per_second(device, seconds), 1),
    )


def matmul_gflops(dtype: torch.dtype, device: str, seconds: float = _SECONDS, size: int | None = None) -> float:
    """10^9 floating-point operations per second of a square matrix product.

    Args:
        dtype: of the matrices.
        device: `cpu`, `cuda` and so on.
        seconds: to measure for; at least four products are computed.
        size: rows and columns; default: so many that a product takes a few milliseconds, and starting it costs nothing.
    """
    import torch

    size = size or (1024 if device == "cpu" else 8192)
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    product = torch.empty(size, size, device=device, dtype=dtype)

    def multiply() -> None:
        torch.matmul(left, right, out=product)

    return 2 * size**3 / _fastest_seconds(multiply, device, seconds) / 1e9


def copy_gb_per_second(device: str, seconds: float = _SECONDS) -> float:
    """10^9 bytes per second that are read and written when a large buffer is copied."""
    import torch

    size = _buffer_bytes() if device == "cpu" else 1 << 30
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)

    return 2 * size / _fastest_seconds(copy, device, seconds) / 1e9


def _buffer_bytes() -> int:
    """Four times the last cache, so that it cannot hold the buffer, but at most a sixteenth of the memory."""
    try:
        cache = int(_L3.read_text().strip().removesuffix("K")) * 1024
    except (OSError, ValueError):
        cache = 0
    return min(max(4 * cache, _LEAST_BUFFER), usable_memory() // 16)


def _fastest_seconds(work: Callable[[], None], device: str, seconds: float) -> float:
    """The time of the fastest call; the first one, which sets things up, is not counted."""
    import torch

    def timed() -> float:
        started = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    timed()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 3:
        taken.append(timed())
    return min(taken)
