"""Work in several processes: in order, as many as pay, and an end that is explained."""

from __future__ import annotations

import os

import pytest

from zen_pipeline.corpus.digests import cores
from zen_pipeline.corpus.workers import Workers, worker_count
from zen_pipeline.errors import DataError


def _square(number: int) -> int:
    return number * number


def _end(_number: int) -> int:
    os._exit(9)


def test_small_corpora_are_read_in_this_process_and_large_ones_by_up_to_three() -> None:
    assert worker_count(10_000_000, None) == 1
    assert worker_count(10_000_000_000, None) == min(cores(), 3)
    assert worker_count(10, 7) == 7


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    with Workers(workers) as several:
        assert list(several.ordered(_square, range(50))) == [n * n for n in range(50)]
        assert list(several.ordered(_square, range(3))) == [0, 1, 4]


def test_a_process_that_is_ended_by_force_is_explained() -> None:
    explained = pytest.raises(DataError, match=r"2 worker processes.*lack of memory.*validate\.workers")
    with explained, Workers(2) as several:
        list(several.ordered(_end, range(3)))
