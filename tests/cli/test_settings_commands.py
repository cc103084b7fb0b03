"""Commands that read settings: what they print, and how a mistake ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.zen_command import Zen
from zen_pipeline.config import Config, load_config


def zen(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the real command in a folder."""
    return Zen(cwd)(*arguments)


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    result = zen("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("run", "plan", "pretrain", "init", "config", "generate", "chat", "models", "gc", "ui", "doctor"):
        assert f" {command} " in result.stdout
    program = "import sys, zen_pipeline.cli; print(sorted({'torch','mlflow','prefect','pandas'} & set(sys.modules)))"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == "[]"


def test_config_show_as_json_is_a_config(tmp_path: Path) -> None:
    result = zen("config", "show", "--json", "--set", "pretrain.learning_rate=1e-3", "--budget", "2h", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = Config.model_validate(json.loads(result.stdout))
    assert shown.pretrain.learning_rate == 0.001
    assert shown.budget == "2h"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "pretrain.learning_rat=1"], ["pretrain.learning_rat", "learning_rate"]),
        (["--set", "pretrian.steps=1"], ["pretrian", "pretrain"]),
        (["--set", "novalue"], ["novalue", "key=value"]),
        (["--preset", "laptob"], ["laptob", "laptop"]),
        (["--budget", "fast"], ["budget", "fast", "5m"]),
        (["--config", "missing.yaml"], ["missing.yaml"]),
    ],
)
def test_a_wrong_setting_ends_with_2_and_names_what_was_meant(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    result = zen("config", "show", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_an_unknown_option_ends_with_2(tmp_path: Path) -> None:
    assert zen("run", "--bugdet", "5m", cwd=tmp_path).returncode == 2


def test_outside_a_project_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    result = zen("generate", "hello", cwd=tmp_path)
    assert result.returncode == 2
    assert "zen run" in result.stderr
    assert "ZEN_HOME" in result.stderr


def test_init_writes_a_config_that_is_used_from_its_folder(tmp_path: Path) -> None:
    assert zen("init", "--name", "law", "--data", "statutes", cwd=tmp_path).returncode == 0
    shown = zen("config", "show", "--json", cwd=tmp_path)
    config = Config.model_validate(json.loads(shown.stdout))
    assert config.name == "law"
    assert config.collect.sources[0].model_dump()["paths"] == [str(tmp_path / "statutes")]
    again = zen("init", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_every_commented_line_of_the_template_is_a_valid_setting(tmp_path: Path) -> None:
    assert zen("init", cwd=tmp_path).returncode == 0
    written = (tmp_path / "zen.yaml").read_text()
    head, tail = written.split("\n\n", maxsplit=1)
    uncommented = tmp_path / "all.yaml"
    uncommented.write_text(head + "\n" + "\n".join(line.removeprefix("# ") for line in tail.splitlines()))
    expected = yaml.safe_load(written)
    config = load_config(file=uncommented)
    assert config.name == expected["name"]
    assert config.pretrain == Config().pretrain
