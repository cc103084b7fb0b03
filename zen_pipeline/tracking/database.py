"""MLflow's local database: made whole or not at all, moved with its folder, and never thrown away.

MLflow makes its tables in place, in seconds in which a kill leaves half of them, and half of them is refused from then
on. So the database is made under another name and renamed. Its rows hold absolute addresses of files; when the
workspace has been moved or copied, they are rewritten in one transaction.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from zen_pipeline.errors import StoreError, TrackingError, first_line
from zen_pipeline.locks import hold_lock
from zen_pipeline.logs import get_logger

log = get_logger(__name__)

FILES = "artifacts"  # the folder next to the database where MLflow keeps the files of what it tracks
_PATIENCE = 10.0  # seconds for a database that another program has locked
_SAID_AFTER = 1.0  # seconds of silence before a wait is announced
# Where MLflow keeps addresses and paths of files.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("model_version_tags", "value"),
    ("tags", "value"),
    ("datasets", "dataset_source"),
)
Moved = Callable[[str], str]


def prepare_database(database: Path, *, patience: float = _PATIENCE) -> None:
    """See that the database is there, whole, and knows where its files lie.

    One without a run or a model that is not whole, such as MLflow's making of it leaves when it is killed, is set aside
    and made anew.

    Raises:
        TrackingError: another program keeps it locked.
        StoreError: it is damaged.
    """
    if _is_unfinished(database, patience):
        with hold_lock(database.with_suffix(".lock"), what="the MLflow database", run_id="-"):
            if _is_unfinished(database, patience):  # another process may have made it meanwhile
                _make(database)
    _update_places(database)


def _is_unfinished(database: Path, patience: float) -> bool:
    """There is no database here, or one that holds nothing and lacks some of MLflow's tables."""
    if not database.is_file() or database.stat().st_size == 0:
        return True
    with _opened(database, patience) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        kept = [name for name in ("runs", "registered_models") if name in tables]
        if any(connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in kept):
            return False
        if "alembic_version" not in tables:
            return True
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return found != [(version,) for version in _schema_versions()]


