"""The energy that a computation takes: read from counters where the machine has them, else estimated and called so."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"


class EnergyMeter:
    """Joules since it was made.

    The processor's part comes from RAPL, the counters of Linux's powercap interface, which count for the whole
    processor; where they cannot be read (virtual machines have none, and most systems show them to root alone), it is
    the CPU time of this process times a stated power. The part of graphics cards comes from NVML.

    Args:
        watts_per_core: of the estimate.
        processes: that do the same as this one on the same machine, itself included.
        gpus: UUIDs of the graphics cards in use, as NVML spells them (`GPU-…`).
        powercap: where the counters are.

    Attributes:
        measured: everything is read from counters.
        source: where the figures come from, in words for a report.
    """

    def __init__(
        self,
        *,
        watts_per_core: float,
        processes: int = 1,
        gpus: Sequence[str] = (),
        powercap: Path = _POWERCAP,
    ) -> None:
        self._watts = watts_per_core * processes
        self._packages = _readable_packages(powercap)
        self._cards = _open_cards(gpus) if gpus else None
        self.measured = bool(self._packages) and (not gpus or self._cards is not None)
        self.source = self._source(watts_per_core, bool(gpus))
        self._joules = self._card_joules = 0.0
        self._cpu_began = time.process_time()
        self._counts = [package.count() for package in self._packages]
        self._cards_began = self._cards.joules() if self._cards else 0.0

    def joules(self) -> float:
        """What has been used so far. A counter that starts again is noticed when it is read once in between."""
        if self._packages:
            for place, package in enumerate(self._packages):
                count = package.count()
                self._joules += package.joules(self._counts[place], count)
                self._counts[place] = count
        else:
            self._joules = self._watts * (time.process_time() - self._cpu_began)
        if self._cards is not None:
            self._card_joules = self._cards.joules() - self._cards_began
        return self._joules + self._card_joules

    def _source(self, watts_per_core: float, gpus: bool) -> str:
        processor = (
            "processor read from RAPL, with whatever else ran on it"
            if self._packages
            else f"processor estimated from {watts_per_core:g} W for each busy core"
        )
        if not gpus:
            return processor
        cards = "graphics cards read from NVML" if self._cards else "graphics cards left out: NVML cannot be read"
        return f"{processor}; {cards}"


class _Package:
    """One processor's counter in microjoules (Linux: Documentation/power/powercap/powercap.rst)."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self.count()

    def count(self) -> int:
        return int(self._counter.read_text())

    def joules(self, before: int, now: int) -> float:
        return (now - before if now >= before else self._range - before + now) / 1e6


def _readable_packages(root: Path) -> list[_Package]:
    """The whole processors; what is inside of them, such as `intel-rapl:0:0`, is counted with them."""
    packages = []
    for folder in sorted(root.glob("intel-rapl:*")):  # AMD's are called the same
        try:
            if folder.name.count(":") == 1 and (folder / "name").read_text().startswith("package"):
                packages.append(_Package(folder))
        except (OSError, ValueError):  # root's alone, or not what it should be: no half of a sum
            return []
    return packages


class _Cards:
    """Energy counters of graphics cards, which start when the driver does (NVML API reference; Volta and later)."""

    def __init__(self, uuids: Sequence[str]) -> None:
        self._library = ctypes.CDLL(_NVML)
        self._call("nvmlInit_v2")
        self._handles = []
        for uuid in uuids:
            handle = ctypes.c_void_p()
            self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(handle))
            self._handles.append(handle)

    def joules(self) -> float:
        total = 0
        for handle in self._handles:
            millijoules = ctypes.c_ulonglong()
            self._call("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(millijoules))
            total += millijoules.value
        return total / 1e3

    def _call(self, name: str, *arguments: object) -> None:
        if code := getattr(self._library, name)(*arguments):
            raise OSError(f"{name} returned {code}")


def _open_cards(uuids: Sequence[str]) -> _Cards | None:
    try:
        cards = _Cards(uuids)
        cards.joules()
    except (OSError, AttributeError):  # no driver, an old one, or a part of a card, which has no counter
        return None
    return cards
