"""The repository's deployments on a real Prefect server with a real process worker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.prefect_api import ask
from zen_pipeline.pipeline.chain import STAGE_NAMES
from zen_pipeline.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def test_every_flow_has_a_deployment_of_its_own_name_and_the_scheduled_one_comes_first() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    assert [d["entrypoint"] for d in deployments] == [
        "flows.pipeline.pipeline",
        *(f"flows.stages.{name}" for name in STAGE_NAMES),
    ]
    names = [d["name"] for d in deployments]
    assert len(set(names)) == len(names)
    assert names[0] == min(names), "pages list them by name"
    assert [d["name"] for d in deployments if d.get("schedules")] == names[:1]
    assert all(d["work_pool"]["name"] == "zen" for d in deployments)
    assert str(ROOT) not in (ROOT / "prefect.yaml").read_text()


def test_a_schedule_fires_and_its_run_completes_in_the_workspace(served: Served) -> None:
    api, settings = served.api, served.settings
    deployments = {d["entrypoint"]: d for d in api.post("/deployments/filter", {})}
    assert len(deployments) == len(STAGE_NAMES) + 1
    assert [s["slug"] for s in deployments["flows.pipeline.pipeline"]["schedules"]] == ["nightly"]
    pause_all(api, deployments)
    collect = deployments["flows.stages.collect"]["id"]

    soon = datetime.now(UTC) + timedelta(seconds=2)
    times = {"interval": 30, "anchor_date": soon.isoformat()}
    planned_soon = {"active": True, "schedule": times, "parameters": settings}
    [schedule] = api.post(f"/deployments/{collect}/schedules", [planned_soon])
    planned = begun_by_schedule(api, collect)
    # One is enough: this also takes away the runs that are planned and have not begun.
    api.post(f"/deployments/{collect}/schedules/{schedule['id']}", {"active": False}, method="PATCH")
    assert planned["auto_scheduled"]
    assert final_state(api, planned["id"]) == "COMPLETED", logs(api, planned["id"])
    until(lambda: "collect: ran in" in logs(api, planned["id"]), 30, "the library's log does not arrive")
    record = Workspace(served.home / ".zen").runs()[-1]
    assert api.get(f"/flow_runs/{planned['id']}")["name"] == record.run_id


@pytest.mark.large
def test_a_deployment_that_is_called_finds_what_is_there(served: Served) -> None:
    api = served.api
    deployments = {d["entrypoint"]: d for d in api.post("/deployments/filter", {})}
    pause_all(api, deployments)
    for name in ("Completed", "Cached"):
        collect = deployments["flows.stages.collect"]["id"]
        data = {"config": {"data": ["more"]}}
        called = api.post(f"/deployments/{collect}/create_flow_run", {"parameters": data})
        assert final_state(api, called["id"]) == "COMPLETED", logs(api, called["id"])
        tasks = api.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [called["id"]]}}})
        assert [(t["name"], t["state"]["name"]) for t in tasks] == [("collect", name)]


def test_pages_of_other_sites_and_names_are_not_answered(served: Served) -> None:
    for headers in ({"Origin": "https://foreign.example"}, {"Host": "rebound.example"}):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(f"{served.api.address}/health", headers=headers), timeout=30)


def test_no_process_asks_for_a_foreign_name(served: Served) -> None:
    asked = set((served.home / "names").read_text().split())
    assert "127.0.0.1" in asked, "the record is kept"
    assert asked <= {"127.0.0.1", "localhost", "::1", "0.0.0.0", "None", socket.gethostname(), socket.getfqdn()}


def test_settings_in_the_project_folder_run_nothing(served: Served) -> None:
    """Asked last: commands, worker and flow runs have all started by now."""
    worker_log = (served.home / ".zen" / "prefect" / "worker.log").read_text()
    assert "Worker" in worker_log, "a worker has run"
    assert not (served.home / "ran").exists(), (served.home / "ran").read_text()


@pytest.mark.large
def test_a_killed_worker_is_noticed_and_healthy_runs_are_not(served: Served) -> None:
    """Twenty runs with every kind of end raise no alarm; one whose processes are all killed does."""
    api = served.api
    deployments = {d["entrypoint"]: d for d in api.post("/deployments/filter", {})}
    pause_all(api, deployments)
    collect = deployments["flows.stages.collect"]["id"]

    def run(parameters: dict[str, Any]) -> str:
        return str(api.post(f"/deployments/{collect}/create_flow_run", {"parameters": parameters})["id"])

    ended: dict[str, str] = {}
    for _ in range(4):  # five at once: each is a process with all of Prefect in it
        wave = [*(run(served.settings) for _ in range(4)), run({"config": {"data": ["/nowhere"]}})]
        ended |= {each: final_state(api, each, 600) for each in wave}
    assert list(ended.values()) == [*["COMPLETED"] * 4, "FAILED"] * 4

    with socket.create_server(("127.0.0.1", 0)) as silent:
        lost = run({"config": {"data": [f"http://127.0.0.1:{silent.getsockname()[1]}/never.txt"]}})
        until(lambda: heartbeats(api, lost) > 0, 120, "the run does not begin")
        kill_worker(served)
    assert final_state(api, lost, 400) == "CRASHED"
    assert {each: final_state(api, each) for each in ended} == ended


def kill_worker(served: Served) -> None:
    """The worker and the flow runs that it started, at once, as a lack of memory would."""
    workers = [p for p in psutil.process_iter() if _home_of(p) == str(served.home) and "worker" in p.cmdline()]
    for process in [*(c for w in workers for c in w.children(recursive=True)), *workers]:
        process.kill()


# --- the server, the worker, and what they say ------------------------------------------------------------------------


class Api:
    """Prefect's REST API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> Any:
        return ask(self.address, "GET", path)

    def post(self, path: str, body: object, method: str = "POST") -> Any:
        return ask(self.address, method, path, body)


