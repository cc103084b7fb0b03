from __future__ import annotations

import os
import subprocess
import sys

from zen_pipeline.artifacts import canonical_json
from zen_pipeline.training.machine import bump_calibration, calibration, machine_profile
from zen_pipeline.workspace import Workspace


def test_the_profile_is_stable_and_has_a_canonical_form() -> None:
    assert canonical_json(machine_profile()) == canonical_json(machine_profile())
    profile = machine_profile()
    assert 1 <= profile["cores"] <= (os.cpu_count() or 1)
    assert profile["memory_gib"] >= 1
    assert profile["cpu"]


def test_calibration_counts_and_survives_a_damaged_file(workspace: Workspace) -> None:
    assert calibration(workspace) == 0
    assert [bump_calibration(workspace), bump_calibration(workspace)] == [1, 2]
    assert calibration(workspace) == 2
    (workspace.home / "calibration.json").write_text("{")
    assert calibration(workspace) == 0


def test_neither_profile_nor_stages_import_torch() -> None:
    code = (
        "import sys; import zen_pipeline.stages.resolve, zen_pipeline.stages.pretrain\n"
        "from zen_pipeline.training.machine import machine_profile; machine_profile()\n"
        "heavy = {'torch', 'lightning', 'mlflow', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
