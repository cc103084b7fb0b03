"""The process of a Prefect server on loopback: `python -m flows.serve LISTENING_FD LIFELINE_FD SERVICES < SECRET`.

It brings the database up to date, serves on the socket that it was given, and ends as soon as the other end of the
lifeline pipe is closed: by the parent when it is done, by the kernel when the parent dies in any way. SERVICES are
those of a `run` (only what records it), of `pages` (none, and the web pages) or `all`.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
import sqlite3
import sys
import threading
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

from flows.guard import Guard
from zen_pipeline.locks import hold_lock
from zen_pipeline.terminal import say

_PATIENCE = 10  # seconds for somebody else's transaction


def main(listening: int, lifeline: int, services: str, secret: str) -> None:
    """Serve until the lifeline is cut."""
    threading.Thread(target=_end_with_parent, args=(lifeline, os.getppid()), daemon=True).start()
    os.umask(0o077)
    _leave_the_project()
    import prefect
    import uvicorn
    from prefect.server.api.collections import KNOWN_VIEWS
    from prefect.server.api.server import create_app

    # Addresses at GitHub; without one the copy in the package is used.
    KNOWN_VIEWS.update(dict.fromkeys(KNOWN_VIEWS, ""))
    prepare_database(Path(os.environ["PREFECT_HOME"]), prefect.__version__)
    app = create_app(ephemeral=services == "run", webserver_only=services == "pages")
    with socket.socket(fileno=listening) as opened:
        guarded = Guard(app, opened.getsockname()[1], secret or None)
        config = uvicorn.Config(guarded, log_level="warning", access_log=False, proxy_headers=False)
        uvicorn.Server(config).run(sockets=[opened])


def _leave_the_project() -> None:
    """Stand where no file of the user's project can be taken for Prefect's settings."""
    spec = find_spec("prefect")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        os.chdir(folder)


def _end_with_parent(lifeline: int, parent: int) -> None:
    # The pipe alone would do, but a forked child of the parent can hold its other end open: look at the parent too.
    while os.getppid() == parent and not select.select([lifeline], [], [], 1.0)[0]:
        pass
    # An orderly end takes Prefect two seconds. The run has seen to it that its states are written (flows.entry), and
    # the database is in write-ahead mode: what has been written stays whole.
    os._exit(0)


def prepare_database(home: Path, version: str) -> None:
    """See that there is a whole database of this version of Prefect, one process at a time.

    A new one is made aside and renamed when it is finished, so that no kill leaves half of one. It holds the history
    that the web pages show and nothing else: one that cannot be used is set aside, not repaired.
    """
    database, made, done = home / "prefect.db", home / "prefect.db.new", home / "migrated"
    with hold_lock(home / "migrate.lock", what="the Prefect database", run_id="-"):
        whole = _is_whole(database)
        if whole and done.is_file() and done.read_bytes() == version.encode():
            return
        if not (whole and _migrated_copy(database, made)):
            if os.path.lexists(database):
                _discard(home / "prefect.db.damaged")
                database.rename(home / "prefect.db.damaged")
            _discard(made)
            asyncio.run(_migrate(made))
        _discard(database)
        os.replace(made, database)
        done.write_text(version)


def _is_whole(database: Path) -> bool:
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(database, timeout=_PATIENCE)) as opened:
            finished = opened.execute("SELECT version_num FROM alembic_version").fetchone() is not None
            return finished and bool(opened.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError as error:
        return "locked" in str(error)  # it passes, and says nothing against the file
    except sqlite3.DatabaseError:
        return False


def _migrated_copy(database: Path, copy: Path) -> bool:
    _discard(copy)
    try:
        with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        asyncio.run(_migrate(copy))
    except Exception as error:  # of another version's tables anything can be raised
        say(f"{database} cannot be brought up to date ({error}); a new one is made")
        return False
    return True


async def _migrate(database: Path) -> None:
    from prefect.server.database import provide_database_interface
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import temporary_database_config

    with temporary_database_config(AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{database}")):
        interface = provide_database_interface()
        await interface.create_db()
        await (await interface.engine()).dispose()


def _discard(database: Path) -> None:
    """Remove a database with what SQLite keeps next to it."""
    for path in (database, *(database.with_name(database.name + end) for end in ("-wal", "-shm", "-journal"))):
        if path.is_dir():
            shutil.rmtree(path)
        with suppress(FileNotFoundError):
            path.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.stdin.read())
