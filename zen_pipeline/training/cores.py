"""Work that is done side by side, each part on its own threads of the processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import torch

from zen_pipeline.machine.threads import torch_threads

_Result = TypeVar("_Result")


class Cores:
    """Runs functions at the same time in one process; PyTorch's operations in each have an equal part of the threads.

    Args:
        workers: how many functions at a time.
        threads: in all.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self._threads = workers, max(1, threads // workers)
        set_threads = partial(torch.set_num_threads, self._threads)  # a setting of each thread
        self._pool = ThreadPoolExecutor(max(1, workers - 1), initializer=set_threads)

    def run(self, works: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """The results in order. The first function runs in the calling thread; if one raises, all others end first."""
        others = [self._pool.submit(work) for work in works[1:]]
        try:
            with torch_threads(self._threads):
                first = works[0]()
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]
