"""Lightning is imported without what only its metrics would use."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from zen_pipeline.training.lean_import import import_lightning
import_lightning()
import lightning.pytorch
print(*{"lightning.pytorch", "matplotlib", "scipy", "transformers"}.intersection(sys.modules))
from transformers import PreTrainedTokenizerFast
"""


def test_a_training_process_does_not_load_what_is_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["lightning.pytorch"]
