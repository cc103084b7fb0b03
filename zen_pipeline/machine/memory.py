"""How much memory this process holds, and has held."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """Largest memory of this process so far, in bytes; that of the GPU once PyTorch uses one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return peak_resident_memory()


def peak_resident_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    # Not ru_maxrss where it can be avoided: Linux starts it at what the parent process held.
    if (held := _status("VmHWM:")) is not None:
        return held
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Resident memory of this process now, in bytes."""
    if (held := _status("VmRSS:")) is not None:
        return held
    import psutil

    return int(psutil.Process().memory_info().rss)


def _status(name: str) -> int | None:
    """A line of Linux's own account of this process, in bytes."""
    if not _STATUS.is_file():
        return None
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
