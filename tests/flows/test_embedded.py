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
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import psutil
import pytest

from zen_pipeline.pipeline.chain import STAGE_NAMES
from zen_pipeline.settings.models import Family
from zen_pipeline.workspace import RunRecord, Workspace

TESTS = Path(__file__).resolve().parents[1]
FAMILIES = get_args(Family)
# An address that no tiny stage reads.
WITH_CREDENTIALS = "http://someone:hidden-password@127.0.0.1:9/a.jsonl?token=hidden-token&X-Amz-Signature=hidden-signed"

# argv: the workspace, the target, the stage that fails, how it fails, the families to run one after another
PROGRAM = """
import json, sys
from tests import tiny_chain
from zen_pipeline import errors
from zen_pipeline.config import load_config
from zen_pipeline.logs import show_on_stderr
from zen_pipeline.workspace import Workspace

def fail(context):
    attempts = context.workspace.home / "attempts"
    first = not attempts.is_file()
    with attempts.open("a") as file:
        file.write("x")
    if how == "wait":
        tiny_chain.wait_for_ever(context)
    if how != "TrainingErrorOnce" or first:
        raise getattr(errors, how.removesuffix("Once"))("it went wrong")

home, target, stage, how, address, *families = sys.argv[1:]
tiny_chain.install({stage: fail} if stage else {}, skipped=("optimize",))
show_on_stderr()
from flows.entry import run_flow
workspace = Workspace.find_or_create()
configs = [
    load_config(data=[home + "/corpus", address], overrides=[f"pretrain.family={family}"])
    for family in families or ["qwen3"]
]
if how.endswith("Once"):
    import flows.run
    flows.run.RETRY_DELAYS[:] = [0]
for config in configs:
    try:
        record = run_flow(target, config, workspace)
    except errors.ZenError as error:
        print(type(error).__name__, error)
        sys.exit(error.exit_code)
    print(record.model_dump_json())
"""


@dataclass
class Zen:
    """One project folder and what is run in it."""

    folder: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / ".zen")

    def start(
        self, target: str = "pipeline", stage: str = "", how: str = "", families: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        environment = {
            **kept,
            "ZEN_HOME": str(self.workspace.home),
            "ZEN_TEST_HOME": str(self.folder),  # found again by `processes`
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
            "HTTP_PROXY": "http://127.0.0.1:9",  # nobody is there
        }
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.folder), target, stage, how, WITH_CREDENTIALS, *families],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, target: str = "pipeline", stage: str = "", how: str = "", families: Sequence[str] = ()
    ) -> tuple[int, str, str]:
        process = self.start(target, stage, how, families)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """What the Prefect server has written down."""
        with sqlite3.connect(self.workspace.prefect_folder / "prefect.db") as database:
            return database.execute(query).fetchall()

    def states(self) -> dict[str, str]:
        """The state of the newest flow run and of its tasks."""
        [(flow_id, name, state)] = self.rows(
            "SELECT r.id, f.name, r.state_name FROM flow_run r JOIN flow f ON f.id = r.flow_id "
            "ORDER BY r.created DESC LIMIT 1"
        )
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
        process = self.start(stage="pretrain", how="wait")
        until((self.workspace.home / "building").is_file, 90, "the stage does not begin")
        assert len(self.processes()) == 2, "the run and its server"
        return process

    def assert_nothing_is_left(self) -> None:
        _, alive = psutil.wait_procs(self.processes(), timeout=5)
        assert [p.cmdline() for p in alive] == []

    def last_record(self) -> RunRecord:
        return self.workspace.runs()[-1]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, databases: Path) -> Zen:
    """A project whose pipeline has run once."""
    zen = make_project(tmp_path_factory.mktemp("project"), databases)
    plant_settings(zen.folder)
    code, out, err = zen.run()
    assert code == 0, err
    assert json.loads(out)["status"] == "completed", "and nothing but this line on stdout"
    return zen


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


def test_the_pipeline_runs_and_then_finds_everything(used: Zen) -> None:
    states = used.states()
    assert states.pop("flow pipeline") == "Completed"
    assert states == {**dict.fromkeys(STAGE_NAMES, "Completed"), "optimize": "Skipped"}

    code, out, err = used.run()
    assert code == 0, err
    record = RunRecord.model_validate_json(out)
    assert [s.name for s in record.stages] == list(STAGE_NAMES)
    assert used.last_record() == record
    assert used.states() == {
        "flow pipeline": "Completed",
        **dict.fromkeys(STAGE_NAMES, "Cached"),
        "optimize": "Skipped",
    }
    keys = {key for (key,) in used.rows("SELECT DISTINCT key FROM artifact WHERE key IS NOT NULL")}
    assert keys == {
        "zen-validation",
        "zen-pretrain-loss",
        "zen-finetune-loss",
        "zen-scores",
        "zen-release",
    }
    lines = used.rows("SELECT l.message FROM log l JOIN task_run t ON t.id = l.task_run_id WHERE t.name = 'tokenize'")
    assert ("tokenize counts words",) in lines
    used.assert_nothing_is_left()


def test_the_flow_hands_every_family_what_its_stages_need(used: Zen) -> None:
    code, out, err = used.run(families=FAMILIES)
    assert code == 0, err
    for family, line in zip(FAMILIES, out.splitlines(), strict=True):
        record = RunRecord.model_validate_json(line)
        assert [s.name for s in record.stages] == list(STAGE_NAMES), family


def test_nothing_that_a_run_writes_holds_a_credential(used: Zen) -> None:
    written = [path for path in used.folder.rglob("*") if path.is_file() and b"hidden-" in path.read_bytes()]
    assert written == []
    assert used.rows("SELECT 1 FROM flow_run WHERE parameters LIKE '%127.0.0.1:9/a.jsonl?token=***%'")


def test_no_settings_file_of_the_folder_runs_code(used: Zen) -> None:
    assert not (used.folder / "code-ran").exists()


def test_a_failed_stage_ends_the_run_with_its_own_error_and_no_traceback(zen: Zen) -> None:
    code, out, err = zen.run("tokenize", "validate", "ValidationFailed")

    assert (code, out) == (3, "ValidationFailed it went wrong\n")
    assert "Traceback" not in err
    assert zen.states() == {"flow tokenize": "Failed", "collect": "Completed", "validate": "Failed"}
    [(shown,)] = zen.rows("SELECT data FROM artifact WHERE key = 'zen-refused'")
    assert "it went wrong" in shown
    assert not [m for (m,) in zen.rows("SELECT message FROM log") if "Traceback" in m]
    assert (zen.workspace.home / "attempts").read_text() == "x", "data that fails its expectations is not tried again"
    assert zen.last_record().status == "failed"


def test_a_training_process_that_dies_is_tried_again(zen: Zen) -> None:
    code, _, err = zen.run("pretrain", "pretrain", "TrainingErrorOnce")

    assert code == 0, err
    assert (zen.workspace.home / "attempts").read_text() == "xx"
    assert zen.states()["pretrain"] == "Completed"
    assert zen.last_record().stages[-1].status == "ran"


def test_ctrl_c_ends_everything_soon_and_is_written_down(zen: Zen) -> None:
    process = zen.begin_and_wait()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == -signal.SIGINT
    zen.assert_nothing_is_left()
    assert zen.last_record().status == "interrupted"
    assert zen.states()["flow pipeline"] == "Crashed"


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

    code, out, err = zen.run()
    assert code == 0, err
    statuses = {s.name: s.status for s in RunRecord.model_validate_json(out).stages}
    assert (statuses["tokenize"], statuses["pretrain"]) == ("cached", "ran")
