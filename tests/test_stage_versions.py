"""A stage whose code changed must say whether its results changed: otherwise the store serves stale ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.module_graph import closure, closure_digest, modules
from tools.record_stages import RECORD, stage_versions

HOW_TO_GO_ON = """
{stages}: the code changed (the stage's module or one that it imports) since tests/stage_versions.json was written.
- Would the same inputs now give another result, even slightly? Raise STAGE_VERSION in zen_pipeline/stages/NAME.py
  for each stage of which that is true, so that stored results are not used again; then run `make record`.
- Is the result the same (a rename, a message, a faster way, a comment in a string)? Run `make record` alone.
"""


def test_no_stage_changed_without_being_recorded() -> None:
    recorded = json.loads(RECORD.read_text())
    found = stage_versions()
    changed = sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))
    assert not changed, HOW_TO_GO_ON.format(stages=", ".join(changed))


def _package(root: Path, **sources: str) -> Path:
    for folder in ("zen_pipeline", "zen_pipeline/stages", "flows"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "__init__.py").touch()
    for name, source in sources.items():
        (root / "zen_pipeline" / f"{name.replace('__', '/')}.py").write_text(source)
    return root


STAGE = "from zen_pipeline import far\nSTAGE_VERSION = 3\ndef build():\n    return far.near()\n"
FAR = "def near():\n    from zen_pipeline.deep import value\n    return value\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return _package(tmp_path / "a", stages__one=STAGE, far=FAR, deep="value = 1\n", unused="value = 1\n")


def _variant(tmp_path: Path, **changed: str) -> Path:
    return _package(tmp_path / "b", **({"stages__one": STAGE, "far": FAR, "deep": "value = 1\n"} | changed))


def test_the_closure_follows_imports_inside_functions(package: Path) -> None:
    name = "zen_pipeline.stages.one"
    expected = {"zen_pipeline", "zen_pipeline.deep", "zen_pipeline.far", "zen_pipeline.stages", name}
    assert set(closure(name, package)) == expected
    assert "zen_pipeline.unused" in modules(package)


def test_the_closure_follows_the_names_in_a_registry(tmp_path: Path) -> None:
    far = "TASKS = {'deep': 'zen_pipeline.deep'}\ndef near():\n    return TASKS\n"
    assert "zen_pipeline.deep" in closure("zen_pipeline.stages.one", _variant(tmp_path, far=far))


def test_the_version_is_read_without_importing(package: Path) -> None:
    record = stage_versions(package)
    assert record["one"]["version"] == 3
    assert set(record) == {"one"}


def test_comments_docstrings_and_formatting_do_not_count(package: Path, tmp_path: Path) -> None:
    far = '''"""A module."""
def near( ):
    """Say something."""
    # why
    from zen_pipeline.deep import value
    return (value)
'''
    other = _variant(tmp_path, far=far)
    assert closure_digest("zen_pipeline.stages.one", other) == closure_digest("zen_pipeline.stages.one", package)


@pytest.mark.parametrize("changed", [{"deep": "value = 2\n"}, {"far": FAR.replace("return value", "return -value")}])
def test_code_far_below_a_stage_counts(package: Path, tmp_path: Path, changed: dict[str, str]) -> None:
    other = _variant(tmp_path, **changed)
    assert closure_digest("zen_pipeline.stages.one", other) != closure_digest("zen_pipeline.stages.one", package)
