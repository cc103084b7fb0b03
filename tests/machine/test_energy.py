"""Energy: counters in the kernel's form, and the estimate where there are none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from zen_pipeline.machine.energy import EnergyMeter
from zen_pipeline.machine.memory import peak_resident_memory, resident_memory


def zone(root: Path, name: str, what: str, microjoules: int) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{what}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_the_counters_of_the_packages_are_added_up_and_may_start_again(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000), zone(
        tmp_path, "intel-rapl:1", "package-1", 262_143_000_000
    )  # fmt: skip
    core = zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)  # inside the first package
    system = zone(tmp_path, "intel-rapl:2", "psys", 1_000_000)  # the packages and more
    meter = EnergyMeter(watts_per_core=4.0, powercap=tmp_path)
    assert (meter.measured, meter.joules()) == (True, 0.0)
    first.write_text("7500000\n")
    core.write_text("9000000\n")
    system.write_text("9000000\n")
    assert meter.joules() == pytest.approx(2.5)
    second.write_text("671150\n")  # 0.32885 J to the end of the range, and on from 0
    assert meter.joules() == pytest.approx(2.5 + 1.0)
    assert "RAPL" in meter.source


def test_without_counters_it_is_an_estimate_and_says_so(tmp_path: Path) -> None:
    before = time.process_time()
    meter = EnergyMeter(watts_per_core=3.0, processes=2, powercap=tmp_path)
    started = time.process_time()
    while time.process_time() - started < 0.05:
        pass
    least = time.process_time() - started
    joules = meter.joules()
    assert 2 * 3.0 * least <= joules <= 2 * 3.0 * (time.process_time() - before)
    assert not meter.measured
    assert meter.source == "processor estimated from 3 W for each busy core"


def test_a_counter_that_cannot_be_read_is_no_half_of_a_sum(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000).unlink()
    assert not EnergyMeter(watts_per_core=4.0, powercap=tmp_path).measured


def test_cards_that_nobody_can_ask_are_named_as_missing(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    meter = EnergyMeter(watts_per_core=4.0, gpus=["GPU-00000000-0000-0000-0000-000000000000"], powercap=tmp_path)
    assert not meter.measured
    assert meter.source.endswith("graphics cards left out: NVML cannot be read")


@pytest.mark.gpu
def test_a_card_counts_what_it_uses() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    meter = EnergyMeter(watts_per_core=4.0, gpus=[uuid])
    assert "graphics cards read from NVML" in meter.source
    left = torch.randn(8192, 8192, device="cuda")
    for _ in range(200):
        left @ left
    torch.cuda.synchronize()
    assert meter.joules() > 10


def test_resident_memory_is_what_was_written_to() -> None:
    before = resident_memory()
    held = bytearray(b"x") * (64 << 20)
    assert resident_memory() - before > 60 << 20
    assert peak_resident_memory() >= before + (60 << 20)
    assert len(held) == 64 << 20
