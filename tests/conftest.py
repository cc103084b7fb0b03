"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from flows.server import LocalServer, new_secret
from tests.traps import set_traps, sprung
from tests.zen_command import Zen
from zen_pipeline.workspace import Workspace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """The folder of one real data set, or a skip that names what is missing."""
    home = Path(os.environ.get("ZEN_SHARED_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (home / name).is_dir():
            pytest.skip(f"the data set {name} is not in {home}; set ZEN_SHARED_DATA to the folder that has it")
        return home / name

    return find


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with modules that nobody may import; the test fails when somebody did."""
    folder = tmp_path / "traps"
    folder.mkdir()
    set_traps(folder)
    monkeypatch.chdir(folder)
    yield
    assert sprung(folder) == []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A new, empty workspace."""
    home = tmp_path / ".zen"
    home.mkdir()
    return Workspace(home)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`prefect/` and `mlflow/` as one first command leaves them, to be copied into a new `.zen`.

    Making their tables takes seconds of a processor, so all workers of one test run share them.
    """
    base = tmp_path_factory.getbasetemp()
    project = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "with-databases"
    with FileLock(project.with_suffix(".lock")):
        if not project.exists():
            making = tmp_path_factory.mktemp("with-databases")
            (making / "a.txt").write_text("One paragraph.\n\nAnother one.\n")
            done = Zen(making).process("collect", "--data", "a.txt")
            assert done.returncode == 0, done.stderr
            making.rename(project)
    return project / ".zen"


@pytest.fixture(scope="session")
def shared_prefect(databases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that names one Prefect server, for all runs that do not look at a server of their own."""
    home = tmp_path_factory.mktemp("prefect") / "home"
    shutil.copytree(databases / "prefect", home)
    server = LocalServer(home, secret=new_secret())
    server.wait_ready()
    yield {"PREFECT_API_URL": server.address, "PREFECT_API_AUTH_STRING": str(server.secret)}
    if "prefect" in sys.modules:  # of runs in this process; else it goes on asking a server that has gone
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=5, at_exit=True)
    server.stop()


@pytest.fixture(scope="session")
def empty_database(databases: Path) -> Path:
    """A database with MLflow's tables and no model."""
    return databases / "mlflow" / "mlflow.db"


@pytest.fixture(scope="session")
def small_tokenizer() -> Callable[[Path, list[str]], Path]:
    """Trains a byte-level BPE with the project's special tokens; fills the folder that it is given."""
    from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer

    def fill(folder: Path, texts: list[str]) -> Path:
        train_tokenizer(texts, 300).save(folder)
        return folder

    return fill


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
