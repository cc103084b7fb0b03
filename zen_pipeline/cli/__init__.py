"""The `zen` command.

Importing this package must stay cheap: `zen --help` answers in half a second, so every command imports what it
needs inside its function.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from zen_pipeline.cli import embeddings, maintain, models, run, talk
from zen_pipeline.errors import Interrupted, ZenError

# Small tensor operations on shared cores spin for each other under the default policy; it is read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="zen",
    help="From text that you own to language models that you can trust, again and again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.add_to(app)
talk.add_to(app)
app.add_typer(models.app, name="models")
app.add_typer(embeddings.app, name="embeddings")
maintain.add_to(app)


class Terminated(KeyboardInterrupt):
    """SIGTERM: handled like Ctrl-C, but the exit code says which it was."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """Run the command; a user's mistake ends in one line on stderr and an exit code, never in a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except Terminated:
        _end("terminated: everything finished so far is kept, run the same command to go on", 143)
    except (KeyboardInterrupt, Interrupted):
        _end("interrupted: everything finished so far is kept, run the same command to go on", 130)
    except ZenError as error:
        _end(f"error: {error}", error.exit_code)
    except BrokenPipeError:
        # The reader has gone: give the interpreter something that it can flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _end(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
