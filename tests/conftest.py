"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
def workspace(tmp_path: Path) -> Workspace:
    """A new, empty workspace."""
    home = tmp_path / ".zen"
    home.mkdir()
    return Workspace(home)
