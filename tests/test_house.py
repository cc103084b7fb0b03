"""Rules that hold for the whole repository: what is written in it, what is locked, and what is shipped."""

from __future__ import annotations

import ast
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


# --- what is declared -------------------------------------------------------------------------------------------------

# Declared, and never imported: programs, plugins that others find by name, types.
NOT_IMPORTED = {"pytest-timeout", "pytest-xdist", "ruff", "mypy", "types-pyyaml", "types-psutil", "pandas-stubs"}
NOT_IMPORTED |= {"s3fs", "gcsfs"}  # by fsspec, for s3:// and gs://
NOT_IMPORTED |= {"matplotlib"}  # its documentation is part of the default corpus
# Not declared: what every environment has, and what is compared with where somebody has built it.
ANYWAY = {"pip", "llama-cpp"}
OURS = {"zen_pipeline", "flows", "tests", "tools", "benchmarks"}
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn"}  # where the name of an import is another


def _imported(folder: str) -> dict[str, set[str]]:
    """Distributions whose packages a folder's files import, with the files."""
    found: dict[str, set[str]] = {}
    for path in (p for p in _tracked() if p.suffix == ".py" and p.is_relative_to(ROOT / folder)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _modules(node):
                package = name.partition(".")[0]
                if package not in OURS and package not in sys.stdlib_module_names:
                    name = str(canonicalize_name(DISTRIBUTIONS.get(package, package)))
                    found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""] if node.level == 0 else []
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return []


def _declared() -> dict[str, set[str]]:
    """Canonical names by group: `core`, and the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    return {group: {str(canonicalize_name(Requirement(r).name)) for r in wanted} for group, wanted in groups.items()}


def test_what_the_packages_import_is_declared() -> None:
    declared = _declared()
    shipped = declared["core"].union(*(names for group, names in declared.items() if group not in {"dev", "peers"}))
    everything = shipped.union(*declared.values()) | ANYWAY
    for folder, allowed in {
        "zen_pipeline": shipped,
        "flows": shipped,
        "tests": everything,
        "tools": everything,
    }.items():
        undeclared = {name: files for name, files in _imported(folder).items() if name not in allowed}
        assert not undeclared, f"imported in {folder}/ and not in pyproject.toml: {undeclared}"


def test_what_is_declared_is_imported() -> None:
    shipped = _imported("zen_pipeline").keys() | _imported("flows").keys()
    everywhere = shipped | set().union(*map(_imported, ("tests", "tools", "benchmarks")))
    for group, names in _declared().items():
        used = everywhere if group in {"dev", "peers"} else shipped
        assert not (unused := names - used - NOT_IMPORTED), f"declared in {group} and never imported: {unused}"


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
