"""What a training process tells its launcher: one JSON object per line on its standard output."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any


class Stopped(BaseException):
    """SIGTERM arrived; not an Exception, so that nobody takes it for a failure and goes on."""


class Stop:
    """Whether training has been asked to stop.

    Attributes:
        arrived: this process was asked.
        due: the step is over and all processes know, so that they stop at the same place.
    """

    def __init__(self) -> None:
        self.arrived = self.due = False

    def check(self) -> None:
        """Raise `Stopped` when it is due."""
        if self.due:
            raise Stopped


class Events:
    """Writes events to what was standard output, and sends everything else that is printed there to stderr.

    A launcher that has died is no reason to lose the training: events that nobody reads are dropped.

    Args:
        rank: of the process; one that is not the first only sends its error.
    """

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank
        sys.stdout.flush()
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)

    def send(self, kind: str, **values: Any) -> None:
        """One event."""
        if self._rank > 0 and kind != "error":
            return
        with suppress(OSError, ValueError):
            self._file.write(json.dumps({"event": kind, **values}, allow_nan=True) + "\n")

    def fileno(self) -> int:
        """Descriptor that the events are written to."""
        return self._file.fileno()

    def warn(self, message: str) -> None:
        """Something that the user should read, although training goes on."""
        self.send("warning", message=message)
