"""The database of the embedded server: whole, or made anew, whatever lies there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import prefect
import pytest

from flows.serve import prepare_database


def _copied(databases: Path, home: Path) -> Path:
    shutil.copytree(databases / "prefect", home)
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        database.execute("INSERT INTO flow (id, name, tags) VALUES ('1', 'kept', '[]')")
        database.commit()
    return home / "prefect.db"


def _flows(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as opened:
        return [name for (name,) in opened.execute("SELECT name FROM flow")]


def _cut(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[: len(content) // 2])


def _overwrite(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[len(content) // 3 : len(content) // 2] = b"\xff" * (len(content) // 2 - len(content) // 3)
    database.write_bytes(content)


def _half_made(database: Path) -> None:
    """As an interrupted first start left it before: some tables, no version."""
    with closing(sqlite3.connect(database)) as opened:
        opened.executescript("DELETE FROM alembic_version; DROP TABLE log")


def _folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def test_a_whole_database_is_left_alone(databases: Path, tmp_path: Path) -> None:
    database = _copied(databases, tmp_path / "home")
    prepare_database(tmp_path / "home", prefect.__version__)
    assert "kept" in _flows(database)


def test_a_locked_database_is_left_alone(databases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.serve._PATIENCE", 0.01)
    database = _copied(databases, tmp_path / "home")
    with closing(sqlite3.connect(database)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        prepare_database(tmp_path / "home", prefect.__version__)
        other.rollback()
    assert "kept" in _flows(database)


def test_a_database_of_another_version_keeps_its_history_whatever_a_killed_start_left(
    databases: Path, tmp_path: Path
) -> None:
    database = _copied(databases, tmp_path / "home")
    (tmp_path / "home" / "migrated").write_text("0.0.1")
    (tmp_path / "home" / "prefect.db.new").write_bytes(b"half of one")
    prepare_database(tmp_path / "home", prefect.__version__)
    assert "kept" in _flows(database)
    assert not list((tmp_path / "home").glob("prefect.db.*"))


@pytest.mark.parametrize("damage", [_cut, _overwrite, _half_made, _folder, lambda d: d.write_bytes(b"junk" * 1000)])
def test_a_damaged_database_is_set_aside_and_made_anew(
    damage: Callable[[Path], None], databases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = _copied(databases, tmp_path / "home")
    for end in ("-wal", "-shm"):
        Path(f"{database}{end}").unlink(missing_ok=True)
    damage(database)

    async def migrate(made: Path) -> None:  # the real one takes seconds, and nothing here depends on its tables
        shutil.copy(databases / "prefect" / "prefect.db", made)

    monkeypatch.setattr("flows.serve._migrate", migrate)
    prepare_database(tmp_path / "home", prefect.__version__)
    assert "kept" not in _flows(database)
    assert (tmp_path / "home" / "prefect.db.damaged").exists()
