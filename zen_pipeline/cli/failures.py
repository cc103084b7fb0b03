"""What a command that failed says: one line and an exit code, and a log for whoever wants to know more."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from zen_pipeline import __version__
from zen_pipeline.errors import ConfigError, ZenError, first_line
from zen_pipeline.files import explain_os_error
from zen_pipeline.masking import masked
from zen_pipeline.terminal import say
from zen_pipeline.workspace import Workspace

_KEPT = 20  # logs of failures
_LONGEST = 300  # characters of an error that is not ours


def describe(error: BaseException, *, debug: bool = False) -> tuple[str, int]:
    """What to say of a failure, and the exit code; what is not ours is also written to a log.

    Args:
        error: what ended the command.
        debug: print the traceback first.
    """
    if debug:
        say_traceback(error)
    if isinstance(error, ZenError):
        return f"error: {error}", error.exit_code
    home = _workspace()
    if (explained := explain_os_error(error, home or Path(os.path.curdir))) is not None:
        return f"error: {explained}", 1
    shown = "" if debug else "; `zen --debug` before the command shows it here"
    return f"error: {name_of(error)} (not foreseen; the log is {write_log(error, home)}{shown})", 1


def say_traceback(error: BaseException) -> None:
    """The traceback on stderr, as fit for a terminal as any other line."""
    say("".join(traceback.format_exception(error)).rstrip("\n"))


def name_of(error: BaseException) -> str:
    """What an error that is ours says; of any other its class and first line."""
    if isinstance(error, ZenError):
        return str(error)
    if isinstance(error, MemoryError):
        return "memory ran out"
    if isinstance(error, OSError) and error.strerror:
        named = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return f"{error.strerror}{named}"
    name, said = type(error).__name__, first_line(error, _LONGEST)
    return name if said == name else f"{name}: {said}"


def write_log(error: BaseException, home: Path | None) -> str:
    """Write down what happened, in the workspace or else among the temporary files.

    Returns:
        The log's path, or why there is none.
    """
    text = masked("".join(traceback.format_exception(error)))
    content = (
        f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}, zen-pipeline {__version__}, Python {platform.python_version()}, "
        f"{platform.platform()}\n{masked(' '.join(sys.argv))}\n\n{text}"
    )
    name = f"zen-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    with suppress(OSError):
        if home is not None:
            return str(_write(home / "logs", name, content))
    try:
        return str(_write(Path(tempfile.gettempdir()), name, content))
    except OSError as problem:
        return f"missing, since it cannot be written: {problem.strerror}"


def _write(folder: Path, name: str, content: str) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content.encode(errors="backslashreplace"))
    for old in sorted(folder.glob("zen-*.log"))[:-_KEPT] if folder.name == "logs" else ():
        old.unlink(missing_ok=True)
    return path


def _workspace() -> Path | None:
    with suppress(ConfigError, OSError, RuntimeError):
        return Workspace.find().home
    return None


def say_of_thread(failed: threading.ExceptHookArgs, *, debug: bool = False) -> None:
    """An error that ends a thread beside the command, as one line; behind its traceback where that is wanted."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        if debug:
            say_traceback(failed.exc_value)
        log = write_log(failed.exc_value, _workspace())
        say(f"warning: {name_of(failed.exc_value)} (beside the command; the log is {log})")
