"""Python that we start finds this package and leaves the working folder alone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.traps import set_traps, sprung
from zen_pipeline.subprocesses import python_command, python_environment, safe_path_for_children

ROOT = Path(__file__).resolve().parents[1]
GRANDCHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import email, calendar'], check=True)"


@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("path", ["", os.pathsep + "more", "more" + os.pathsep + os.pathsep])
@pytest.mark.parametrize("code", ["import email, zen_pipeline.errors", GRANDCHILD])
def test_a_child_and_its_own_children_import_nothing_from_the_working_folder(
    code: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    subprocess.run(python_command("-c", code), env=python_environment(), check=True)


@pytest.mark.usefixtures("traps")
def test_children_of_a_library_leave_it_alone_while_that_is_asked() -> None:
    before = dict(os.environ)
    with safe_path_for_children():
        subprocess.run([sys.executable, "-c", "import email"], check=True)
    assert dict(os.environ) == before


def test_compiled_code_is_not_loaded_from_where_a_file_in_the_working_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".numba_config.yaml").write_text("cache_dir: elsewhere\n")
    code = "from numba import config; assert config.CACHE_DIR == '', config.CACHE_DIR"
    subprocess.run(python_command("-c", code), env=python_environment(), check=True)


def test_the_command_itself_is_not_led_astray_when_it_is_started_as_a_module(tmp_path: Path) -> None:
    set_traps(tmp_path)
    before_our_first_line = ("zen_pipeline", "runpy", "pkgutil", "importlib", "site")
    for name in before_our_first_line:
        (tmp_path / f"{name}.py").unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "zen_pipeline", "config", "show"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, sprung(tmp_path)) == (0, []), done.stderr


def test_python_is_started_by_one_module_alone() -> None:
    def names_python(path: Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        return any(isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable" for node in nodes)

    starting = [p for package in ("zen_pipeline", "flows") for p in (ROOT / package).rglob("*.py") if names_python(p)]
    assert [p.name for p in starting] == ["subprocesses.py"]
