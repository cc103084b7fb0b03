"""A process that has Great Expectations loaded, so that a stage works during its import, which takes seconds.

It also keeps the library's memory out of the process of the run; docs/decisions.md has the figures.
`begin` starts it, `call` has it do something. It serves one caller, leaves when nobody asked for a minute, and ends
with the process that started it.
"""

from __future__ import annotations

import atexit
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, ParamSpec, TypeVar

from zen_pipeline.errors import DataError
from zen_pipeline.subprocesses import python_command, python_environment

P = ParamSpec("P")
Result = TypeVar("Result")

_IDLE = 60.0  # seconds


class _JudgingProcess(NamedTuple):
    process: subprocess.Popen[bytes]
    connection: Connection


_running: list[_JudgingProcess] = []


def begin() -> None:
    """Start the process, unless it runs; it loads what it needs at once."""
    if _running and _running[0].process.poll() is None:
        return
    _end()
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            python_command("-m", __name__, str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the caller
            env=python_environment(),
        )
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie when it leaves
    _running.append(_JudgingProcess(process, Connection(ours.detach())))


def call(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> tuple[Result, float]:
    """What the function returns when it is called there, and the seconds for which its call had to wait.

    Args:
        function: importable by its name, with arguments and a result that can be pickled.
        args: its arguments.
        kwargs: its named arguments.

    Raises:
        Exception: what the function raised.
        DataError: the process was ended by force, most likely for lack of memory.
    """
    for _ in range(2):  # once more when it left at this very moment
        began = time.perf_counter()
        begin()
        connection = _running[0].connection
        try:
            connection.send((function, args, kwargs))
            connection.recv()  # it has loaded everything, and takes the call
            waited = time.perf_counter() - began
            result, raised = connection.recv()
        except (EOFError, OSError):
            _end()
            continue
        except BaseException:
            _end()
            raise
        if raised is not None:
            raise raised
        return result, waited
    raise DataError(
        "the process that judges was ended by force, most likely for lack of memory: give the machine more memory"
    )


@atexit.register
def _end() -> None:
    for each in _running:
        each.connection.close()
        each.process.kill()
        each.process.wait()
    _running.clear()


def _serve(connection: Connection) -> None:
    """Answer calls until nobody asks, or the caller is gone."""
    from zen_pipeline.corpus.expectations.judge import Judge

    Judge()
    while connection.poll(_IDLE):
        function, args, kwargs = connection.recv()
        connection.send("taken")
        answer: tuple[Any, Exception | None]
        try:
            answer = function(*args, **kwargs), None
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = None, error
        connection.send(answer)


if __name__ == "__main__":
    with suppress(EOFError, ConnectionError):
        _serve(Connection(int(sys.argv[1])))
