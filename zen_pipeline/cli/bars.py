"""How much of a download has arrived: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zen_pipeline.cli.common import byte_size
from zen_pipeline.terminal import console, plain_column, say, visible

if TYPE_CHECKING:
    from zen_pipeline.corpus.catalogue.entries import SetFile
    from zen_pipeline.corpus.catalogue.local import Progress

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def download_progress() -> Iterator[Progress]:
    """Shows what it is told, on stderr."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (plain_column("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console(stderr=True)) as bars:
        tasks = {}

        def report(file: SetFile, done: int, total: int | None) -> None:
            if file.path not in tasks:
                tasks[file.path] = bars.add_task(visible(file.path), total=total)
            bars.update(tasks[file.path], completed=done, total=total)

        yield report


def _lines() -> Progress:
    last: dict[str, float] = {}

    def report(file: SetFile, done: int, total: int | None) -> None:
        now = time.monotonic()
        whole = total is not None and done == total
        if not whole and now - last.get(file.path, float("-inf")) < _SECONDS_BETWEEN_LINES:
            return
        last[file.path] = now
        share = f" of {byte_size(total)} ({done / total:.0%})" if total else ""
        say(f"{file.path}: {byte_size(done)}{share}")

    return report
