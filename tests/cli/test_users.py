"""Users without a home, without a name, and folders whose names are no text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.zen_command import Zen
from zen_pipeline.cli import app
from zen_pipeline.errors import ConfigError

WITHOUT_HOME = """
from pathlib import Path
from zen_pipeline import cli

cli.app = lambda: print(Path.home(), Path.home().is_dir())
cli.main()
"""


def test_who_has_no_home_gets_one_for_as_long_as_the_command_runs(nobody: list[str], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "TMPDIR")}
    command = [*nobody, sys.executable, "-P", "-c", WITHOUT_HOME]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    home, _, was_there = done.stdout.strip().rpartition(" ")
    assert (done.returncode, was_there) == (0, "True"), done.stderr
    assert not Path(home).exists()


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["plan"], {"ZEN_HOME": "~nosuchuser/x"}),
        (["data", "show", "~nosuchuser/x"], {}),
        (["config", "show", "--data", "~nosuchuser"], {}),
        (["plan", "--set", "finetune.init_from=~nosuchuser/x"], {}),
        (["config", "show", "--config", "~nosuchuser/x"], {}),
    ],
)
def test_the_home_of_an_unknown_user_is_an_error_of_the_command(
    arguments: list[str], environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments, env={"ZEN_HOME": None, **environment})
    assert isinstance(done.exception, ConfigError)
    assert "~nosuchuser" in str(done.exception)
    assert not list(tmp_path.glob("~*"))


def test_a_project_whose_name_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    done = Zen(folder)("plan")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "caf\\xe9" in done.stderr
    assert Zen(folder)("config", "show").returncode == 0
