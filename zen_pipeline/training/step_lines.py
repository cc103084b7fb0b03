"""Files of JSON lines that grow with the steps of a training, and survive kills and full disks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


class StepLines:
    """One JSON object per line, each with its `step`.

    A line that cannot be written, as on a full disk, is missing and said to be; the training goes on.

    Args:
        path: of the file.
        warn: told in one sentence what is missing.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path = path
        self._warn, self._failing = warn, False
        self._file: int | None = None

    def open_after(self, step: int) -> None:
        """Open for appending; lines of later steps, which are done again, and a half-written last one are cut off."""
        self.close()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        kept = 0
        with self.path.open("rb") as file:
            for line in file if step else ():
                if not line.endswith(b"\n") or _step_of(line) > step:
                    break
                kept += len(line)
        self._cut(kept)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line, whole or not at all."""
        assert self._file is not None
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("no space left on device")
        except OSError as error:
            self._cut(size)
            if not self._failing:
                self._warn(f"{self.path} cannot be written ({error}): lines from step {entry['step']} on are missing")
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _cut(self, size: int) -> None:
        assert self._file is not None
        with suppress(OSError):  # a pipe or a device
            os.ftruncate(self._file, size)


def _step_of(line: bytes) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62
