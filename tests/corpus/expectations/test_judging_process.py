"""The process that has Great Expectations loaded: what it answers, and how it ends."""

from __future__ import annotations

import json
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from zen_pipeline.corpus.expectations import judging_process
from zen_pipeline.corpus.expectations.suites import load_suite
from zen_pipeline.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[3]


def test_a_function_runs_in_the_other_process_and_that_one_is_kept() -> None:
    first, _ = judging_process.call(os.getpid)
    second, _ = judging_process.call(os.getpid)
    assert first == second != os.getpid()


def test_what_the_function_raises_arrives(tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text("{")
    with pytest.raises(ConfigError, match=r"records\.json cannot be read"):
        judging_process.call(load_suite, "records", tmp_path / "records.json")
    assert judging_process.call(operator.add, 1, 2)[0] == 3, "and it goes on"


@pytest.mark.usefixtures("traps")
def test_a_process_that_has_left_is_started_again() -> None:
    process, _ = judging_process.call(os.getpid)
    os.kill(process, signal.SIGKILL)
    assert judging_process.call(operator.add, 1, 2)[0] == 3


def test_a_function_that_takes_all_memory_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match="ended by force, most likely for lack of memory"):
        judging_process.call(os._exit, 9)


PROGRAM = """
import os, json, time
from zen_pipeline.corpus.expectations import judging_process
print(json.dumps(judging_process.call(os.getpid)[0]), flush=True)
time.sleep(60)
"""


def test_it_ends_with_a_caller_that_is_killed() -> None:
    caller = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, cwd=ROOT)
    assert caller.stdout is not None
    process = psutil.Process(json.loads(caller.stdout.readline()))
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 10
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
