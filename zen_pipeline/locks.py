"""File locks that die with their process, and that say who holds them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from zen_pipeline.errors import StageBusy
from zen_pipeline.files import write_atomically
from zen_pipeline.logs import get_logger

log = get_logger(__name__)


@contextmanager
def hold_lock(path: Path, *, what: str, run_id: str, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive file lock that dies with its process, and leave a note of who holds it.

    Raises:
        StageBusy: somebody else holds it and `wait` is False.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".holder.json")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = _describe_holder(note)
        if not wait:
            raise StageBusy(f"{what} is being built by {holder}: wait for it, or leave out --no-wait") from None
        log.warning("%s is being built by %s; waiting for it", what, holder)
        lock.acquire(poll_interval=0.2)
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        me = {"run_id": run_id, "pid": os.getpid(), "host": socket.gethostname(), "since": started}
        write_atomically(note, json.dumps(me))
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _describe_holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"run {holder['run_id']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "another run"
