"""How far a piece of work is: a bar on a terminal, and a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from zen_pipeline.logs import get_logger
from zen_pipeline.terminal import console, plain_column, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LINE_SECONDS = 15.0  # between two lines

Tell = Callable[[int, int], None]  # how much is done, and of how much; 0: nobody knows
Item = TypeVar("Item")

log = get_logger(__name__)


@contextmanager
def progress(what: str, *, bar: bool) -> Iterator[Tell]:
    """A function that shows how far the work is.

    Args:
        what: the stage and what it does, for people.
        bar: draw on stderr, when that is a terminal.
    """
    drawn = make_bar() if bar else None
    if drawn is None:
        yield _lines(what)
        return
    with drawn:
        task = drawn.add_task(visible(what), total=None, note="")
        yield lambda done, total: drawn.update(task, completed=done, total=total or None)


def counted(items: Sequence[Item], tell: Tell | None) -> Iterator[Item]:
    """The items, each of which is told of when the next one is asked for."""
    for number, item in enumerate(items, start=1):
        yield item
        if tell is not None:
            tell(number, len(items))


def make_bar() -> Bar | None:
    """A bar on stderr whose tasks have a `note`; None when that is no terminal."""
    stderr = console(stderr=True)
    if not stderr.is_terminal:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    text, note = plain_column("{task.description}"), plain_column("{task.fields[note]}")
    return Bar(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note, console=stderr)


def _lines(what: str) -> Tell:
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            log.info("%s: %d%s", what, done, f" of {total}, {done / total:.0%}" if total else " so far")

    return tell
