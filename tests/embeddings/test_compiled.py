from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from zen_pipeline.embeddings.compiled import on_disk

SOURCE = """
from zen_pipeline.embeddings.compiled import cached

@cached()
def twice(number):
    return 2 * number
"""


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("doubling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_function_is_on_disk_once_it_was_called(tmp_path: Path) -> None:
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)
    first = load(path)
    assert not on_disk(first.twice)
    assert first.twice(21) == 42
    assert on_disk(first.twice)
    assert on_disk(load(path).twice)
