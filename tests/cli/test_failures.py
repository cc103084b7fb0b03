"""An error that nobody foresaw: one line, exit code 1, and a log; with `--debug` the traceback."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zen_pipeline.cli.failures import name_of
from zen_pipeline.errors import ConfigError

# The real command, in which a stage, a library, or a thread fails in a way that is not ours.
PROGRAM = """
import sys, threading
from zen_pipeline import cli, config

def fail(**_):
    {failure}

config.load_config = fail
cli.main()
"""


def zen(folder: Path, failure: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`zen config show`, which reads the settings by doing what `failure` says."""
    kept = {name: value for name, value in os.environ.items() if name != "ZEN_HOME"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(failure=failure), *options, "config", "show"],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("validate"), "KeyError: 'validate'"),
        (ValueError("one\n  two"), "ValueError: one"),
        (RuntimeError(), "RuntimeError"),
        (MemoryError(), "memory ran out"),
        (OSError(5, "Input/output error", "x.txt"), "Input/output error: x.txt"),
        (ExceptionGroup("several", [ValueError(1)]), "ExceptionGroup: several (1 sub-exception)"),
        (ConfigError("name another one"), "name another one"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_named_by_its_class_and_its_first_line(error: Exception, said: str) -> None:
    assert name_of(error) == said


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("raise ValueError('http://me:secret@host/')", "ValueError: http://host/"),
        ("raise BaseException('\\x1b[2J')", "BaseException: \\x1b[2J"),
        ("fail(**{})", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_an_error_that_is_not_ours_is_one_line_with_its_log(failure: str, said: str, tmp_path: Path) -> None:
    (tmp_path / ".zen").mkdir()
    ended = zen(tmp_path, failure)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {said}")
    (log,) = (tmp_path / ".zen" / "logs").iterdir()
    assert str(log) in line
    assert "Traceback" in log.read_text()
    assert "secret" not in log.read_text() + line
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_debug_shows_the_traceback_without_credentials_and_escapes(tmp_path: Path) -> None:
    ended = zen(tmp_path, "raise ValueError('http://me:secret@host/ \\x1b[2J')", "--debug")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: ValueError: http://host/")
    assert "\x1b" not in ended.stderr
    assert "secret" not in ended.stderr


def test_without_a_workspace_the_log_is_among_the_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    ended = zen(tmp_path, "return {}[0]", TMPDIR=str(tmp_path / "temporary"))
    (log,) = (tmp_path / "temporary").iterdir()
    assert str(log) in ended.stderr
    assert not (tmp_path / ".zen").exists()


def test_an_error_in_a_thread_is_one_line_too(tmp_path: Path) -> None:
    ended = zen(tmp_path, "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join(); sys.exit(7)")
    assert ended.returncode == 7
    assert re.fullmatch(r"warning: ZeroDivisionError: .*\n", ended.stderr)


def test_a_working_folder_that_was_removed_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from zen_pipeline.__main__ import main; main()"
    for command in (["run"], ["plan"], ["models", "list"], ["config", "show"]):
        gone.mkdir(exist_ok=True)
        ended = subprocess.run(
            [sys.executable, "-P", "-c", code, *command], cwd=gone, capture_output=True, text=True, check=False
        )
        assert ended.returncode in (1, 2), command
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
