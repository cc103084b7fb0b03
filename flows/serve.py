"""The process of the embedded Prefect server: `python -P serve.py LISTENING_FD LIFELINE_FD`.

It migrates the database once, under a lock, serves on the socket that it was given, and ends as soon as the other
end of the lifeline pipe is closed: by the parent when it is done, by the kernel when the parent dies in any way.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import threading
from pathlib import Path


def main(listening: int, lifeline: int) -> None:
    """Serve until the lifeline is cut."""
    threading.Thread(target=_end_with_parent, args=(lifeline, os.getppid()), daemon=True).start()
    import prefect
    import uvicorn
    from prefect.server.api.server import create_app

    _migrate(Path(os.environ["PREFECT_HOME"]), prefect.__version__)
    # "ephemeral": no web pages, and only the services that record what a flow does; nothing here is scheduled.
    app = create_app(ephemeral=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _end_with_parent(lifeline: int, parent: int) -> None:
    # The pipe alone would do, but a forked child of the parent can hold its other end open: look at the parent too.
    while os.getppid() == parent and not select.select([lifeline], [], [], 1.0)[0]:
        pass
    # An orderly end takes Prefect two seconds. The run has seen to it that its states are written (flows.entry), and
    # the database is in write-ahead mode: what has been written stays whole.
    os._exit(0)


def _migrate(home: Path, version: str) -> None:
    """Bring the database to this version of Prefect; two processes that do it at once destroy it."""
    from filelock import FileLock

    done = home / "migrated"
    with FileLock(home / "migrate.lock"):
        if done.is_file() and done.read_text() == version and (home / "prefect.db").is_file():
            return
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        done.write_text(version)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
