"""The workspace: where it is found, and what is remembered of the runs."""

from __future__ import annotations

import logging
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zen_pipeline.errors import ConfigError, StoreError
from zen_pipeline.workspace import RunRecord, StageRecord, Workspace


@pytest.fixture(autouse=True)
def _nobody_names_a_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEN_HOME", raising=False)


def test_it_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / ".zen").mkdir()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert Workspace.find(below).home == tmp_path / ".zen"
    (tmp_path / "a" / ".zen").mkdir()
    assert Workspace.find(below).home == tmp_path / "a" / ".zen"


def test_zen_home_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".zen").mkdir()
    elsewhere = tmp_path / "else where"
    monkeypatch.setenv("ZEN_HOME", str(elsewhere))
    with pytest.raises(ConfigError, match="does not exist"):
        Workspace.find(tmp_path)
    assert Workspace.find_or_create(tmp_path).home == elsewhere
    assert Workspace.find(tmp_path).home == elsewhere


def test_outside_of_any_the_message_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \.zen folder in .*ZEN_HOME.*zen run"):
        Workspace.find(tmp_path)
    assert Workspace.find_or_create(tmp_path).home == tmp_path / ".zen"
    assert Workspace.find(tmp_path).home == tmp_path / ".zen"


def test_a_file_in_its_place_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".zen").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write to .*\.zen"):
        Workspace.find_or_create(tmp_path)
    monkeypatch.setenv("ZEN_HOME", str(tmp_path / ".zen" / "below"))
    with pytest.raises(StoreError, match=r"Not a directory"):
        Workspace.find_or_create(tmp_path)


def test_a_new_one_is_for_its_owner_and_stays_open_where_that_one_opened_it(tmp_path: Path) -> None:
    home = Workspace.find_or_create(tmp_path).home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    home.chmod(0o755)
    assert stat.S_IMODE(Workspace.find_or_create(tmp_path).home.stat().st_mode) == 0o755


def _run(run_id: str, started: str, pipeline: str = "zen", **stages: tuple[str, str | None]) -> RunRecord:
    records = [StageRecord(name=n, status=s, seconds=1.0, fingerprint=f) for n, (s, f) in stages.items()]
    return RunRecord(run_id=run_id, pipeline=pipeline, started=started, status="failed", stages=records)


def test_runs_are_remembered_in_order(workspace: Workspace) -> None:
    assert workspace.runs() == []
    late, early = _run("a", "2026-02-01"), _run("b", "2026-01-01")
    other = _run("c", "2026-01-15", pipeline="other")
    for record in (late, early, other):
        workspace.save_run(record)
    assert workspace.runs() == [early, other, late]
    assert workspace.runs("zen") == [early, late]
    late.status = "completed"
    workspace.save_run(late)
    assert [r.status for r in workspace.runs("zen")] == ["failed", "completed"]


def test_the_places_in_a_record_move_with_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    stage = StageRecord(name="collect", status="ran", seconds=1.0, artifact=str(workspace.home / "store" / "collect"))
    record = RunRecord(run_id="r", pipeline="zen", started="2026", status="failed", stages=[stage])
    workspace.save_run(record)
    assert workspace.runs() == [record]

    moved = Workspace(workspace.home.rename(tmp_path / "moved"))
    assert moved.runs()[0].stages[0].artifact == str(moved.home / "store" / "collect")


def test_a_run_is_alive_as_long_as_its_process_holds_its_lock(workspace: Workspace) -> None:
    record = _run("a", "2026-01-01").model_copy(update={"status": "running"})
    workspace.save_run(record)
    with workspace.mark_alive("a"):
        assert [r.status for r in workspace.runs()] == ["running"]
        assert workspace.killed_runs() == []
    assert [r.status for r in workspace.runs()] == ["interrupted"]
    assert workspace.killed_runs() == [record]


def test_a_broken_record_is_named_and_passed_over(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace.save_run(_run("good", "2026-01-01"))
    (workspace.runs_folder / "torn.json").write_text('{"run_id": "torn"')
    with caplog.at_level(logging.WARNING):
        assert [r.run_id for r in workspace.runs()] == ["good"]
    assert "torn.json" in caplog.text


def test_the_last_fingerprint_is_of_the_last_stage_that_ended_well(workspace: Workspace) -> None:
    workspace.save_run(_run("1", "2026-01-01", collect=("ran", "one"), embed=("ran", "e1")))
    workspace.save_run(_run("2", "2026-01-02", collect=("cached", "two"), embed=("failed", "e2")))
    workspace.save_run(_run("3", "2026-01-03", pipeline="other", collect=("ran", "three")))
    assert workspace.last_fingerprint("zen", "collect") == "two"
    assert workspace.last_fingerprint("zen", "embed") == "e1"
    assert workspace.last_fingerprint("zen", "pretrain") is None
    assert workspace.last_fingerprint("new", "collect") is None


def test_asking_for_a_recalibration_counts(workspace: Workspace) -> None:
    assert workspace.calibration("a") == 0
    workspace.recalibrate()
    workspace.recalibrate("a")
    assert (workspace.calibration("a"), workspace.calibration("b")) == (2, 1)


KILLED = """
import os, signal, sys
from pathlib import Path
from zen_pipeline.artifacts import Built, Identity
from zen_pipeline.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
with workspace.mark_alive("killed"):
    (workspace.runs_folder / f".killed.json.{os.getpid()}-1.tmp").write_text("half")
    os.utime(workspace.runs_folder / f".killed.json.{os.getpid()}-1.tmp", (1, 1))
    end = lambda output: os.kill(os.getpid(), signal.SIGKILL)
    workspace.store.get_or_build(Identity("embed", {}), end, inputs={}, run_id="killed")
"""


def test_the_locks_of_killed_processes_are_removed_and_those_of_living_ones_stay(workspace: Workspace) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(workspace.home)], check=False)
    assert killed.returncode == -signal.SIGKILL
    places = (workspace.runs_folder, workspace.store.locks_folder)
    assert [len(list(place.iterdir())) for place in places] == [2, 2], "a lock with something else"
    with workspace.mark_alive("alive"):
        workspace.remove_abandoned()
        assert [path.name for place in places for path in place.iterdir()] == ["alive.lock"]
    assert [path.name for place in places for path in place.iterdir()] == []
