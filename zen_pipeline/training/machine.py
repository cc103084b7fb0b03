"""What kind of machine this is, in the few facts that decide how fast it trains; reads files only."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import write_atomically
from zen_pipeline.workspace import Workspace

_CALIBRATION = "calibration.json"
_CGROUP = Path("/sys/fs/cgroup")


def machine_profile() -> dict[str, Any]:
    """Processor, cores we may use, memory we may use in GiB, names of the GPUs. Equal on every call."""
    return {"cpu": _cpu_model(), "cores": available_cores(), "memory_gib": _memory_gib(), "gpus": _gpus()}


def available_cores() -> int:
    """Cores that this process may use: its affinity, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read(_CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def _memory_gib() -> int:
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = _read(_CGROUP / "memory.max")
    if limit.isdigit():
        total = min(total, int(limit))
    return round(total / 2**30)


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """From the driver's files, since asking CUDA would start it in this process."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", _read(path), re.MULTILINE)
        names.append(found[1].strip() if found else "unknown")
    return [] if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") else names


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def calibration(workspace: Workspace) -> int:
    """How often the sizes were asked to be chosen anew in this workspace."""
    try:
        return int(json.loads((workspace.home / _CALIBRATION).read_text())["calibration"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def bump_calibration(workspace: Workspace) -> int:
    """Have the next `resolve` measure again: its fingerprint holds this counter."""
    count = calibration(workspace) + 1
    write_atomically(workspace.home / _CALIBRATION, json.dumps({"calibration": count}))
    return count