def _schema_versions() -> tuple[str, ...]:
    """The version of the tables that the installed MLflow makes."""
    import mlflow
    from alembic.script import ScriptDirectory

    return tuple(ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations")).get_heads())


def _make(database: Path) -> None:
    """Make the database under another name and rename it. Needs the lock."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    if database.exists() and database.stat().st_size:
        aside = database.with_name(f"{database.name}.unfinished-{time.time_ns()}")
        os.rename(database, aside)
        log.warning("the MLflow database was not whole and held no run: set aside as %s and made anew", aside)
    making = database.with_name(f".making-{database.name}")
    for left in (making, *_companions(making), *_companions(database)):
        left.unlink(missing_ok=True)
    try:
        store = SqlAlchemyStore(f"sqlite:///{making}", (database.parent / FILES).as_uri())
        store.engine.dispose()
        making.chmod(0o600)
        os.replace(making, database)
    except (MlflowException, SQLAlchemyError) as error:
        raise StoreError(_why_unusable(database, error)) from error
    finally:
        making.unlink(missing_ok=True)


def _companions(database: Path) -> list[Path]:
    """The files in which SQLite keeps what is under way."""
    return [database.with_name(database.name + ending) for ending in ("-journal", "-wal", "-shm")]


@contextmanager
def _opened(database: Path, patience: float = _PATIENCE) -> Iterator[sqlite3.Connection]:
    """A connection to a database that exists; waits a little for one that is locked.

    Raises:
        TrackingError: it stays locked.
        StoreError: it cannot be read.
    """
    try:
        with closing(_connect(database, patience)) as connection:
            with announced(f"{database} is locked by another program"):
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield connection
    except sqlite3.Error as error:
        message = _why_unusable(database, error)
        raise (TrackingError if is_locked(error) else StoreError)(message) from error


def _connect(database: Path, patience: float) -> sqlite3.Connection:
    mode = "rw" if os.access(database, os.W_OK) and os.access(database.parent, os.W_OK) else "ro"
    return sqlite3.connect(f"file:{quote(str(database))}?mode={mode}", uri=True, timeout=patience)


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Say that this waits, and for what, when it has taken a second."""
    timer = threading.Timer(_SAID_AFTER, log.warning, ("%s; waiting for it", what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_locked(error: BaseException) -> bool:
    """Another program is writing: this passes."""
    return "database is locked" in str(error) or "database table is locked" in str(error)


def explain_database(database: Path, error: BaseException) -> str | None:
    """One sentence for what a user can mend in a local database; None for any other failure."""
    reason = str(error)
    if is_locked(error):
        return f"{database} is locked by another program: let it finish or end it, and start again; nothing is lost"
    if "disk is full" in reason:
        return f"the disk is full ({database}): free some space and start again"
    if "readonly database" in reason or "unable to open database" in reason:
        return f"cannot write to {database}: make it and its folder writable, or name another folder in ZEN_HOME"
    if "out-of-date database schema" in reason:
        return (
            f"{database} was made by another version of MLflow: keep a copy of it and run "
            f"`mlflow db upgrade sqlite:///{database}`, or install the version that made it"
        )
    return None


def _why_unusable(database: Path, error: BaseException) -> str:
    return explain_database(database, error) or (
        f"{database} cannot be read ({first_line(error, 120)}): put a copy of it back, or rename it (never delete it, "
        "it may be recovered with `sqlite3 FILE .recover`) and run `zen run` again; the store is kept, and its models "
        "are registered anew"
    )


# --- places -----------------------------------------------------------------------------------------------------------


def current_place(database: Path) -> Moved:
    """Turns an address or path of a file as it stands in the database into the one where the file lies now.

    They differ when the folder was moved or copied and the database cannot be written.
    """
    with _opened(database) as connection:
        return _moves(connection, database)


def _update_places(database: Path) -> None:
    """Rewrite the addresses in a database that was moved or copied with its files: all of them, or none."""
    with _opened(database) as connection:
        moved = _moves(connection, database)
        if moved is _unmoved:
            return
        log.info("%s was moved: its files are looked for beside it", database)
        connection.create_function("moved", 1, moved, deterministic=True)
        try:
            with connection:
                for table, column in _PLACES:
                    connection.execute(f"UPDATE {table} SET {column} = moved({column}) WHERE {column} LIKE '%/%'")
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):
                raise
            log.debug("%s cannot be written: its addresses stay", database)


def _unmoved(text: str) -> str:
    return text


def _moves(connection: sqlite3.Connection, database: Path) -> Moved:
    """What has to be done to addresses, found by those of the experiments: we put their files next to the database."""
    here = (database.parent / FILES).as_uri()
    found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    roots = {location.rpartition("/")[0] for (location,) in found if location}
    old = sorted(r for r in roots if r != here and r.endswith(f"/{FILES}") and _was_ours(r, found, database))
    if not old:
        return _unmoved
    places = [(_folder(root), database.parent) for root in old]
    # The workspace is moved as a whole: paths into its store stand in tags.
    wider = [(was.parent, now.parent) if was.name == now.name == "mlflow" else (was, now) for was, now in places]
    rules = [
        (re.compile(rf"{begin}(?:{re.escape(spelt(str(was)))}|{re.escape(str(was))})(?=/)"), spelt(str(now)))
        for was, now in wider
        for begin, spelt in ((r"(file://)", quote), (r"""(^|["'\s])""", str))
    ]

    def moved(text: str) -> str:
        for pattern, now in rules:
            text = pattern.sub(partial(_put_before, now), text)
        return text

    return moved


def _put_before(place: str, match: re.Match[str]) -> str:
    return match[1] + place


def _was_ours(root: str, locations: list[tuple[str]], database: Path) -> bool:
    """Files lay in a workspace's own place, or lie next to this database now."""
    if root.endswith(f"/mlflow/{FILES}") and root.startswith("file:"):
        return True
    names = [unquote(each.removeprefix(f"{root}/")) for (each,) in locations if each.startswith(f"{root}/")]
    return root.startswith("file:") and any((database.parent / FILES / name).is_dir() for name in names)


def _folder(root: str) -> Path:
    """The folder of the database to which a root of artifacts belonged."""
    return Path(unquote(root.removeprefix("file://"))).parent
