"""The repository's deployments on a real Prefect server with a real process worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from zen_pipeline.stages import STAGE_NAMES

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def test_every_flow_has_a_deployment_and_only_the_pipeline_has_a_schedule() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    flows = ["flows.pipeline.pipeline", *(f"flows.stages.{name}" for name in STAGE_NAMES)]
    assert [d["entrypoint"] for d in deployments] == flows
    assert [d["entrypoint"] for d in deployments if d.get("schedules")] == ["flows.pipeline.pipeline"]
    assert all(d["work_pool"]["name"] == "zen" for d in deployments)
    assert str(ROOT) not in (ROOT / "prefect.yaml").read_text()


@pytest.mark.slow
def test_a_deployment_completes_when_it_is_called_and_when_its_schedule_fires(tmp_path: Path) -> None:
    if find_spec("zen_pipeline.stages.collect") is None:
        pytest.skip("the collect stage is not there")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "tales.txt").write_text("Once upon a time there was a word.\n\nAnother word came along, and stayed.\n")
    settings = {"config": {"data": [str(corpus)]}}
    environment = prefect_environment(tmp_path)

    with prefect_server(environment, tmp_path) as api:
        environment["PREFECT_API_URL"] = api.address
        call(["work-pool", "create", "zen", "--type", "process"], environment)
        call(["--no-prompt", "deploy", "--all"], environment)
        deployments = {d["entrypoint"]: d for d in api.post("/deployments/filter", {})}
        assert len(deployments) == len(STAGE_NAMES) + 1
        assert [s["slug"] for s in deployments["flows.pipeline.pipeline"]["schedules"]] == ["nightly"]
        pause_all(api, deployments)
        collect = deployments["flows.stages.collect"]["id"]

        with worker(environment, tmp_path):
            called = api.post(f"/deployments/{collect}/create_flow_run", {"parameters": settings})
            assert final_state(api, called["id"]) == "COMPLETED", logs(api, called["id"])
            until(lambda: "collect: ran in" in logs(api, called["id"]), 30, "the library's log does not arrive")

            soon = datetime.now(UTC) + timedelta(seconds=6)
            times = {"interval": 30, "anchor_date": soon.isoformat()}
            planned_soon = {"active": True, "schedule": times, "parameters": settings}
            [schedule] = api.post(f"/deployments/{collect}/schedules", [planned_soon])
            planned = begun_by_schedule(api, collect)
            # One is enough: this also takes away the runs that are planned and have not begun.
            api.post(f"/deployments/{collect}/schedules/{schedule['id']}", {"active": False}, method="PATCH")
            assert planned["auto_scheduled"]
            assert final_state(api, planned["id"]) == "COMPLETED", logs(api, planned["id"])

        tasks = api.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [planned["id"]]}}})
        assert [(t["name"], t["state"]["name"]) for t in tasks] == [("collect", "Cached")]
    assert processes_with(str(tmp_path)) == []


# --- the server, the worker, and what they say ------------------------------------------------------------------------


class Api:
    """Prefect's REST API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> Any:
        return self._send(urllib.request.Request(f"{self.address}{path}"))

    def post(self, path: str, body: object, method: str = "POST") -> Any:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._send(urllib.request.Request(f"{self.address}{path}", data, headers, method=method))

    def _send(self, request: urllib.request.Request, seconds: float = 30) -> Any:
        """Asked again while the answer is 503, as Prefect's own client does: the server's database is locked."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    content = answer.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)


def prefect_environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return {
        **kept,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "DO_NOT_TRACK": "true",
        "ZEN_HOME": str(home / ".zen"),
        "ZEN_TEST_HOME": str(home),  # found again by `processes_with`
    }


@contextmanager
def prefect_server(environment: dict[str, str], home: Path) -> Iterator[Api]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = Api(f"http://127.0.0.1:{port}/api")
    command = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, environment, home / "server.txt"):
        until(lambda: answers(api), 120, "the server does not answer")
        yield api


def answers(api: Api) -> bool:
    try:
        return bool(api.get("/health"))
    except (OSError, urllib.error.URLError):
        return False


@contextmanager
def worker(environment: dict[str, str], home: Path) -> Iterator[None]:
    command = [*PREFECT, "worker", "start", "--pool", "zen", "--type", "process"]
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    # Elsewhere than in the project's folder: the deployment itself must say where that is.
    with running(command, environment | quick, home / "worker.txt", folder=home):
        yield


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path, folder: Path = ROOT) -> Iterator[None]:
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


def call(arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*PREFECT, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


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


def final_state(api: Api, flow_run: str) -> str:
    until(lambda: api.get(f"/flow_runs/{flow_run}")["state_type"] in TERMINAL, 150, "the run does not end")
    return str(api.get(f"/flow_runs/{flow_run}")["state_type"])


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
