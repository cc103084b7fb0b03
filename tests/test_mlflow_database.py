"""MLflow's database: whole or absent, waited for when it is locked, and at home wherever its folder is moved."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from zen_pipeline.errors import ConfigError, StoreError, TrackingError
from zen_pipeline.tracking import experiment_id, mlflow_client
from zen_pipeline.tracking.database import current_place, prepare_database


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "was" / ".zen" / "mlflow"
    folder.mkdir(parents=True)
    return Path(shutil.copy(empty_database, folder / "mlflow.db"))


def execute(database: Path, *commands: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        found = [connection.execute(command).fetchall() for command in commands]
        connection.commit()
    return found[-1]


def start_run(database: Path) -> str:
    client = mlflow_client(database.parent)
    return str(client.create_run(experiment_id(client, "zen")).info.run_id)


def test_half_a_database_that_holds_nothing_is_made_anew(database: Path) -> None:
    execute(database, "DELETE FROM runs", "DROP TABLE trace_info", "DROP TABLE alembic_version")
    assert start_run(database)


def test_a_kill_while_it_is_made_leaves_no_half(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    make = "import sys, pathlib; from zen_pipeline.tracking.database import prepare_database as make; "
    with subprocess.Popen([sys.executable, "-c", make + "make(pathlib.Path(sys.argv[1]))", str(database)]) as process:
        while not any(each.stat().st_size for each in tmp_path.glob(".making-*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not database.exists()


def test_a_database_with_runs_is_never_replaced(database: Path, tmp_path: Path) -> None:
    start_run(database)
    old = Path(shutil.copytree(database.parent, tmp_path / "old")) / database.name
    execute(old, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(TrackingError, match="mlflow db upgrade"):
        mlflow_client(old.parent)
    assert execute(old, "SELECT count(*) FROM runs") == execute(database, "SELECT count(*) FROM runs")


def test_a_damaged_database_is_left_where_it_is(database: Path) -> None:
    damaged = b"no database" * 1000
    database.write_bytes(damaged)
    with pytest.raises(StoreError, match="cannot be read"):
        mlflow_client(database.parent)
    assert database.read_bytes() == damaged


def test_a_locked_database_is_called_locked_and_waited_for(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(sqlite3.connect(database, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="is locked by another program"):
            prepare_database(database, patience=0.1)

        release = threading.Timer(1.3, other.rollback)
        release.start()
        prepare_database(database)
        release.join()
    assert "waiting for it" in caplog.text


def test_addresses_follow_a_database_that_is_copied_with_its_folder(database: Path, tmp_path: Path) -> None:
    run = start_run(database)
    home = database.parent.parent
    mlflow_client(database.parent).set_tag(run, "zen.artifact", str(home / "store" / "collect"))
    place = shutil.copytree(home, tmp_path / "is now & here" / ".zen") / "mlflow"

    client = mlflow_client(place)
    artifacts = (place / "artifacts" / "zen").as_uri()
    assert client.get_experiment_by_name("zen").artifact_location == artifacts
    assert client.get_run(run).info.artifact_uri == f"{artifacts}/{run}/artifacts"
    assert client.get_run(run).data.tags["zen.artifact"] == str(place.parent / "store" / "collect")
    assert mlflow_client(database.parent).get_run(run).info.artifact_uri.startswith(database.parent.as_uri())


def test_addresses_of_files_that_never_lay_beside_the_database_stay(database: Path) -> None:
    client = mlflow_client(database.parent)
    client.create_experiment("bucket", artifact_location="s3://bucket/artifacts/bucket")
    client.create_experiment("disk", artifact_location="file:///disk/artifacts/disk")
    prepare_database(database)
    assert client.get_experiment_by_name("bucket").artifact_location == "s3://bucket/artifacts/bucket"
    assert client.get_experiment_by_name("disk").artifact_location == "file:///disk/artifacts/disk"


def test_files_are_found_although_a_moved_database_cannot_be_written(database: Path, tmp_path: Path) -> None:
    start_run(database)
    was = database.parent
    place = Path(shutil.move(was.parent, tmp_path / "moved")) / "mlflow"
    assert (
        current_place(place / "mlflow.db")((was / "artifacts" / "zen" / "f").as_uri())
        == (place / "artifacts" / "zen" / "f").as_uri()
    )


@pytest.mark.parametrize("uri", ["sqlite:///here.db", "sqlite+pysqlite:///./here.db"])
def test_a_relative_database_is_the_one_in_the_working_folder(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    shutil.copy(database, tmp_path / "here.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow_client(tmp_path / "unused")
    experiment_id(client, "zen")
    assert client.get_experiment_by_name("zen").artifact_location == (tmp_path / "artifacts" / "zen").as_uri()
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("uri", ["./mlruns", "file:///srv/mlruns", "sqlite://"])
def test_an_address_that_mlflow_refuses_is_told_from_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match="sqlite:////"):
        mlflow_client(tmp_path)


def test_a_database_server_that_is_away_is_named_within_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1:9/mlflow")
    started = time.monotonic()
    with pytest.raises(TrackingError, match="does not answer") as raised:
        mlflow_client(tmp_path)
    assert "secret" not in str(raised.value)
    assert time.monotonic() - started < 5
