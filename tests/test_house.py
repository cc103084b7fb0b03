"""Rules that hold for the whole repository: what is written in it, what is locked, and what is shipped."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"

# Built in pieces, so that this file does not contain what it looks for.
HOME_FOLDER = re.compile("/" + r"(home|root|Users)/[A-Za-z0-9_.-]+")
INDEX_HOST = re.compile(
    "|".join(re.escape(f"{a}.{b}") for a, b in [("pypi", "org"), ("pythonhosted", "org"), ("download.pytorch", "org")])
)
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".html", ".txt", ".lock", ".sh", ""}
LONGEST = 450  # lines of one module


def _tracked() -> list[Path]:
    """The files of the repository: those that git tracks, or all that are no build output where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    folders = ("zen_pipeline", "flows", "tests", "tools", "docs", "data", "benchmarks")
    return [*ROOT.glob("*.*"), *(p for f in folders for p in (ROOT / f).rglob("*") if p.is_file())]


def _texts() -> list[tuple[Path, str]]:
    return [(p, p.read_text(encoding="utf-8", errors="replace")) for p in _tracked() if p.suffix in TEXT]


@pytest.mark.parametrize("pattern", [HOME_FOLDER, INDEX_HOST], ids=["home folders", "package indexes"])
def test_nothing_names_a_place_of_one_machine(pattern: re.Pattern[str]) -> None:
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in _texts() if (match := pattern.search(text))]
    assert not found, "\n".join(found)


def test_modules_stay_short() -> None:
    long = {
        p.relative_to(ROOT).as_posix(): n for p, t in _texts() if p.suffix == ".py" and (n := t.count("\n")) > LONGEST
    }
    assert not long, f"split these, one idea per file: {long}"


# --- the lock ---------------------------------------------------------------------------------------------------------


def _locked() -> dict[str, str]:
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_every_requirement_is_locked_at_a_version_that_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = _locked()
    wanted = [Requirement(r) for r in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    wrong = [str(r) for r in wanted if not r.specifier.contains(locked.get(canonicalize_name(r.name), "0"))]
    assert not wrong, f"not in {LOCK.name}, or at a version that does not fit; run `make lock`: {wrong}"


def test_the_lock_names_versions_and_nothing_else() -> None:
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*", line)]
    assert not odd, "canonical names and public versions only: no addresses, no local versions such as +cpu"
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert not [line for line in lines if line.startswith(("nvidia-", "cuda-", "triton"))]


# --- the wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel that is built from the tracked files."""
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, so no wheel can be built without a network")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in _tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        folder,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_every_file_of_both_packages(wheel_names: set[str]) -> None:
    ours = {p.relative_to(ROOT).as_posix() for p in _tracked()}
    missing = {name for name in ours if name.startswith(("zen_pipeline/", "flows/"))} - wheel_names
    assert not missing, f"name their suffix in [tool.setuptools.package-data]: {sorted(missing)}"
    assert {"zen_pipeline/presets/laptop.yaml", "zen_pipeline/py.typed", "flows/__init__.py"} <= wheel_names


def test_the_wheel_holds_nothing_else(wheel_names: set[str]) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in wheel_names} == {"zen_pipeline", "flows"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)
