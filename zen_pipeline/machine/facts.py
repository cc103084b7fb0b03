"""What this machine is: processor, usable cores and memory, graphics cards. Nothing here imports torch.

"Usable" means what this process may really use: the scheduler's affinity mask and the limits of its control
groups count, not what the hardware has.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

GIB = 1 << 30
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is what 64-bit ARM calls it
_QUERY_SECONDS = 30  # a driver that is being loaded answers late


class Profile(BaseModel):
    """The machine in few stable words, cheap enough to be part of a fingerprint.

    Attributes:
        system: operating system and instruction set, such as `Linux x86_64`.
        cpu: model name of the processor.
        cores: logical cores that this process may use.
        memory_gib: memory that this process may use, rounded to whole GiB (at least 1).
        gpus: names of the NVIDIA cards in the driver's order.
    """

    model_config = ConfigDict(frozen=True)

    system: str
    cpu: str
    cores: int
    memory_gib: int
    gpus: tuple[str, ...]


def profile() -> Profile:
    """The machine as it is now, without measuring anything: a few milliseconds, more where nvidia-smi is asked."""
    return Profile(
        system=f"{platform.system()} {platform.machine()}",
        cpu=cpu_model(),
        cores=usable_cores(),
        memory_gib=max(1, round(usable_memory() / GIB)),
        gpus=gpu_names(),
    )


# --- processor --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def cpu_model() -> str:
    """The processor's name as it gives it itself, or the name of its instruction set when it gives none."""
    if platform.system() == "Darwin":
        name = _first_line(["sysctl", "-n", "machdep.cpu.brand_string"])
    else:
        name = _cpuinfo("model name")
    return " ".join(name.split()) or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags in Linux's spelling, such as `avx512_bf16`; empty on other systems."""
    return frozenset(_cpuinfo("flags").split() or _cpuinfo("Features").split())


def bf16_instructions() -> list[str]:
    """Those of the CPU's instruction sets that multiply bfloat16 in hardware, sorted; Linux only."""
    return sorted(cpu_flags() & _BF16_FLAGS)


@lru_cache(maxsize=8)
def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == field), "")


def usable_cores() -> int:
    """Logical cores this process may run on: affinity, and whole cores of its control group's quota (at least 1)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return max(1, int(min(cores, cgroup_cpu_quota())))


# --- memory -----------------------------------------------------------------------------------------------------------


def usable_memory() -> int:
    """Bytes of memory this process may use: the machine's, or its control group's limit when that is less."""
    import psutil

    return int(min(psutil.virtual_memory().total, cgroup_memory_limit()))


# --- control groups ---------------------------------------------------------------------------------------------------


def cgroup_cpu_quota(root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> float:
    """Cores' worth of time that the control groups allow; infinite without a limit. Reads version 1 and 2."""
    smallest = math.inf
    for folder in _cgroup_folders("cpu", root, own):
        quota, period = "max", "100000"
        if words := _read(folder / "cpu.max").split():
            quota, period = words[0], words[-1]
        elif text := _read(folder / "cpu.cfs_quota_us"):
            quota, period = text, _read(folder / "cpu.cfs_period_us") or period
        if quota.isdigit() and period.isdigit() and int(period) > 0:  # "max" and -1 mean: no limit
            smallest = min(smallest, int(quota) / int(period))
    return smallest


def cgroup_memory_limit(root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> float:
    """Bytes that the control groups allow; infinite without a limit. Reads version 1 and 2."""
    smallest = math.inf
    for folder in _cgroup_folders("memory", root, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit():  # version 1 writes a number beyond any memory for "no limit"
                smallest = min(smallest, int(text))
    return smallest


def _cgroup_folders(controller: str, root: Path, own: Path) -> list[Path]:
    """The folders of the process's own group and of all its parents, for one controller.

    Inside a container the path in `/proc/self/cgroup` may not exist below the mount; the mount's root, which is
    then the container's own group, is always among the answers.
    """
    folders: list[Path] = []
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount = root
        elif controller in controllers.split(","):
            mount = root / controller
        else:
            continue
        group = mount / path.strip("/")
        folders += [f for f in (group, *group.parents) if f == mount or mount in f.parents]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


# --- graphics cards ---------------------------------------------------------------------------------------------------


def gpu_names() -> tuple[str, ...]:
    """Names of the NVIDIA cards that the driver lists; empty when there is no driver or it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return ()
    output = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return tuple(line.strip() for line in output.splitlines() if line.strip())


def _first_line(command: list[str]) -> str:
    return next(iter(_output(command).splitlines()), "")


def _output(command: list[str]) -> str:
    """What a command prints, or nothing when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
