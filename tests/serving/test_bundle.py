"""What a registered version holds."""

from __future__ import annotations

import json
from pathlib import Path

from zen_pipeline.serving.bundle import read_release


def test_a_release_of_the_first_format_is_read(tmp_path: Path) -> None:
    old = {"format": 1, "kind": "base", "default": "int8", "float_bytes": 5, "test_set": "x"}
    (tmp_path / "release.json").write_text(json.dumps(old))
    found = read_release(tmp_path)
    assert (found.model, found.task, found.default) == ("base", "language", "int8")
