"""Work on the parts of a corpus in several processes, with the results in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from zen_pipeline.corpus.digests import cores
from zen_pipeline.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")

_TEXT_PER_WORKER = 64 << 20  # bytes; a process takes two seconds to start, in which one reads about this much
_MOST = 4  # processes take about 0.4 GB each (docs/data.md); who has more memory sets validate.workers


def worker_count(text_bytes: int, wanted: int | None) -> int:
    """How many processes: what is wanted, else as many as the text keeps busy, by the cores, and at most 4."""
    return wanted or max(1, min(cores(), _MOST, text_bytes // _TEXT_PER_WORKER))


def ordered(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """The function's result for every task, in the order of the tasks.

    Args:
        function: importable by its name; must not depend on what else its process has done.
        tasks: each is pickled when there is more than one worker.
        workers: processes; 1 works in this one.

    Raises:
        DataError: a process ended by force, most likely for lack of memory.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of Arrow and numba
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with, initargs=(os.getpid(),)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * workers:  # bounds the results that wait to be taken
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                f"one of {workers} worker processes was ended by force, most likely for lack of memory: "
                "lower validate.workers, or give the machine more memory"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _end_with(parent: int) -> None:
    """Leave when the parent was killed: a worker that waits for tasks would never learn of it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
