"""Loggers of the package, all below `zen_pipeline`, and how they are shown on a terminal."""

from __future__ import annotations

import logging
import sys

from typing_extensions import override

from zen_pipeline.masking import MaskedLines
from zen_pipeline.terminal import VisibleLines


def get_logger(name: str) -> logging.Logger:
    """The logger of one module; `zen` or the flow decides where it goes."""
    return logging.getLogger(name)


class _Stderr(logging.Handler):
    """Lines on what `sys.stderr` is at the moment: while a progress bar is drawn, rich puts them above it."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")  # in one piece: another thread may write as well
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def show_on_stderr(level: int = logging.INFO) -> None:
    """Send the package's log to stderr as plain lines, once."""
    root = logging.getLogger("zen_pipeline")
    root.setLevel(level)
    if not any(isinstance(h, _Stderr) for h in root.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
        handler.addFilter(MaskedLines())
        handler.addFilter(VisibleLines())
        root.addHandler(handler)
