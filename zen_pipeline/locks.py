"""File locks that die with their process, that say who holds them, and that leave no file behind.

The file is removed by its holder while it is still locked: whoever opened it before finds, once the kernel gives the
lock, that it has no name any more, and starts over (filelock sees to that).
"""

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

_GLANCE = 0.3  # seconds; `is_held` takes a lock for a moment


@contextmanager
def hold_lock(path: Path, *, what: str, run_id: str, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive file lock that dies with its process, and leave a note of who holds it.

    Raises:
        StageBusy: somebody else holds it and `wait` is False.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    note = _note(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_GLANCE)
    except Timeout:
        holder = _describe_holder(note)
        if not wait:
            raise StageBusy(f"{what} is in use by {holder}: wait for it, or leave out --no-wait") from None
        log.warning("%s is in use by %s; waiting for it", what, holder)
        lock.acquire(poll_interval=0.2)
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        me = {"run_id": run_id, "pid": os.getpid(), "host": socket.gethostname(), "since": started}
        write_atomically(note, json.dumps(me))
        yield
    finally:
        _remove(path)
        lock.release()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock while this lasts, unless somebody else does: whether it is held."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_GLANCE)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        _remove(path)
        lock.release()


def is_held(path: Path) -> bool:
    """True if a living process holds the lock; reads only, so that it may be asked by who cannot write there."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_abandoned(folder: Path) -> None:
    """Remove the lock files and notes that killed processes have left in a folder."""
    for path in folder.glob("*.lock"):
        if not is_held(path):
            with suppress(OSError), try_lock(path):
                pass
    for note in folder.glob("*.holder.json"):
        if not is_held(note.with_name(note.name.removesuffix(".holder.json") + ".lock")):
            with suppress(OSError):
                note.unlink()


def _note(path: Path) -> Path:
    return path.with_suffix(".holder.json")


def _remove(path: Path) -> None:
    """Remove what a lock that is held consists of."""
    for each in (_note(path), path):
        with suppress(OSError):
            each.unlink(missing_ok=True)


def _describe_holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"run {holder['run_id']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "another run"
