"""Modules in a user's folder that must never be imported in the place of Python's own, or of ours."""

from __future__ import annotations

import sys
from pathlib import Path

MARK = "imported.txt"
_PACKAGES = ("zen_pipeline", "flows", "torch", "numpy", "pandas", "pyarrow", "prefect", "mlflow", "lightning", "rich")
_SOURCE = """\
with open({mark!r}, "a") as mark:
    mark.write(__name__ + "\\n")
raise ImportError(__name__ + " was imported from the working folder")
"""


def set_traps(folder: Path) -> None:
    """A module of every name in the standard library, and of some that we use; each leaves a mark and fails."""
    names = {name for name in sys.stdlib_module_names if name not in sys.builtin_module_names}
    for name in (*names, *_PACKAGES):
        (folder / f"{name}.py").write_text(_SOURCE.format(mark=str(folder / MARK)))


def sprung(folder: Path) -> list[str]:
    """The modules that were imported."""
    mark = folder / MARK
    return mark.read_text().split() if mark.is_file() else []
