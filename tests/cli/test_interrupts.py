"""Ctrl-C in every stage of the real chain: one line, the right code, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL
from tests.zen_command import ROOT, Zen
from zen_pipeline.stages import STAGE_NAMES
from zen_pipeline.workspace import Workspace

pytestmark = pytest.mark.slow


def interrupt_in(stage: str, folder: Path) -> tuple[int, str]:
    """Run `zen run` in `folder` and press Ctrl-C when the stage says that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zen_pipeline", "run"],
        cwd=folder,
        env={**{k: v for k, v in os.environ.items() if k != "ZEN_HOME"}, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if f"{stage}: started" in line:
            break
    process.send_signal(signal.SIGINT)
    seen += process.communicate(timeout=120)[1]
    return process.returncode, seen


def test_ctrl_c_in_any_stage_ends_with_130_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "zen.yaml").write_text(SMALL)
    workspace = Workspace(tmp_path / ".zen")
    for number, stage in enumerate(STAGE_NAMES):
        code, seen = interrupt_in(stage, tmp_path)
        assert code == 130, seen
        assert seen.splitlines()[-1].startswith("interrupted: "), seen
        assert "Traceback" not in seen
        record = workspace.runs()[-1]
        assert record.status == "interrupted"
        # The stages before it are in the store; it is the one that did not end.
        assert [(s.name, s.status) for s in record.stages] == [
            *((name, "cached" if name != STAGE_NAMES[number - 1] else "ran") for name in STAGE_NAMES[:number]),
            (stage, "failed"),
        ]
    result = Zen(tmp_path).json("run")
    assert [s["status"] for s in result["stages"]] == ["cached"] * 9 + ["ran"]
    assert result["released"]["alias"] == "champion"
