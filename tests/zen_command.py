"""The real `zen` command in one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Zen:
    """The real command in one folder."""

    folder: Path

    def __call__(
        self, *arguments: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `zen ARGUMENTS` to its end."""
        kept = {k: v for k, v in os.environ.items() if k != "ZEN_HOME"}
        return subprocess.run(
            [sys.executable, "-P", "-m", "zen_pipeline", *arguments],  # as the installed command looks for modules
            cwd=cwd or self.folder,
            env={**kept, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def json(self, *arguments: str, cwd: Path | None = None) -> Any:
        """What `zen ARGUMENTS --json` prints; it must be one JSON object and nothing else."""
        result = self(*arguments, "--json", cwd=cwd)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)
