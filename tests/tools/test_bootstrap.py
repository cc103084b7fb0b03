"""The installation, with a real environment and a real pip, from wheels that the test makes: no network."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import bootstrap

ROOT = Path(__file__).resolve().parents[2]

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1.0"
"""

# A build backend of this size is all that an editable installation needs.
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/small-1.0-py3-none-any.whl", "w") as wheel:
        info = "small-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "small-1.0-py3-none-any.whl"

METADATA = (
    "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\nRequires-Dist: torch==2.13.0\\n"
    "Provides-Extra: dev\\nRequires-Dist: tester; extra == 'dev'\\n"
)
"""


def make_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """A wheel of one empty module."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bootstrap.Place:
    """A small project with its lock, and an index of three packages in a folder."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    pins = ["setuptools==99.0", f"pip=={ensurepip.version()}", "torch==2.13.0", "tester==1.0"]
    header = (
        "# download core: 1 MB in 2 files\n# download torch-cpu: 2 MB in 1 files\n# download dev: 3 MB in 1 files\n"
    )
    (tmp_path / "requirements.lock").write_text(header + "\n".join(pins) + "\n")
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "setuptools", "99.0")
    make_wheel(wheels, "torch", "2.13.0")
    make_wheel(wheels, "tester", "1.0")
    make_wheel(wheels, "tester", "2.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return bootstrap.Place(tmp_path)


def ensure(place: bootstrap.Place, switch: str = "cpu", dev: bool = False) -> bool:
    return bootstrap.ensure(place, switch=switch, dev=dev, python_named=False)


def installed(place: bootstrap.Place) -> dict[str, str]:
    done = subprocess.run(
        [place.python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    return {item["name"]: item["version"] for item in json.loads(done.stdout)}


@pytest.mark.large
def test_install_finish_repeat_extend_and_switch(place: bootstrap.Place, capfd: pytest.CaptureFixture[str]) -> None:
    # One story, since making an environment takes seconds. It begins with an index that lacks torch.
    torch = next((place.root / "wheels").glob("torch-*"))
    torch.rename(place.root / torch.name)
    with pytest.raises(bootstrap.Stop, match="Start the same command again"):
        ensure(place)
    said = capfd.readouterr().err
    assert "packages 1 MB in 2 files, torch for CPU 2 MB in 1 files" in said
    assert place.installed() == {}
    (place.root / torch.name).rename(torch)
    assert ensure(place)
    assert "making" not in capfd.readouterr().err, "what was there is gone on with"
    assert {"small": "1.0", "torch": "2.13.0", "setuptools": "99.0"}.items() <= installed(place).items()
    assert "tester" not in installed(place)

    shutil.move(place.root / "wheels", place.root / "away")  # what is done needs no index
    assert not ensure(place)
    assert not ensure(place, switch="auto")
    shutil.move(place.root / "away", place.root / "wheels")

    assert ensure(place, dev=True)
    said = capfd.readouterr().err
    assert "tools for the tests 3 MB" in said
    assert "packages 1 MB" not in said
    assert installed(place)["tester"] == "1.0"  # the newer one is not in the lock
    assert not ensure(place), "the tools stay when they are not asked for"

    place.lock.write_text(place.lock.read_text().replace("tester==1.0", "tester==2.0"))
    assert ensure(place)
    assert installed(place)["tester"] == "2.0"

    # The index now has a torch that needs NVIDIA's libraries: the switch replaces the build, once.
    make_wheel(place.root / "wheels", "torch", "2.13.0", requires=("nvidia-runtime",))
    make_wheel(place.root / "wheels", "nvidia_runtime", "1.0")
    assert bootstrap.torch_from_pip(place) == "cuda"
    assert ensure(place, switch="cuda")
    assert "nvidia_runtime" in installed(place)
    assert bootstrap.torch_in_venv(place)[0] == "cuda"
    assert not ensure(place, switch="auto"), "what was chosen once stays"


def test_a_folder_that_is_no_environment_is_left_alone(place: bootstrap.Place) -> None:
    place.venv.mkdir()
    (place.venv / "thesis.txt").write_text("years of work")
    with pytest.raises(bootstrap.Stop, match="not a virtual environment"):
        ensure(place)
    assert (place.venv / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("script", "found"),
    [("echo 'GPU 0: NVIDIA L4'", True), ("echo 'no devices were found'; exit 6", False), ("echo", False)],
)
def test_the_driver_decides_when_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: bool
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert bootstrap.has_nvidia_driver() is found
    assert bootstrap.choose_torch("auto", {}, False) == ("cuda" if found else "cpu")
    assert bootstrap.choose_torch("cpu", {"torch": "cuda"}, True) == "cpu"
    assert bootstrap.choose_torch("auto", {"torch": "cpu"}, True) == "cpu"


def test_the_committed_lock_says_how_much_is_downloaded() -> None:
    sizes = bootstrap.Place(ROOT).downloads()
    assert {"core", "dev", "uv"} <= set(sizes)
    assert int(sizes["core"].split()[0]) > 100


def test_make_lists_its_targets() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "test", "lint", "record", "lock", "clean"):
        assert f"make {target} " in done.stdout


def test_the_torch_of_the_project_is_the_one_that_is_installed() -> None:
    assert f'"{bootstrap.TORCH}"' in (ROOT / "pyproject.toml").read_text()
    assert bootstrap.TORCH in (ROOT / "requirements.lock").read_text().splitlines()
    supported = {f"{major}.{minor}" for major, minor in bootstrap.SUPPORTED}
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in supported
