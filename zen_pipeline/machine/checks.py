"""What is set up wrongly: each check is one function that returns a problem or None."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from zen_pipeline.files import expanded
from zen_pipeline.machine.facts import GIB, gpu_names, usable_cores, usable_memory
from zen_pipeline.masking import masked

# What the laptop preset is made to run in.
_LEAST_MEMORY = 4 * 10**9
# Assumption: a store of a few small models with their checkpoints; the shards of a large corpus need more.
_LEAST_DISK = 5 * GIB
_ANSWER_SECONDS = 3.0
_DAY = 24 * 3600
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}

# Versions that are known to break something which is easy to overlook, and what it is.
_KNOWN_TROUBLE = {
    "fastapi": ("<0.150", "Prefect's server does not start with it"),
    "sqlalchemy": ("<2.1", "scheduled runs never start with it, while runs by hand work"),
}

Environment = Mapping[str, str]


class Problem(BaseModel):
    """One thing that is set up wrongly.

    Attributes:
        what: what was found.
        why: what goes wrong because of it.
        remedy: what to do.
    """

    what: str
    why: str
    remedy: str

    def sentence(self) -> str:
        """All of it, for an error."""
        return f"{self.what}: {self.why}; {self.remedy}"


def problems(environment: Environment | None = None, folder: Path | None = None) -> list[Problem]:
    """Everything that is set up wrongly, most harmful first; takes seconds only where a server does not answer.

    Args:
        environment: variables to look at instead of this process's.
        folder: the workspace; default: `ZEN_HOME`, or `.zen` in the working folder.
    """
    env = os.environ if environment is None else environment
    home = folder or expanded(env.get("ZEN_HOME") or ".zen").absolute()
    checks: tuple[Callable[[], Problem | None], ...] = (
        lambda: home_cannot_be_written(home),
        lambda: disk_is_nearly_full(home),
        lambda: tracking_uri_is_refused(env),
        lambda: server_is_silent("MLFLOW_TRACKING_URI", "/health", env),
        lambda: server_is_silent("PREFECT_API_URL", "/health", env),
        lambda: memory_is_small(usable_memory()),
        lambda: threads_are_set_badly(env, usable_cores()),
        lambda: gpu_is_not_used(gpu_names(), _version("torch") or ""),
        lambda: clock_is_behind(time.time(), Path(__file__).stat().st_mtime),
        lambda: children_can_outlive_us(sys.platform),
    )
    found = (check() for check in checks)
    return [*wrong_versions(), *(problem for problem in found if problem is not None)]


# --- versions ---------------------------------------------------------------------------------------------------------


def wrong_versions(needed: Iterable[str] | None = None) -> Iterator[Problem]:
    """Installed libraries whose version does not satisfy a requirement of this package.

    Args:
        needed: requirements such as `fastapi<0.150`; default: those of the installed package.
    """
    from packaging.requirements import Requirement

    for requirement in map(Requirement, _own_requirements() if needed is None else needed):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            continue
        why = _KNOWN_TROUBLE.get(requirement.name, ("", "it is not what the pipeline was tested with"))[1]
        yield Problem(
            what=f"{requirement.name} {found or 'is not installed'}; needed: {requirement.specifier or 'any version'}",
            why=why if found else "the stages that use it cannot run",
            remedy=f"install the committed versions (`make run`), or: pip install '{requirement}'",
        )


def _own_requirements() -> list[str]:
    try:
        return requires("zen-pipeline") or []
    except PackageNotFoundError:  # a source tree that was never installed
        return [f"{name}{specifier}" for name, (specifier, _) in _KNOWN_TROUBLE.items()]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- the workspace ----------------------------------------------------------------------------------------------------


def home_cannot_be_written(home: Path) -> Problem | None:
    """The workspace, or the folder that it would be made in, takes no file."""
    folder = _nearest_existing(home)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return Problem(
            what=f"cannot write to {folder} ({error.strerror})",
            why="artifacts, runs and models are kept there",
            remedy="make it writable, or name another folder in ZEN_HOME",
        )


def disk_is_nearly_full(home: Path, least: int = _LEAST_DISK) -> Problem | None:
    """Less space is free than a store of a few models needs."""
    folder = _nearest_existing(home)
    free = shutil.disk_usage(folder).free
    if free >= least:
        return None
    return Problem(
        what=f"{free / GIB:.1f} GiB are free in {folder}",
        why="a run that fills the disk stops, and begins the stage again later",
        remedy="free some space, run `zen gc`, or name a folder on a larger disk in ZEN_HOME",
    )


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


# --- servers ----------------------------------------------------------------------------------------------------------


def tracking_uri_is_refused(env: Environment) -> Problem | None:
    """`MLFLOW_TRACKING_URI` names a folder, which MLflow has given up, or a database that ends with its process."""
    uri = env.get("MLFLOW_TRACKING_URI", "")
    if uri in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
        return Problem(
            what=f"MLFLOW_TRACKING_URI is {uri}",
            why="a database in memory ends with its process, and the models that are registered in it",
            remedy="unset it to use the database in the workspace, or write sqlite:////absolute/path/mlflow.db",
        )
    if not uri or uri == "databricks" or urlsplit(uri).scheme not in ("", "file"):
        return None
    return Problem(
        what=f"MLFLOW_TRACKING_URI is {uri}",
        why="MLflow no longer keeps runs in plain folders and refuses this address",
        remedy="unset it to use the database in the workspace, or write sqlite:////absolute/path/mlflow.db",
    )


def server_is_silent(
    variable: str, health: str, env: Environment, *, seconds: float = _ANSWER_SECONDS
) -> Problem | None:
    """The server that a variable names does not answer; any answer at all, even a refusal, is one.

    Args:
        variable: in which its address stands.
        health: the path that is asked of an HTTP server; of a database server only a connection.
        env: the variables.
        seconds: how long it may take.
    """
    address = env.get(variable, "")
    try:
        parts = urlsplit(address)
        port = parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])
        if parts.scheme in ("http", "https"):
            urllib.request.urlopen(masked(address).rstrip("/") + health, timeout=seconds).close()
        elif parts.hostname and port:
            socket.create_connection((parts.hostname, port), timeout=seconds).close()
        return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Problem(
            what=f"{variable} names {masked(address)}, which does not answer ({reason})",
            why="nothing can be read or kept there",
            remedy=f"start that server, correct the address, or unset {variable} to work without a server",
        )


# --- the machine ------------------------------------------------------------------------------------------------------


def memory_is_small(usable: int) -> Problem | None:
    """Less memory than the smallest preset is made for."""
    if usable >= _LEAST_MEMORY:
        return None
    return Problem(
        what=f"{usable / GIB:.1f} GiB of memory may be used",
        why=f"the laptop preset is made for {_LEAST_MEMORY / GIB:.1f} GiB",
        remedy="give the container or the machine more memory, or set a smaller model and micro batch",
    )


def threads_are_set_badly(env: Environment, cores: int) -> Problem | None:
    """OpenMP is told to use more threads than there are cores, or to spin while it waits."""
    threads = env.get("OMP_NUM_THREADS", "")
    if threads and not (threads.isdigit() and 1 <= int(threads) <= cores):
        return Problem(
            what=f"OMP_NUM_THREADS is {threads}, and {cores} cores may be used",
            why="more threads than cores wait for each other, and training slows down many times",
            remedy="unset OMP_NUM_THREADS, and the number of threads is measured",
        )
    if env.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        return Problem(
            what="OMP_WAIT_POLICY is ACTIVE",
            why="waiting threads take the cores away from those that work whenever anything else runs",
            remedy="unset it, or set OMP_WAIT_POLICY=PASSIVE",
        )
    return None


def gpu_is_not_used(gpus: tuple[str, ...], torch_version: str) -> Problem | None:
    """There is an NVIDIA card, and the CPU build of torch."""
    if not gpus or not torch_version.endswith("+cpu"):
        return None
    return Problem(
        what=f"the driver lists {gpus[0]}, and torch {torch_version} cannot use it",
        why="training runs on the CPU",
        remedy="install the CUDA build: make run TORCH=cuda",
    )


def clock_is_behind(now: float, installed: float) -> Problem | None:
    """The clock shows a time before this package was installed."""
    if now >= installed - _DAY:
        return None
    return Problem(
        what=f"the clock of {socket.gethostname()} is {(installed - now) / _DAY:.0f} days behind the installed files",
        why="schedules fire at the wrong time, and certificates are not valid yet",
        remedy="set the clock, and let the system keep it",
    )


def children_can_outlive_us(platform: str) -> Problem | None:
    """The system cannot end a process when its parent is killed."""
    if platform == "linux":
        return None
    return Problem(
        what=f"{platform} has no parent-death signal",
        why="when a run is killed with SIGKILL, its training process or server can stay behind",
        remedy="stop runs with Ctrl-C; after a SIGKILL look for left processes with `ps`",
    )
