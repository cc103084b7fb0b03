"""The real `zen` command in one folder: in this process, or in one of its own."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Zen:
    """The real command in one folder.

    Calling it runs the command in this process, since an interpreter with torch and MLflow in it takes seconds to
    start; `process` and `start` are for what only a process of its own can show.

    Attributes:
        folder: the working folder.
        environment: variables that are set while the command runs, such as the address of a Prefect server.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, *arguments: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `zen ARGUMENTS` to its end."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        environment = {**self.environment, **environment}
        with (
            _as_before(),
            patch.dict(os.environ, environment),
            patch.object(sys, "argv", ["zen", *arguments]),
            patch.object(sys, "stdin", io.StringIO()),
            chdir(cwd or self.folder),
            redirect_stdout(out),
            redirect_stderr(err),
            _prefect_server(environment),
        ):
            if "ZEN_HOME" not in environment:
                os.environ.pop("ZEN_HOME", None)
            from zen_pipeline import cli

            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
        shown = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return subprocess.CompletedProcess(["zen", *arguments], code, *shown)

    def json(self, *arguments: str, cwd: Path | None = None) -> Any:
        """What `zen ARGUMENTS --json` prints; it must be one JSON object and nothing else."""
        result = self(*arguments, "--json", cwd=cwd)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def start(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """`zen ARGUMENTS` in a process of its own, begun."""
        kept = {k: v for k, v in os.environ.items() if k != "ZEN_HOME"}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "zen_pipeline", *arguments],  # as the installed command looks for modules
            cwd=cwd or self.folder,
            env={**kept, "PYTHONPATH": str(ROOT), **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def process(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `zen ARGUMENTS` to its end in a process of its own."""
        with self.start(*arguments, cwd=cwd, **environment) as process:
            out, err = process.communicate(timeout=400)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def interrupt_at(
        self, said: str, *arguments: str, by: signal.Signals = signal.SIGINT
    ) -> subprocess.CompletedProcess[str]:
        """Run `zen ARGUMENTS` in a process of its own, and send it a signal once a line on stderr holds `said`."""
        with self.start(*arguments) as process:
            assert process.stderr is not None
            seen = ""
            for line in process.stderr:
                seen += line
                if said in line:
                    break
            process.send_signal(by)
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, seen + err)


@contextmanager
def _as_before() -> Iterator[None]:
    """Afterwards, what the command sets for its whole process is as it was."""
    log = logging.getLogger("zen_pipeline")
    handlers, level, raises = [*log.handlers], log.level, logging.raiseExceptions
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    hooks = sys.unraisablehook, threading.excepthook
    try:
        with patch.dict(os.environ):
            yield
    finally:
        log.handlers[:] = handlers
        log.setLevel(level)
        logging.raiseExceptions = raises
        for number, handler in signals.items():
            signal.signal(number, handler)
        sys.unraisablehook, threading.excepthook = hooks


def _prefect_server(environment: Mapping[str, str]) -> Any:
    """Prefect, which has made its settings when it was first imported, uses the server that the environment names."""
    if "PREFECT_API_URL" not in environment:
        return nullcontext()
    from flows.prefect_settings import import_prefect

    import_prefect()
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    return temporary_settings(
        {
            PREFECT_API_URL: environment["PREFECT_API_URL"],
            PREFECT_API_AUTH_STRING: environment["PREFECT_API_AUTH_STRING"],
        }
    )
