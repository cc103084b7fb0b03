"""A child process with bounded memory and processor time, for work on what strangers wrote: templates, tokenizers.

It answers one line of JSON with another. A request that exceeds a bound ends the child, and the caller learns of it by
an exception; nothing of the caller's own is at risk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from zen_pipeline.subprocesses import python_command, python_environment


class LimitExceeded(Exception):
    """A request took more memory or time than it may, or the child ended for another reason."""


class Refused(Exception):
    """The child's own answer to a request: it cannot be done, and why."""


class LimitedProcess:
    """Runs `python -m MODULE ARGUMENTS`, whose main function is `serve`; started by the first request.

    It ends when the caller does: its input is closed then.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = python_command("-m", module, *arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def ask(self, request: Any) -> Any:
        """The answer to a request, both as JSON holds them.

        Raises:
            LimitExceeded: the child is gone; the next request starts another.
            Refused: the child's answer.
        """
        with self._lock:
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = b""
            except BaseException:
                self._end()
                raise
            if not answer.endswith(b"\n"):  # none, or a part of one
                self._end()
                raise LimitExceeded("it needs more time or memory than it may have")
        given = json.loads(answer)
        if "refused" in given:
            raise Refused(given["refused"])
        return given["answer"]

    def close(self) -> None:
        """End the child, if there is one."""
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        quiet = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**python_environment(), **quiet},
        )

    def _end(self) -> None:
        if (process := self._process) is not None:
            process.kill()
            process.communicate()
            self._process = None


def serve(answer: Callable[[Any], Any], *, cpu_seconds: int, memory_bytes: int) -> None:
    """Answer requests from standard input until it is closed; every error is an answer, as its kind and first line.

    Args:
        answer: gives the answer to a request, both as JSON holds them.
        cpu_seconds: of the processor for one request.
        memory_bytes: of address space, besides what is taken when this is called: import all libraries before.
    """
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for line in sys.stdin.buffer:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        most = int(usage.ru_utime + usage.ru_stime) + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            given = {"answer": answer(json.loads(line))}
        except MemoryError:
            return  # the caller sees that the child is gone
        except BaseException as error:  # the panics of Rust libraries are no Exception
            said = (str(error).splitlines() or [""])[0][:300]
            given = {"refused": f"{type(error).__name__}: {said}" if said else type(error).__name__}
        output.write(json.dumps(given).encode() + b"\n")
        output.flush()