# Every process that Python starts with this in PYTHONPATH writes down the names that it looks up.
LISTENER = """
import os, sys

def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
        with open(os.environ["ZEN_TEST_HOME"] + "/names", "a") as names:
            names.write((host.decode() if isinstance(host, bytes) else str(host)) + "\\n")

sys.addaudithook(note)
"""


# Called by a logging configuration that Prefect's settings name, in the folder of somebody's texts.
HOSTILE = """
version: 1
disable_existing_loggers: false
handlers:
  evil:
    class: logging.FileHandler
    filename: {ran}
root:
  handlers: [evil]
"""


def hostile_project(home: Path) -> Path:
    """A folder with the deployments, and settings for Prefect of which each would leave the file `ran`."""
    project = home / "project"
    project.mkdir()
    shutil.copy(ROOT / "prefect.yaml", project)
    configuration = project / "logging.yml"
    configuration.write_text(HOSTILE.format(ran=home / "ran"))
    (project / ".env").write_text(f"PREFECT_LOGGING_SETTINGS_PATH={configuration}\n")
    (project / "prefect.toml").write_text(f'[logging]\nconfig_path = "{configuration}"\n')
    (project / "pyproject.toml").write_text(f'[tool.prefect.logging]\nconfig_path = "{configuration}"\n')
    return project


@dataclass
class Served:
    """`zen server` on free ports, in a project folder that holds texts and hostile settings."""

    home: Path
    api: Api
    settings: dict[str, Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, databases: Path) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    project = hostile_project(home)
    (project / "corpus").mkdir()
    (project / "corpus" / "tales.txt").write_text(
        "Once upon a time there was a word.\n\nAnother word came, and stayed.\n"
    )
    (project / "more").mkdir()
    (project / "more" / "tales.txt").write_text("Another tale began with a word that nobody knew.\n")
    (home / "listener").mkdir()
    (home / "listener" / "sitecustomize.py").write_text(LISTENER)
    for name in ("prefect", "mlflow"):
        shutil.copytree(databases / name, home / ".zen" / name)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        mlflow, prefect = one.getsockname()[1], other.getsockname()[1]
    api = Api(f"http://127.0.0.1:{prefect}/api")
    command = [sys.executable, "-m", "zen_pipeline", "server", "--port", str(mlflow), "--prefect-port", str(prefect)]
    said = home / "said.txt"
    with running(command, prefect_environment(home), said, project):
        until(lambda: "Ctrl-C" in said.read_text(), 240, "the server does not say that it is there")
        yield Served(home, api, {"config": {"data": ["corpus"]}})  # below the project folder
    assert processes_with(str(home)) == []


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("ZEN_TEST_HOME")
    except psutil.Error:
        return None


def prefect_environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DO_NOT_TRACK", "CI"))}
    return {
        **kept,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": os.pathsep.join([str(home / "listener"), str(ROOT)]),
        "ZEN_HOME": str(home / ".zen"),
        "ZEN_TEST_HOME": str(home),  # found again by `processes_with`
    }


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path, folder: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        process.terminate()
        _, alive = psutil.wait_procs(tree, timeout=20)
        for each in alive:
            each.kill()
        process.wait(20)


def pause_all(api: Api, deployments: dict[str, dict[str, Any]]) -> None:
    """Switch the shipped schedule off, in case the test runs at that minute."""
    for deployment in deployments.values():
        for schedule in deployment["schedules"]:
            api.post(f"/deployments/{deployment['id']}/schedules/{schedule['id']}", {"active": False}, method="PATCH")


def begun_by_schedule(api: Api, deployment: str) -> dict[str, Any]:
    begun = {
        "deployments": {"id": {"any_": [deployment]}},
        "sort": "EXPECTED_START_TIME_ASC",
        "flow_runs": {"tags": {"all_": ["auto-scheduled"]}, "state": {"type": {"not_any_": ["SCHEDULED"]}}},
    }
    found: list[dict[str, Any]] = []

    def appeared() -> bool:
        found[:] = api.post("/flow_runs/filter", begun)
        return bool(found)

    until(appeared, 120, "the schedule began no run")
    return found[0]


def final_state(api: Api, flow_run: str, seconds: float = 150) -> str:
    until(lambda: api.get(f"/flow_runs/{flow_run}")["state_type"] in TERMINAL, seconds, "the run does not end")
    return str(api.get(f"/flow_runs/{flow_run}")["state_type"])


def heartbeats(api: Api, flow_run: str) -> int:
    resource = {"id": [f"prefect.flow-run.{flow_run}"]}
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}
    return int(api.post("/events/filter", {"filter": wanted})["total"])


def log_lines(api: Api, flow_run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}})
    return found


def logs(api: Api, flow_run: str) -> str:
    return "\n".join(str(line["message"]) for line in log_lines(api, flow_run))


def until(condition: Callable[[], bool], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{problem} after {seconds:.0f} s"
        time.sleep(0.2)


def processes_with(home: str) -> list[str]:
    """Processes that were started with this test's environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ZEN_TEST_HOME") == home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
