"""Number of threads for the compiled code of this package."""

from __future__ import annotations

import os


def usable_threads(asked: int | None) -> int:
    """The number asked for; by default the cores that this process may use."""
    if asked is not None:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
