"""Loggers of the package, all below `zen_pipeline`, and how they are shown on a terminal."""

from __future__ import annotations

import logging

from zen_pipeline.terminal import VisibleLines


def get_logger(name: str) -> logging.Logger:
    """The logger of one module; `zen` or the flow decides where it goes."""
    return logging.getLogger(name)


def show_on_stderr(level: int = logging.INFO) -> None:
    """Send the package's log to stderr as plain lines, once."""
    root = logging.getLogger("zen_pipeline")
    root.setLevel(level)
    if not any(isinstance(h, logging.StreamHandler) for h in root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
        handler.addFilter(VisibleLines())
        root.addHandler(handler)
