"""Flows in a process of their own, with the embedded server: how they run, fail, stop and die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

from zen_pipeline.config import load_config
from zen_pipeline.pipeline.chain import all_steps
from zen_pipeline.settings.models import Family
from zen_pipeline.workspace import RunRecord, Workspace

TESTS = Path(__file__).resolve().parents[1]
FAMILIES = get_args(Family)


def steps_of(family: str = "qwen3") -> list[str]:
    """The steps of the chain for one family."""
    return [step.name for step in all_steps(load_config(overrides=[f"pretrain.family={family}"]))]


# An address that no tiny stage reads.
WITH_CREDENTIALS = "http://someone:hidden-password@127.0.0.1:9/a.jsonl?token=hidden-token&X-Amz-Signature=hidden-signed"

# argv: the workspace, an address, and what to run one after another, each as a Run
PROGRAM = """
import json, sys
from tests import tiny_chain
from zen_pipeline import errors
from zen_pipeline.config import load_config
from zen_pipeline.logs import show_on_stderr
from zen_pipeline.workspace import Workspace

def failing(how):
    def fail(context):
        attempts = context.workspace.home / f"attempts-{how}"
        first = not attempts.is_file()
        with attempts.open("a") as file:
            file.write("x")
        if how == "wait":
            tiny_chain.wait_for_ever(context)
        if how != "TrainingErrorOnce" or first:
            raise getattr(errors, how.removesuffix("Once"))("it went wrong")
    return fail

home, address, runs = sys.argv[1:]
show_on_stderr()
workspace = Workspace.find_or_create()
for run in json.loads(runs):
    tiny_chain.install({run["stage"]: failing(run["how"])} if run["stage"] else {}, skipped=("optimize",))
    from flows.entry import run_flow
    if run["how"].endswith("Once"):
        import flows.run
        flows.run.RETRY_DELAYS[:] = [0]
    config = load_config(data=[home + "/corpus", address], overrides=run["settings"])
    try:
        print(run_flow(run["target"], config, workspace).model_dump_json())
    except errors.ZenError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error), "exit_code": error.exit_code}))
"""


@dataclass
class Run:
    """One run: of which flow, with which settings, and the stage that fails in it and how."""

    target: str = "pipeline"
    stage: str = ""
    how: str = ""
    settings: Sequence[str] = ()


PLAIN = Run()
WAITS = Run(stage="pretrain", how="wait")
FAILS = Run("tokenize", "validate", "ValidationFailed", ["validate.min_characters=7"])
TRIED_AGAIN = Run("pretrain", "pretrain", "TrainingErrorOnce", ["pretrain.learning_rate=0.5"])
OF_FAMILIES = [Run(settings=[f"pretrain.family={family}"]) for family in FAMILIES]
# One process runs them all: an interpreter and a server for each would take ten times as long.
RUNS = [PLAIN, PLAIN, *OF_FAMILIES, FAILS, TRIED_AGAIN]


@dataclass
class Zen:
    """One project folder and what is run in it."""

    folder: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / ".zen")

    def start(self, *runs: Run) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        environment = {
            **kept,
            "ZEN_HOME": str(self.workspace.home),
            "ZEN_TEST_HOME": str(self.folder),  # found again by `processes`
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
            "HTTP_PROXY": "http://127.0.0.1:9",  # nobody is there
        }
        asked = json.dumps([asdict(run) for run in runs])
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.folder), WITH_CREDENTIALS, asked],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *runs: Run) -> tuple[list[dict[str, Any]], str]:
        """What each run printed, a record or an error, and what all said on stderr."""
        process = self.start(*runs)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()], err

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """What the Prefect server has written down."""
        with sqlite3.connect(self.workspace.prefect_folder / "prefect.db") as database:
            return database.execute(query).fetchall()

    def states(self, number: int = -1) -> dict[str, str]:
        """The states of one flow run, counted from the first, and of its tasks."""
        runs = self.rows(
            "SELECT r.id, f.name, r.state_name FROM flow_run r JOIN flow f ON f.id = r.flow_id ORDER BY r.created"
        )
        flow_id, name, state = runs[number]
        tasks = self.rows(f"SELECT name, state_name FROM task_run WHERE flow_run_id = '{flow_id}'")
        return {f"flow {name}": state, **dict(tasks)}

    def processes(self) -> list[psutil.Process]:
        """Living processes that descend from what was run here, orphans included."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("ZEN_TEST_HOME") == str(self.folder)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def begin_and_wait(self) -> subprocess.Popen[str]:
        process = self.start(WAITS)
        until((self.workspace.home / "building").is_file, 90, "the stage does not begin")
        assert len(self.processes()) == 2, "the run and its server"
        return process

    def assert_nothing_is_left(self) -> None:
        _, alive = psutil.wait_procs(self.processes(), timeout=5)
        assert [p.cmdline() for p in alive] == []

    def last_record(self) -> RunRecord:
        return self.workspace.runs()[-1]


