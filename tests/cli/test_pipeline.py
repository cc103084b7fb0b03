"""The whole chain through the real command: what it prints, what it keeps, and what the second run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.traps import sprung
from tests.zen_command import ROOT, Zen
from zen_pipeline.artifacts import step_name
from zen_pipeline.config import Config
from zen_pipeline.pipeline.chain import all_steps
from zen_pipeline.workspace import Workspace

STEPS = all_steps(Config())
NAMES = [step.name for step in STEPS]


def statuses(result: dict) -> dict[str, str]:
    return {step_name(stage["name"], stage["model"]): stage["status"] for stage in result["stages"]}


def test_a_first_run_does_every_stage_and_releases_a_champion(project: Zen) -> None:
    result = json.loads((project.folder / "run.json").read_text())
    assert statuses(result) == dict.fromkeys(NAMES, "ran")
    assert list(statuses(result)) == NAMES
    assert all(stage["seconds"] >= 0 and Path(stage["artifact"]).exists() for stage in result["stages"])
    assert result["released"] == {"model": "tiny-chat", "version": "1", "alias": "champion"}
    assert result["seconds"] > 0
    assert result["run_id"]


def test_no_process_of_the_run_imports_from_the_users_folder(project: Zen) -> None:
    assert sprung(project.folder) == []


def test_runs_are_listed_with_what_they_were_worth_and_their_report_is_found(project: Zen) -> None:
    run = project.json("runs")["runs"][-1]
    assert run["released"][-1]["model"] == "tiny-chat"
    assert run["scores"]["tiny-base"]["value"] > 0
    assert run["scores"]["tiny-base"]["baseline_value"] > 0
    found = project("report", run["run_id"], "--no-open").stdout.strip()
    assert found == run["report"]
    assert "</html>" in Path(found).read_text()


def test_a_second_run_takes_everything_from_the_store(project: Zen) -> None:
    result = project.json("run")
    assert statuses(result) == dict.fromkeys(NAMES, "cached")
    assert result["released"] == {"model": "tiny-chat", "version": "1", "alias": "champion"}


def test_the_plan_marks_what_a_setting_changes_and_nothing_before_it(project: Zen) -> None:
    assert {s["status"] for s in project.json("plan")["stages"]} == {"cached"}
    prices = ("--set", "pretrain.price_per_hour=3600", "--set", "pretrain.watts_per_core=10")
    plan = project.json("plan", "--set", "pretrain.learning_rate=0.001", *prices)
    planned, training = {step_name(s["name"], s["model"]): s for s in plan["stages"]}, plan["training"]
    assert training["seconds"] == pytest.approx(
        planned["pretrain-base"]["seconds"] + planned["finetune-chat"]["seconds"]
    )
    assert training["cost"] == pytest.approx(training["seconds"])
    assert training["reasons"]
    assert training["flops"] > 0
    assert training["watt_hours"] is None or training["watt_hours"] >= 10 * training["seconds"] / 3600
    first = NAMES.index("pretrain-base")
    assert [planned[n]["status"] for n in NAMES] == ["cached"] * first + ["would_run"] * (len(NAMES) - first)
    assert planned["pretrain-base"]["changed"] == ["settings.learning_rate"]
    assert "inputs.pretrain-base" in planned["finetune-chat"]["changed"]


READING = """
from pathlib import Path
from tests.zen_command import Zen

for command in (["generate", "The"], ["models", "list"], ["plan"]):
    done = Zen(Path())(*command)
    assert done.returncode == 0, done.stderr
