"""Work in several processes: in order, as many as pay, and an end that is explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zen_pipeline.corpus.reading.digests import cores
from zen_pipeline.corpus.validating.workers import Workers, worker_count
from zen_pipeline.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def _square(number: int) -> int:
    return number * number


def _end(_number: int) -> int:
    os._exit(9)


def test_small_corpora_are_read_in_this_process_and_large_ones_by_up_to_three() -> None:
    assert worker_count(10_000_000, 1000, None) == 1
    assert worker_count(10_000_000_000, 1000, None) == min(cores(), 3)
    assert worker_count(50_000_000, 1_000_000, None) == min(cores(), 3)  # short ones take time too
    assert worker_count(10, 1, 7) == 7


@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("place", ["", "."])
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, place])  # of a library in this process
    with Workers(workers) as several:
        assert list(several.ordered(_square, range(50))) == [n * n for n in range(50)]
        assert list(several.ordered(_square, range(3))) == [0, 1, 4]


def test_a_process_that_is_ended_by_force_is_explained() -> None:
    explained = pytest.raises(DataError, match=r"2 worker processes.*lack of memory.*validate\.workers")
    with explained, Workers(2) as several:
        list(several.ordered(_end, range(3)))


STOPPED = """
import time
from zen_pipeline.corpus.validating.workers import Workers

if __name__ == "__main__":
    try:
        with Workers(2) as workers:
            for _ in workers.ordered(time.sleep, [0, 0, 3]):
                print("works", flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


def test_ctrl_c_reaches_the_parent_alone(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(STOPPED)
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "stopped"
    assert err == ""
