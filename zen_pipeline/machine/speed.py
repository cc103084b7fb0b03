"""Short measurements of what bounds training and decoding: matrix products and reads of memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from zen_pipeline.machine.facts import usable_memory

if TYPE_CHECKING:
    import torch

_SECONDS = 1.0  # per measurement; dozens of calls, of which the fastest counts
_LEAST_BUFFER = 1 << 28  # bytes; enough where the size of the last cache is not known
_L3 = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
_TASKS = Path("/proc/self/task")


class Speed(BaseModel):
    """What one device reached in the fastest of the calls made in about a second, as STREAM (McCalpin 1995) counts.

    What else runs on the machine makes some calls slower and none faster; see also `timed`.

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
    """The undisturbed time of the fastest call; the first one, which sets things up, is not counted."""
    import torch

    threads = torch.get_num_threads()
    timed(work, device, threads)
    taken: list[Timing] = []
    while sum(each.clock for each in taken) < seconds or len(taken) < 3:
        taken.append(timed(work, device, threads))
    return min(each.seconds for each in taken)


class Timing(NamedTuple):
    """Seconds that work took by the clock, and those that it would take on a machine that does nothing else."""

    clock: float
    seconds: float


def timed(work: Callable[[], object], device: str, threads: int) -> Timing:
    """Time one call by so many threads of this process, or on a GPU, where only the clock counts."""
    if device != "cpu":
        import torch

        began = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        clock = time.perf_counter() - began
        return Timing(clock, clock)
    waited, used, began = waited_for_core(), time.process_time(), time.perf_counter()
    work()
    clock, processor = time.perf_counter() - began, time.process_time() - used
    after = waited_for_core()
    waits = None if after is None or waited is None else max(0.0, after - waited)
    return Timing(clock, undisturbed(clock, processor, waits, threads))


def undisturbed(clock: float, processor: float, waits: float | None, threads: int) -> float:
    """What work by so many threads takes on a machine that does nothing else.

    Args:
        clock: seconds that it took.
        processor: seconds of processor time of all threads: no more than `threads` of them fit into a second.
        waits: seconds that threads were ready and had no core, all threads together; None: not known. Threads that
            sleep until others are done do not count. They may have waited at the same time, so this is what the work
            was delayed at most.
        threads: that worked.
    """
    if waits is None:  # a thread that works alone waits for nothing else
        return min(clock, processor) if threads == 1 else clock
    return min(clock, max(processor / threads, clock - waits))


def waited_for_core() -> float | None:
    """Seconds that the threads of this process were ready to run and had no core; None where the kernel says nothing.

    The second number of `schedstat` of each thread, in nanoseconds (Linux, Documentation/scheduler/sched-stats.rst).
    """
    waits = 0
    try:
        for task in _TASKS.iterdir():
            waits += _nanoseconds_waited(task)
    except (OSError, ValueError, IndexError):
        return None
    return waits / 1e9


def _nanoseconds_waited(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text().split()[1])
    except ProcessLookupError:  # the thread has ended meanwhile
        return 0