"""


def test_who_may_only_read_the_workspace_can_ask_its_models(project: Zen, nobody: list[str]) -> None:
    before = sorted(path.name for path in (project.folder / ".zen").rglob("*"))
    command = [*nobody, sys.executable, "-P", "-c", READING]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (project.folder / ".zen").rglob("*")) == before


def test_the_champion_answers_from_a_folder_below(project: Zen) -> None:
    below = project.folder / "a" / "b"
    below.mkdir(parents=True, exist_ok=True)
    options = ("generate", "The with statement", "--max-new-tokens", "8", "--temperature", "0")
    first, second = project.json(*options, cwd=below), project.json(*options)
    assert first["model"] == "tiny-chat"
    assert first["text"] == second["text"]
    assert 0 < first["tokens"] <= 8


def test_chat_answers_and_a_base_model_refuses_to(project: Zen) -> None:
    answer = project.json("chat", "What does `pathlib.Path.exists` do?", "--max-new-tokens", "8")
    assert answer["model"] == "tiny-chat"
    assert isinstance(answer["answer"], str)
    refused = project("chat", "hello", "--model", "tiny-base@champion")
    assert refused.returncode == 2
    assert "not a chat model" in refused.stderr


def test_the_list_of_models_shows_the_figure_that_each_is_compared_by(project: Zen) -> None:
    scores = {m["name"]: m["score"] for m in project.json("models", "list")["models"]}
    rows = [line for line in project("models", "list").stdout.splitlines() if "champion" in line]
    for name, measure in (("tiny-base", "bits_per_byte"), ("tiny-chat", "f1")):
        [row] = [line for line in rows if name in line]
        score = scores[name]
        assert score["name"] == measure
        assert row.split("│")[5].strip().startswith(f"{score['value']:.{score['digits']}f} {score['measure']}")


def test_models_can_be_listed_shown_and_exported(project: Zen, tmp_path: Path) -> None:
    listed = project.json("models", "list")["models"]
    assert {(m["name"], m["version"]) for m in listed} == {("tiny-base", "1"), ("tiny-chat", "1")}
    shown = project.json("models", "show", "tiny-base/1")
    assert "first" in json.dumps(shown)
    target = tmp_path / "exported"
    project.json("models", "export", "tiny-chat@champion", str(target))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(target)
    assert model.config.model_type == "qwen3"
    assert AutoTokenizer.from_pretrained(target).chat_template


def test_data_embeddings_and_garbage_can_be_looked_at(project: Zen) -> None:
    assert project.json("data", "show", "--pipeline", "tiny", "--count", "2")["summary"]["records"] > 100
    assert project.json("embeddings", "similar", "the", "--pipeline", "tiny")["neighbours"]
    assert project.json("gc", "--dry-run")["removed"] == []


def test_a_damaged_artifact_is_set_aside_and_built_again(project_copy: Zen) -> None:
    workspace = Workspace(project_copy.folder / ".zen")
    fingerprint = workspace.last_fingerprint("tiny", "tokenize")
    assert fingerprint is not None
    path = workspace.store.folder("tokenize", fingerprint) / "train.bin"
    good = path.read_bytes()
    path.write_bytes(good[:-100])
    result = project_copy("tokenize", "--json")
    assert result.returncode == 0, result.stderr
    assert "set aside" in result.stderr
    assert statuses(json.loads(result.stdout))["tokenize"] == "ran"
    assert path.read_bytes() == good


@pytest.mark.usefixtures("tiny_stages")
def test_require_release_ends_with_4_when_the_champion_stays(prepared: Zen) -> None:
    text = prepared.folder / "a.txt"
    for words, ends in (("one two", (0, "champion")), ("one two three", (4, "challenger"))):
        text.write_text(words)
        result = prepared("run", "--data", str(prepared.folder), "--require-release", "--json")
        assert (result.returncode, json.loads(result.stdout)["released"]["alias"]) == ends, result.stderr
    assert "no new champion" in result.stderr


@pytest.mark.large
def test_a_model_that_has_learnt_less_does_not_become_champion(project_copy: Zen) -> None:
    result = project_copy("run", "--require-release", "--set", "finetune.steps=5", "--json")
    released = json.loads(result.stdout)["released"]
    assert (result.returncode, released["alias"]) in {(4, "challenger"), (0, "champion")}
    if result.returncode == 4:
        assert "no new champion" in result.stderr


@contextmanager
def hidden(path: Path) -> Iterator[None]:
    """The stage's artifact is not in the store while the block lasts."""
    aside = path.parents[1] / "hidden"
    path.rename(aside)
    yield
    assert not path.exists(), "an interrupted build left an artifact"
    aside.rename(path)


OFTEN = ("pretrain-base",)  # it has the most to end: a training process that saves first


@pytest.mark.parametrize(
    "stages",
    [OFTEN, pytest.param(tuple(name for name in NAMES if name not in OFTEN), marks=pytest.mark.large)],
    ids=["often", "the others"],
)
def test_ctrl_c_in_any_stage_ends_with_130_and_loses_nothing(
    stages: tuple[str, ...], project_copy: Zen, databases: Path
) -> None:
    workspace = Workspace(project_copy.folder / ".zen")
    shutil.copy(databases / "mlflow" / "mlflow.db", workspace.mlflow_folder / "mlflow.db")  # nothing is released
    for name in stages:
        number = NAMES.index(name)
        step = STEPS[number]
        fingerprint = workspace.last_fingerprint("tiny", name)
        live = step.stage.name == "release"
        artifact = nullcontext() if live else hidden(workspace.store.folder(step.stage.name, str(fingerprint)))
        with artifact:
            ended = project_copy.interrupt_at(f"{name}: started", "run")
        assert ended.returncode == 130, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("interrupted: "), ended.stderr
        assert "Traceback" not in ended.stderr
        record = workspace.runs()[-1]
        assert record.status == "interrupted"
        # The steps before it are in the store; it is the one that did not end.
        assert [(s.step, s.status) for s in record.stages] == [
            *((earlier, "cached") for earlier in NAMES[:number]),
            (name, "failed"),
        ]
    result = project_copy.json("run")
    assert [s["status"] for s in result["stages"]] == ["cached"] * (len(NAMES) - 2) + ["ran"] * 2
    assert result["released"]["alias"] == "champion"
