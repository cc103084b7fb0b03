"""The worker of `zen server` when it does not live."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zen_pipeline.cli.ui import WaitEnded, keep_worker
from zen_pipeline.errors import ZenError


def _until_ended(process: WaitEnded) -> None:
    while process(0.01) is None:
        pass


def test_a_worker_that_cannot_live_is_started_a_few_times_and_then_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, started = tmp_path / "worker.log", []

    @contextmanager
    def failing() -> Iterator[subprocess.Popen[bytes]]:
        started.append(len(started))
        with log.open("wb") as output:
            yield subprocess.Popen(
                [sys.executable, "-Sc", "import sys; print('no such pool'); sys.exit(3)"], stdout=output
            )

    with pytest.raises(ZenError, match=r"3 times.*exit code 3.*no such pool") as raised:
        keep_worker(failing, _until_ended, log, pauses=(0.01, 0.02))
    assert len(started) == 3
    assert str(log) in str(raised.value)
    assert [line.rpartition(" in ")[2] for line in capsys.readouterr().err.splitlines()] == ["0.01 s", "0.02 s"]


def test_another_part_that_ends_during_a_pause_ends_everything(tmp_path: Path) -> None:
    @contextmanager
    def ends() -> Iterator[subprocess.Popen[bytes]]:
        yield subprocess.Popen([sys.executable, "-Sc", ""])

    calls: list[WaitEnded] = []

    def wait(process: WaitEnded) -> None:
        calls.append(process)
        if len(calls) == 2:
            raise ZenError("MLflow ended")
        _until_ended(process)

    with pytest.raises(ZenError, match="MLflow ended"):
        keep_worker(ends, wait, tmp_path / "worker.log", pauses=(60,))
    assert len(calls) == 2