@dataclass
class Used(Zen):
    """A project in which `RUNS` have been run, and what they printed."""

    first_runs: int = 0
    printed: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""

    def record(self, number: int) -> RunRecord:
        return RunRecord.model_validate(self.printed[number])

    def states_of(self, number: int) -> dict[str, str]:
        """Of one of `RUNS`; the databases were made by a run as well."""
        return self.states(self.first_runs + number)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, databases: Path) -> Used:
    """A project in which the chain has run, in every way that comes to an end by itself."""
    zen = make_project(tmp_path_factory.mktemp("project"), databases)
    plant_settings(zen.folder)
    before = len(zen.rows("SELECT id FROM flow_run"))
    printed, said = zen.run(*RUNS)
    return Used(zen.folder, before, printed, said)


@pytest.fixture
def zen(tmp_path: Path, databases: Path) -> Zen:
    """A project in which nothing has run, with databases that need not be made again."""
    return make_project(tmp_path, databases)


def make_project(folder: Path, databases: Path) -> Zen:
    for name in ("prefect", "mlflow"):
        shutil.copytree(databases / name, folder / ".zen" / name)
    (folder / "corpus").mkdir()
    (folder / "corpus" / "text.txt").write_text("one two three")
    return Zen(folder)


TRAP = """
version: 1
disable_existing_loggers: false
handlers:
  trap: {"()": builtins.open, file: FOLDER/code-ran, mode: w}
loggers:
  prefect: {handlers: [trap]}
"""


def plant_settings(folder: Path) -> None:
    """Every file that Prefect takes settings from when it is started in this folder, with code in each."""
    trap = folder / "trap.yml"
    trap.write_text(TRAP.replace("FOLDER", str(folder)))
    home = folder / ".zen" / "prefect"
    for place in (folder, home):
        (place / ".env").write_text(f"PREFECT_LOGGING_SETTINGS_PATH={trap}\n")
        (place / "prefect.toml").write_text(f'[logging]\nconfig_path = "{trap}"\n')
    (folder / "pyproject.toml").write_text(f'[tool.prefect.logging]\nconfig_path = "{trap}"\n')
    (home / "profiles.toml").write_text(f'active = "x"\n[profiles.x]\nPREFECT_LOGGING_SETTINGS_PATH = "{trap}"\n')
    shutil.copy(trap, home / "logging.yml")


