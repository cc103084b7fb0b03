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
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

_END_SECONDS = 2


def main(listening: int, lifeline: int) -> None:
    """Serve until the lifeline is cut."""
    started: list[uvicorn.Server] = []
    threading.Thread(target=_end_with_parent, args=(lifeline, os.getppid(), started), daemon=True).start()
    import prefect
    import uvicorn as uv
    from prefect.server.api.server import create_app

    _migrate(Path(os.environ["PREFECT_HOME"]), prefect.__version__)
    # "ephemeral": no web pages, and only the services that record what a flow does; nothing here is scheduled.
    app = create_app(ephemeral=True)
    config = uv.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    started.append(uv.Server(config))
    started[0].run(sockets=[socket.socket(fileno=listening)])


def _end_with_parent(lifeline: int, parent: int, started: list[uvicorn.Server]) -> None:
    # The pipe alone would do, but a forked child of the parent can hold its other end open: look at the parent too.
    while os.getppid() == parent and not select.select([lifeline], [], [], 1.0)[0]:
        pass
    for server in started:
        server.should_exit = True  # task states that have arrived are still written
        time.sleep(_END_SECONDS)
    os._exit(0)  # the database is in write-ahead mode: what has been written stays whole


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
