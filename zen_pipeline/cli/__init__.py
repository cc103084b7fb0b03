"""The `zen` command.

Importing this package must stay cheap: `zen --help` answers in half a second, so every command imports what it
needs inside its function.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from zen_pipeline.cli import answer, data, embeddings, maintain, models, run, runs, talk
from zen_pipeline.loopback import except_loopback_from_proxies
from zen_pipeline.subprocesses import FOLDER_SETTINGS_OFF
from zen_pipeline.terminal import say, show, visible

# Small tensor operations on shared cores spin for each other under the default policy; it is read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.update({name: value for name, value in FOLDER_SETTINGS_OFF.items() if name not in os.environ})


class _Commands(typer.core.TyperGroup):
    """The commands; what click says of a wrong command line quotes it, and a name in it may come from anybody."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """As in click."""
        with _visible_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """As in click."""
        with _visible_usage():
            return super().invoke(ctx)


@contextmanager
def _visible_usage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)  # click's own have one, and print it themselves
        if isinstance(message, str):
            vars(error)["message"] = visible(message)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        from zen_pipeline import __version__

        show(f"zen-pipeline {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]

_debug = False


def _set_debug(wanted: bool) -> None:
    global _debug
    _debug = wanted


Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.")]

app = typer.Typer(
    name="zen",
    cls=_Commands,
    help="From text that you own to language models that you can trust, again and again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Version = False,
    debug: Debug = False,
) -> None:
    """Options of every command."""


run.add_to(app)
runs.add_to(app)
talk.add_to(app)
answer.add_to(app)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(embeddings.app, name="embeddings")
maintain.add_to(app)


_KEPT = "everything finished so far is kept, run the same command to go on"
_INTERRUPTED, _TERMINATED = 130, 143  # 128 + SIGINT, 128 + SIGTERM
_signals: list[int] = []


def _terminate(number: int, _frame: FrameType | None) -> None:
    """SIGTERM is handled like Ctrl-C; the exit code says which it was."""
    _signals.append(number)
    raise KeyboardInterrupt


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Deliver an interrupt that came where Python cannot raise: in a finalizer it would be printed and forgotten."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        again = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        again.daemon = True
        again.start()
    elif _debug:
        sys.__unraisablehook__(unraisable)


def _thread_ended(failed: threading.ExceptHookArgs) -> None:
    from zen_pipeline.cli.failures import say_of_thread

    say_of_thread(failed, debug=_debug)


def main() -> None:
    """Run the command; a user's mistake ends in one line on stderr and an exit code, never in a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # not under nohup
        signal.signal(signal.SIGHUP, _terminate)
    sys.unraisablehook = _interrupt_again
    threading.excepthook = _thread_ended
    logging.raiseExceptions = False  # a line that cannot be shown is no reason for a traceback among the others
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for what this encoding has no letters
    except_loopback_from_proxies()
    _have_a_home()
    try:
        app()
    except KeyboardInterrupt:
        _end_stopped()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what click makes of a KeyboardInterrupt inside a command
            _end_stopped()
        raise
    except BrokenPipeError:
        # The reader has gone: give the interpreter something that it can flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except BaseException as error:  # whatever it is: nobody sees a traceback who did not ask for one
        if getattr(error, "signal", None) == signal.SIGTERM:  # Prefect's own, which a flow that runs makes of it
            _signals.append(signal.SIGTERM)
        if _signals:
            _end_stopped()
        from zen_pipeline.cli.failures import describe

        _end(*describe(error, debug=_debug))


def _have_a_home() -> None:
    """Give libraries a folder for their caches where the user has no home: they fail without one."""
    try:
        Path.home()
    except RuntimeError:
        import atexit
        import shutil
        import tempfile

        os.environ["HOME"] = tempfile.mkdtemp(prefix="zen-home-")
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def _end_stopped() -> NoReturn:
    if _signals:
        _end(f"terminated: {_KEPT}", _TERMINATED)
    _end(f"interrupted: {_KEPT}", _INTERRUPTED)


def _end(message: str, code: int) -> NoReturn:
    say(message)
    sys.exit(code)
