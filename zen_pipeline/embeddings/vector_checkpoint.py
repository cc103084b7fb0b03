"""The state of a training of vectors on disk, so that a stopped or killed one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.errors import DataError
from zen_pipeline.logs import get_logger

_FILE = "training.safetensors"
_TRAININGS = 3  # raise it when a training goes other ways with the same settings: no state of the old is gone on from
_NO_MATTER = ("threads", "memory_megabytes", "probes")  # to the vectors

log = get_logger(__name__)


@dataclass
class Checkpoint:
    """Writes a training's arrays and counters now and then, and when the training is asked to stop.

    Attributes:
        folder: where the state lies.
        identity: names corpus and settings; a state of another identity is never loaded. Empty where the folder
            belongs to one training alone.
        every: seconds between two writings.
    """

    folder: Path
    identity: str = ""
    every: float = 60.0
    _last: float = field(default_factory=time.monotonic)
    _asked: int | None = None  # the signal that came
    _handlers: dict[int, Any] = field(default_factory=dict)

    @contextmanager
    def holding_signals(self) -> Iterator[None]:
        """Let a first SIGINT or SIGTERM wait until the state is written; a second one is heard at once.

        Signals are the main thread's: in any other this changes nothing.
        """
        self._asked = None
        if threading.current_thread() is threading.main_thread():
            self._handlers = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            log.info("vectors: when the training is interrupted, its state is kept in %s", self.folder)
            yield
        finally:
            self._give_back()
        self._deliver()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._give_back()
        self._asked = number

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _deliver(self) -> None:
        if self._asked is not None:
            number, self._asked = self._asked, None
            signal.raise_signal(number)

    def due(self) -> bool:
        """True when it is time to write."""
        return self._asked is not None or time.monotonic() - self._last >= self.every

    def save(self, arrays: dict[str, NDArray[Any]], state: dict[str, Any]) -> None:
        """Replace what was written before; the file is whole or absent. Then deliver the signal that waits."""
        from safetensors.numpy import save_file

        part = self.folder / f".{_FILE}.{os.getpid()}.tmp"
        save_file(arrays, part, metadata={"state": json.dumps(state), "identity": self.identity})
        os.replace(part, self.folder / _FILE)
        self._last = time.monotonic()
        self._deliver()

    def load(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
        """Fill the arrays and return the state; None, the arrays untouched, when there is nothing to go on from."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / _FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                identity = file.metadata()["identity"]
                state: dict[str, Any] = json.loads(file.metadata()["state"])
                found = {name: file.get_tensor(name) for name in arrays}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            log.warning("%s cannot be read (%s): the training starts again", path, error)
            return None
        if identity != self.identity or any(
            found[name].shape != array.shape or found[name].dtype != array.dtype for name, array in arrays.items()
        ):
            log.warning("%s belongs to another training: this one starts again", path)
            return None
        for name, array in arrays.items():
            np.copyto(array, found[name])
        log.info("vectors: going on from %s", path)
        return state


@contextmanager
def kept_beside(output: Path, corpus: WordCorpus, settings: Mapping[str, Any]) -> Iterator[Checkpoint]:
    """A checkpoint in `.NAME.training` next to the file that a training is to write; gone when it has been written.

    Args:
        output: the file.
        corpus: what is trained on; a state of another corpus is not gone on from.
        settings: what decides the vectors; nor is one of other settings. Those of `_NO_MATTER` may differ.
    """
    folder = output.with_name(f".{output.name}.training")
    folder.mkdir(parents=True, exist_ok=True)
    deciding = {name: value for name, value in sorted(settings.items()) if name not in _NO_MATTER}
    digest = hashlib.sha256(json.dumps([_TRAININGS, deciding, corpus.words], default=str).encode())
    for array in (corpus.ids, corpus.offsets):
        digest.update(array.tobytes())
    try:
        yield Checkpoint(folder, identity=digest.hexdigest())
    except DataError:  # what diverged is no start either
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
