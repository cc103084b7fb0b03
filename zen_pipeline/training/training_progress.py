"""Events of a training process as a progress bar, or as a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from zen_pipeline.logs import get_logger
from zen_pipeline.progress import LINE_SECONDS, make_bar
from zen_pipeline.terminal import visible

log = get_logger("zen_pipeline.training")


class Progress:
    """Shows events; a context manager, since a bar must be taken down.

    Args:
        name: what is trained.
        steps: of the whole run.
        bar: draw with `rich` on stderr, when that is a terminal.
    """

    def __init__(self, name: str, steps: int, *, bar: bool) -> None:
        self._name, self._steps = name, steps
        self._bar = make_bar() if bar else None
        self._task: Any = None
        self._logged = time.monotonic()
        self._validation = ""

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(visible(self._name), total=self._steps, note="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        what = event["event"]
        if what == "warning":
            log.warning("%s", event["message"])
        elif what == "start":
            log.info("%s: %.1f M parameters, %d steps", self._name, event["parameters"] / 1e6, event["steps"])
        elif what == "resumed":
            log.info("%s: going on after step %d", self._name, event["step"])
        elif what == "validation":
            self._show_validation(event)
        elif what == "checkpoint":
            log.debug("%s: checkpoint after step %d", self._name, event["step"])
        elif what == "progress":
            self._show_step(event)

    def _show_validation(self, event: Mapping[str, Any]) -> None:
        bits = event.get("validation_bits_per_byte")
        self._validation = f"{bits:.3f} bits per byte" if bits is not None else f"loss {event['validation_loss']:.3f}"
        log.info("%s: step %d, validation %s", self._name, event["step"], self._validation)

    def _show_step(self, event: Mapping[str, Any]) -> None:
        note = f"loss {event['loss']:.3f}  {event['tokens_per_second']:,.0f} tokens/s"
        if "mfu" in event:
            note += f"  MFU {event['mfu']:.0%}"
        if self._bar is not None:
            self._bar.update(self._task, completed=event["step"], note=f"{note}  {self._validation}")
        elif time.monotonic() - self._logged >= LINE_SECONDS:
            self._logged = time.monotonic()
            log.info("%s: step %d of %d, %s", self._name, event["step"], self._steps, note)
