"""Work on the parts of a corpus in several processes, with the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from zen_pipeline.corpus.reading.digests import cores
from zen_pipeline.errors import DataError
from zen_pipeline.subprocesses import safe_path_for_children

Task = TypeVar("Task")
Result = TypeVar("Result")

_TEXT_PER_WORKER = 64 << 20  # bytes; a process takes two seconds to start, in which one reads about this much
_RECORD = 1500  # bytes of text that take as long as a record without any
_MOST = 3  # processes take about 0.5 GB each (docs/data.md); who has more memory sets validate.workers


def worker_count(text_bytes: int, records: int, wanted: int | None) -> int:
    """How many processes: what is wanted, else as many as the records keep busy, by the cores, and at most 3."""
    return wanted or max(1, min(cores(), _MOST, (text_bytes + _RECORD * records) // _TEXT_PER_WORKER))


class Workers:
    """Some processes, started when they are first needed; a context manager. One worker works in this process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def ordered(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The function's result for every task, in the order of the tasks.

        Args:
            function: importable by its name; its result must not depend on what its process has done before.
            tasks: each is pickled when there is more than one worker.

        Raises:
            DataError: a process ended by force, most likely for lack of memory.
        """
        if self._count == 1:
            yield from map(function, tasks)
            return
        pool = self._started()
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                with _not_interrupted(), safe_path_for_children():
                    waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * self._count:  # bounds the results that wait to be taken
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                f"one of {self._count} worker processes was ended by force, most likely for lack of memory: "
                "lower validate.workers, or give the machine more memory"
            ) from None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of Arrow and numba
            with safe_path_for_children():
                self._pool = ProcessPoolExecutor(
                    self._count, mp_context=context, initializer=_end_with, initargs=(os.getpid(),)
                )
        return self._pool


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """Hold Ctrl-C back; a process that is started meanwhile never hears of it, since it is the parent's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int) -> None:
    """Leave when the parent was killed: a worker that waits for tasks would never learn of it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
