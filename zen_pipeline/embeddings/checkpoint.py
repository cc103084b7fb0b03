"""The state of a training of vectors on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.logs import get_logger

_FILE = "training.safetensors"

log = get_logger(__name__)


@dataclass
class Checkpoint:
    """Writes a training's arrays and counters now and then.

    Attributes:
        folder: a folder of one training alone: same corpus, same settings.
        every: seconds between two writings; a shorter training writes none.
    """

    folder: Path
    every: float = 60.0
    _last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._last >= self.every

    def save(self, arrays: dict[str, NDArray[Any]], state: dict[str, Any]) -> None:
        """Replace what was written before; the file is whole or absent."""
        from safetensors.numpy import save_file

        part = self.folder / f".{_FILE}.{os.getpid()}.tmp"
        save_file(arrays, part, metadata={"state": json.dumps(state)})
        os.replace(part, self.folder / _FILE)
        self._last = time.monotonic()

    def load(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
        """Fill the arrays and return the state; None, the arrays untouched, when there is nothing to go on from."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / _FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                state: dict[str, Any] = json.loads(file.metadata()["state"])
                found = {name: file.get_tensor(name) for name in arrays}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            log.warning("%s cannot be read (%s): the training starts again", path, error)
            return None
        if any(found[name].shape != array.shape or found[name].dtype != array.dtype for name, array in arrays.items()):
            log.warning("%s belongs to another training: this one starts again", path)
            return None
        for name, array in arrays.items():
            np.copyto(array, found[name])
        log.info("vectors: going on from %s", path)
        return state
