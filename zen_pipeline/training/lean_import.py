"""Lightning without the packages that only its metrics would use: a training process starts in two thirds of the time.

Lightning imports torchmetrics, which imports SciPy's signal processing, Matplotlib and transformers wherever they are
installed, for metrics that are never computed here.
"""

from __future__ import annotations

from importlib import import_module
from unittest.mock import patch

from typing_extensions import override

_UNUSED = frozenset({"matplotlib", "scipy", "transformers"})


def import_lightning() -> None:
    """Import `lightning.pytorch`; from then on this process's torchmetrics takes those packages for not installed."""
    from lightning_utilities.core import imports
    from packaging.requirements import Requirement

    class Requirements(imports.RequirementCache):
        @override
        def _check_available(self) -> None:
            if self.requirement is not None and Requirement(self.requirement).name in _UNUSED:
                self.available, self.message = False, f"{self.requirement} is not used in a training process"
            else:
                super()._check_available()

    available = imports.package_available
    with (
        patch.object(imports, "RequirementCache", Requirements),
        patch.object(imports, "package_available", lambda name: name not in _UNUSED and available(name)),
    ):
        import_module("lightning.pytorch")
