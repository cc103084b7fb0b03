"""How the real command ends when it is stopped, and what `--data` may be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zen_command import ROOT, Zen

PROSE = "The sea was calm that morning, and the boats went out before the light came over the hills. " * 40


def write_texts(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("one.txt", "two.txt", "three.txt"):
        (folder / name).write_text(name + "\n\n" + PROSE)


def test_a_terminated_command_says_so_and_ends_with_its_code(prepared: Zen) -> None:
    ended = prepared.interrupt_at("collect: started", "collect", by=signal.SIGTERM)
    assert ended.returncode == 143, ended.stderr
    assert "terminated" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


IN_A_FINALIZER = """
import signal, time
from zen_pipeline import cli

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def command():
    Last()  # gone at once, and Python drops what a finalizer raises
    time.sleep(30)
    print("went on")

cli.app = command
cli.main()
"""


def test_an_interrupt_that_python_drops_is_delivered_all_the_same(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_FINALIZER], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.startswith("interrupted: ")


def test_several_paths_follow_one_data_option_and_none_comes_without(tmp_path: Path) -> None:
    write_texts(tmp_path)
    shown = Zen(tmp_path).json("config", "show", "--data", "one.txt", "two.txt", "*.md")
    assert [Path(p).name for p in shown["collect"]["sources"][0]["paths"]] == ["one.txt", "two.txt", "*.md"]
    assert Zen(tmp_path)("config", "show", "one.txt").returncode == 2
    assert Zen(tmp_path)("config", "show", "--data", "").returncode == 2


def test_a_folder_that_holds_its_own_workspace_stays_the_same_corpus(prepared: Zen) -> None:
    write_texts(prepared.folder)
    first, second = (prepared.json("collect", "--data", ".")["stages"][0] for _ in range(2))
    assert (first["status"], second["status"]) == ("ran", "cached")


def test_the_projects_config_is_used_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "zen.yaml").write_text("name: poems\n")
    (tmp_path / ".zen").mkdir()
    below = tmp_path / "a"
    below.mkdir()
    assert Zen(below).json("config", "show")["name"] == "poems"


def test_a_failed_run_still_prints_one_json_object(prepared: Zen) -> None:
    (prepared.folder / "empty").mkdir()
    result = prepared("collect", "--data", "empty", "--json")
    assert result.returncode == 2
    printed = json.loads(result.stdout)
    assert printed["stages"] == [] or printed["stages"][-1]["status"] == "failed"
    assert "nothing to read" in printed["error"]


def test_a_damaged_registry_is_named_and_nothing_is_collected(tmp_path: Path) -> None:
    database = tmp_path / ".zen" / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    database.write_text("garbage")
    for command in (["models", "list"], ["gc"], ["generate", "x"]):
        result = Zen(tmp_path)(*command)
        assert result.returncode == 1, command
        assert "mlflow.db cannot be read" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("setting", ["pretrain.learning_rate=.inf", "embed.subsample=.nan"])
def test_infinite_settings_are_refused(tmp_path: Path, setting: str) -> None:
    assert Zen(tmp_path)("config", "show", "--set", setting).returncode == 2