def until(condition: Callable[[], bool], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{problem} after {seconds:.0f} s"
        time.sleep(0.05)


def test_the_pipeline_runs_and_then_finds_everything(used: Used) -> None:
    first, second = 0, 1
    assert used.printed[first]["status"] == "completed", "and nothing but such lines on stdout"
    steps = steps_of()
    skipped = {"flow pipeline": "Completed", **{name: "Skipped" for name in steps if name.startswith("optimize-")}}
    assert used.states_of(first) == {**dict.fromkeys(steps, "Completed"), **skipped}
    assert used.states_of(second) == {**dict.fromkeys(steps, "Cached"), **skipped}
    assert [s.step for s in used.record(second).stages] == steps
    assert used.record(second) in used.workspace.runs()
    keys = {key for (key,) in used.rows("SELECT DISTINCT key FROM artifact WHERE key IS NOT NULL")}
    assert {"zen-validation", "zen-pretrain-base-loss", "zen-finetune-chat-loss", "zen-refused"} <= keys
    assert {f"zen-{what}-{model}" for what in ("scores", "release") for model in ("base", "chat")} <= keys
    lines = used.rows("SELECT l.message FROM log l JOIN task_run t ON t.id = l.task_run_id WHERE t.name = 'tokenize'")
    assert ("tokenize counts words",) in lines
    used.assert_nothing_is_left()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_flow_hands_every_family_what_its_stages_need(family: str, used: Used) -> None:
    record = used.record(2 + FAMILIES.index(family))
    assert record.status == "completed"
    assert [s.step for s in record.stages] == steps_of(family)


def test_nothing_that_a_run_writes_holds_a_credential(used: Used) -> None:
    written = [path for path in used.folder.rglob("*") if path.is_file() and b"hidden-" in path.read_bytes()]
    assert written == []
    assert used.rows("SELECT 1 FROM flow_run WHERE parameters LIKE '%127.0.0.1:9/a.jsonl?token=***%'")


def test_no_settings_file_of_the_folder_runs_code(used: Used) -> None:
    assert not (used.folder / "code-ran").exists()


def test_a_failed_stage_ends_the_run_with_its_own_error_and_no_traceback(used: Used) -> None:
    number = RUNS.index(FAILS)
    assert used.printed[number] == {"error": "ValidationFailed", "message": "it went wrong", "exit_code": 3}
    assert "Traceback" not in used.said
    assert used.states_of(number) == {"flow tokenize": "Failed", "collect": "Cached", "validate": "Failed"}
    [(shown,)] = used.rows("SELECT data FROM artifact WHERE key = 'zen-refused'")
    assert "it went wrong" in shown
    assert not [m for (m,) in used.rows("SELECT message FROM log") if "Traceback" in m]
    attempts = (used.workspace.home / "attempts-ValidationFailed").read_text()
    assert attempts == "x", "data that fails its expectations is not tried again"
    assert [r.status for r in used.workspace.runs()].count("failed") == 1


def test_a_training_process_that_dies_is_tried_again(used: Used) -> None:
    number = RUNS.index(TRIED_AGAIN)
    assert (used.workspace.home / "attempts-TrainingErrorOnce").read_text() == "xx"
    assert used.states_of(number)["pretrain-base"] == "Completed"
    assert used.record(number).stages[-1].status == "ran"


def test_ctrl_c_ends_everything_soon_and_is_written_down(zen: Zen) -> None:
    process = zen.begin_and_wait()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == -signal.SIGINT
    zen.assert_nothing_is_left()
    assert zen.last_record().status == "interrupted"
    assert zen.states()["flow pipeline"] == "Crashed"


@pytest.mark.large
def test_sigterm_ends_everything_and_is_written_down(zen: Zen) -> None:
    process = zen.begin_and_wait()
    process.terminate()
    process.communicate(timeout=20)

    assert process.returncode == -signal.SIGTERM
    zen.assert_nothing_is_left()
    assert zen.last_record().status == "interrupted"


def test_a_killed_run_leaves_no_process_and_the_next_one_goes_on(zen: Zen) -> None:
    process = zen.begin_and_wait()
    process.kill()
    process.communicate(timeout=20)

    zen.assert_nothing_is_left()
    assert zen.last_record().status == "interrupted", "nobody was left to write it down"

    [printed], _ = zen.run(PLAIN)
    statuses = {s.step: s.status for s in RunRecord.model_validate(printed).stages}
    assert (statuses["tokenize"], statuses["pretrain-base"]) == ("cached", "ran")
