"""Each check finds its problem, and nothing on a machine that is set up well."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zen_pipeline.machine import checks, problems


def test_a_machine_that_is_set_up_well_has_no_problem_with_its_settings(tmp_path: Path) -> None:
    home = tmp_path / ".zen"
    found = problems({"OMP_WAIT_POLICY": "PASSIVE", "MLFLOW_TRACKING_URI": "sqlite:////x/mlflow.db"}, home)
    about_settings = ("OMP", "MLFLOW", "PREFECT", "PROXY", "cannot write")
    assert [p for p in found if any(word in p.what for word in about_settings)] == []
    assert not home.exists()


def test_all_problems_of_a_machine_are_collected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    env = {
        "ZEN_HOME": str(tmp_path / "file"),
        "MLFLOW_TRACKING_URI": "file:///tmp/mlruns",
        "OMP_NUM_THREADS": "4096",
    }
    found = "\n".join(f"{p.what} {p.why} {p.remedy}" for p in problems(env))
    for word in ("cannot write", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS is 4096"):
        assert word in found


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_that_satisfy_their_requirements_are_no_problem() -> None:
    assert list(checks.wrong_versions()) == []
    assert list(checks.wrong_versions(["pydantic>=2", "no-such-thing; extra == 'x'"])) == []


def test_a_version_that_does_not_fit_says_what_breaks() -> None:
    (found,) = checks.wrong_versions(["fastapi<0.1"])
    assert "needed: <0.1" in found.what
    assert "does not start" in found.why
    (found,) = checks.wrong_versions(["no-such-thing>=1"])
    assert "is not installed" in found.what


# --- the workspace ----------------------------------------------------------------------------------------------------


def test_a_home_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = checks.home_cannot_be_written(tmp_path / "file")
    assert found is not None
    assert "Not a directory" in found.what
    assert checks.home_cannot_be_written(tmp_path / "not" / "yet" / "made") is None


def test_little_space_is_a_problem(tmp_path: Path) -> None:
    assert checks.disk_is_nearly_full(tmp_path / "not" / "yet", least=1) is None
    assert checks.disk_is_nearly_full(tmp_path, least=1 << 62) is not None


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "refused"),
    [
        ("file:///tmp/mlruns", True),
        ("./mlruns", True),
        ("/srv/mlruns", True),
        ("sqlite:////srv/mlflow.db", False),
        ("http://127.0.0.1:5000", False),
        ("postgresql://host/db", False),
        ("", False),
    ],
)
def test_folders_are_no_tracking_address(uri: str, refused: bool) -> None:
    assert (checks.tracking_uri_is_refused({"MLFLOW_TRACKING_URI": uri}) is not None) is refused


class _Refuses(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 401)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on loopback that is healthy below /api and wants a password elsewhere."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_server_that_answers_is_no_problem(server: str) -> None:
    for address in (f"{server}/api", f"{server}/api/", server):
        assert checks.server_is_silent("PREFECT_API_URL", "/health", {"PREFECT_API_URL": address}) is None
    assert checks.server_is_silent("PREFECT_API_URL", "/health", {}) is None


def test_a_silent_server_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        address = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/api"
        found = checks.server_is_silent("PREFECT_API_URL", "/health", {"PREFECT_API_URL": address})
    assert found is not None
    assert "127.0.0.1" in found.what
    assert "secret" not in found.model_dump_json()


# --- the machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({}, False),
        ({"OMP_NUM_THREADS": "2"}, False),
        ({"OMP_NUM_THREADS": "3"}, True),
        ({"OMP_NUM_THREADS": "0"}, True),
        ({"OMP_NUM_THREADS": "all"}, True),
        ({"OMP_WAIT_POLICY": "passive"}, False),
        ({"OMP_WAIT_POLICY": "active"}, True),
    ],
)
def test_threads_fit_the_cores(env: dict[str, str], problem: bool) -> None:
    assert (checks.threads_are_set_badly(env, cores=2) is not None) is problem


def test_facts_that_are_problems() -> None:
    assert checks.memory_is_small(10**9) is not None
    assert checks.memory_is_small(8 * 10**9) is None
    assert checks.gpu_is_not_used(("NVIDIA L4",), "2.13.0+cpu") is not None
    assert checks.gpu_is_not_used(("NVIDIA L4",), "2.13.0") is None
    assert checks.gpu_is_not_used((), "2.13.0+cpu") is None
    assert checks.children_can_outlive_us("darwin") is not None
    assert checks.children_can_outlive_us("linux") is None
    now = time.time()
    assert checks.clock_is_behind(now, now - 1000) is None
    assert checks.clock_is_behind(now - 40 * 24 * 3600, now) is not None


def test_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert any("4096" in p.what for p in problems())
    assert os.environ["OMP_NUM_THREADS"] == "4096"
