"""Log lines on a terminal, with and without a progress bar."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

PROGRAM = """
import logging, time
from zen_pipeline.logs import get_logger, show_on_stderr
from zen_pipeline.terminal import say
from zen_pipeline.training.training_progress import Progress

show_on_stderr()
with Progress("pretrain", 9, bar=True) as shown:
    for step in range(1, 10):
        shown.show({"event": "progress", "step": step, "loss": 1.0, "tokens_per_second": 1.0})
        get_logger("zen_pipeline.test").warning("line %d", step)
        say(f"said {step}")
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_lines_and_progress_bars_do_not_share_a_row() -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=end, env={**os.environ, "TERM": "xterm"})
    os.close(end)
    output = b""
    while True:
        try:
            output += os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to say that the other end was closed
            break
    assert process.wait() == 0
    os.close(terminal)
    rows = [_CONTROL.sub("", row).rpartition("\r")[2] for row in output.decode().replace("\r\n", "\n").split("\n")]
    assert [row[9:] for row in rows if "line" in row] == [f"WARNING line {step}" for step in range(1, 10)]
    assert [row for row in rows if "said" in row] == [f"said {step}" for step in range(1, 10)]
    assert any("pretrain" in row and "9/9" in row for row in rows), "a bar was drawn"
