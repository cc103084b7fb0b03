"""Facts about the machine, read from real files of the kernel's form."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zen_pipeline.machine import Profile, describe, profile
from zen_pipeline.machine.facts import bf16_instructions, cgroup_cpu_quota, cgroup_memory_limit, gpu_names
from zen_pipeline.machine.speed import measure


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_profile_is_stable_and_plausible() -> None:
    found = profile()
    assert found == profile()
    assert Profile.model_validate_json(found.model_dump_json()) == found
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_gib >= 1
    assert found.cpu


def test_the_affinity_of_the_process_counts() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity mask")
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from zen_pipeline.machine.facts import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_torch_is_not_imported_for_the_profile() -> None:
    code = "import sys; from zen_pipeline.machine import profile, problems; profile(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_limits_of_control_groups_of_version_2(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "0::/outer/inner\n")
    write(tmp_path / "outer" / "cpu.max", "150000 100000\n")
    write(tmp_path / "outer" / "inner" / "cpu.max", "max 100000\n")
    write(tmp_path / "outer" / "inner" / "memory.max", "1073741824\n")
    write(tmp_path / "outer" / "memory.max", "max\n")
    assert cgroup_cpu_quota(tmp_path, own) == 1.5
    assert cgroup_memory_limit(tmp_path, own) == 1 << 30


def test_limits_of_control_groups_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n")
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", "200000\n")  # inside a container the group is the mount itself
    write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(tmp_path / "memory" / "docker" / "abc" / "memory.limit_in_bytes", "536870912\n")
    assert cgroup_cpu_quota(tmp_path, own) == 2.0
    assert cgroup_memory_limit(tmp_path, own) == 1 << 29


@pytest.mark.parametrize("quota", ["-1", "max 100000", ""])
def test_no_limit_is_infinite(tmp_path: Path, quota: str) -> None:
    write(tmp_path / "own", "0::/\n3:cpu:/\n")
    write(tmp_path / "cpu.max", quota)
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", quota)
    assert cgroup_cpu_quota(tmp_path, tmp_path / "own") == math.inf
    assert cgroup_memory_limit(tmp_path, tmp_path / "own") == math.inf
    assert cgroup_cpu_quota(tmp_path, tmp_path / "absent") == math.inf


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of the driver's; the test writes what it does."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def test_cards_are_named_by_the_driver(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'NVIDIA L4'\necho 'NVIDIA L4'\n")
    assert gpu_names() == ("NVIDIA L4", "NVIDIA L4")


def test_a_driver_that_fails_means_no_card(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert gpu_names() == ()


def test_the_speed_of_the_cpu_is_measured_with_its_threads() -> None:
    import torch

    found = measure("cpu", seconds=0.05)
    assert found.threads == torch.get_num_threads()
    assert min(found.float32_gflops, found.bfloat16_gflops, found.memory_gb_per_second) > 0.1


@pytest.mark.gpu
def test_the_speed_of_a_gpu_is_measured() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    found = measure("cuda:0", seconds=0.05)
    assert found.threads is None
    assert found.bfloat16_gflops > found.float32_gflops > 100


def test_a_description_without_measuring_still_names_the_versions() -> None:
    found = describe(measured=False)
    assert found.speeds == []
    assert found.versions["torch"]
    assert found.versions["python"] == sys.version.split()[0]
    assert found.bf16_instructions == bf16_instructions()
