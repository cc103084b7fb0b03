"""Python in a process of its own: with this very package, and without what lies in the folder it happens to run in.

`python -m`, `python -c` and multiprocessing look for modules in the working folder before the standard library; a
`calendar.py` next to the user's text would be run in the place of Python's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAFE_PATH = "PYTHONSAFEPATH"  # what `-P` is for one process, for all that it starts
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STOPPED = 128 + signal.SIGTERM
_PACKAGE = Path(__file__).resolve().parents[1]


def python_command(*arguments: str) -> list[str]:
    """The command that runs this Python with arguments such as `-m MODULE`."""
    return [sys.executable, "-P", *arguments]


# Numba reads `.numba_config.yaml` in the working folder, and its compiled code from wherever `cache_dir` there says; a
# variable that is set, even to nothing, wins over the file.
FOLDER_SETTINGS_OFF = {"NUMBA_CACHE_DIR": ""}


def python_environment() -> dict[str, str]:
    """This process's environment, for a child that imports this package and leaves the working folder alone."""
    # An empty entry, as `PYTHONPATH=$PYTHONPATH:/more` makes it, would mean the working folder.
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    if str(_PACKAGE) not in installed:  # there it is found anyway, and behind the standard library
        places.insert(0, str(_PACKAGE))
    safe = {"PYTHONPATH": os.pathsep.join(places), SAFE_PATH: "1"}
    return {**FOLDER_SETTINGS_OFF, **os.environ, **safe}


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when the one that started it dies (Linux; elsewhere nothing).

    Args:
        parent: process id of the one that started it, which it tells its child.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(_STOPPED)


@contextmanager
def safe_path_for_children() -> Iterator[None]:
    """While this lasts, Python that somebody else starts from this process leaves the working folder alone too.

    multiprocessing gives its children this process's `sys.path`, in which an empty or relative entry means whatever
    folder they happen to run in.
    """
    before, places = os.environ.get(SAFE_PATH), sys.path[:]
    os.environ[SAFE_PATH] = "1"
    sys.path[:] = [place for place in places if os.path.isabs(place)]
    try:
        yield
    finally:
        sys.path[:] = places
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
