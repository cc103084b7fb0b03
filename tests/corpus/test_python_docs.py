"""Documentation of the running Python, parsed and never imported."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from zen_pipeline.corpus.python_docs import docstrings
from zen_pipeline.corpus.python_docs import source as python_docs
from zen_pipeline.corpus.python_docs.docstrings import Docstring
from zen_pipeline.corpus.records import Record

SOURCE = b'''"""The module."""
raise SystemExit("imported!")

class Shape(Base):
    """A shape."""
    def __init__(self, sides, /, name="x", *args, size: int = 3, **rest):
        """Make it."""
    def _hidden(self):
        """Not public."""
    def area(self):
        r"""The area,
            indented.
        """
        def inner():
            """Not reachable."""

class _Private:
    def method(self):
        """Not public."""

try:
    async def wait(*, timeout): "How long."
except ImportError:
    def wait():
        """The other."""
'''


def test_public_docstrings_come_with_signatures_in_order() -> None:
    assert docstrings.docstrings(SOURCE, "m") == [
        Docstring("module", "m", "", "The module."),
        Docstring("class", "m.Shape", "(sides, /, name='x', *args, size=3, **rest)", "A shape."),
        Docstring("function", "m.Shape.__init__", "(self, sides, /, name='x', *args, size=3, **rest)", "Make it."),
        Docstring("function", "m.Shape.area", "(self)", "The area,\nindented."),
        Docstring("function", "m.wait", "(*, timeout)", "How long."),
        Docstring("function", "m.wait", "()", "The other."),
    ]


@pytest.mark.parametrize(
    "content", [b'"""\0"""', b'def f(:\n  """x"""', b'# -*- coding: nonsense -*-\n"""x"""', b'"""\xff"""']
)
def test_a_file_that_is_not_python_is_an_answer_not_a_crash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(content)
    assert "not valid Python" in str(docstrings.read_file("bad", str(path))["error"])
    assert "cannot be read" in str(docstrings.read_file("gone", str(tmp_path / "gone.py"))["error"])


def test_the_standard_library_is_read_without_its_tests_and_without_site_packages() -> None:
    names = [f.name for f in python_docs.python_files([])]
    assert "python/pathlib.py" in names
    assert names == sorted(names)
    for excluded in ("/test/", "/tests/", "site-packages", "idlelib", "lib2to3", "_vendor"):
        assert not any(excluded in name for name in names)


def test_records_of_the_standard_library_are_deterministic_and_carry_what_tasks_need() -> None:
    first = list(python_docs.read_python_docs([]))
    assert first == list(python_docs.read_python_docs([]))
    records = {r.id: r for r in first if isinstance(r, Record)}
    assert len(records) == sum(isinstance(r, Record) for r in first)  # ids are unique
    record = records["python/function/pathlib.Path.exists"]
    assert record.text.startswith("pathlib.Path.exists(self)\n\n")
    assert record.group == "pathlib"
    assert json.loads(record.meta) == {
        "module": "pathlib",
        "qualname": "pathlib.Path.exists",
        "object": "function",
        "signature": "(self)",
    }
    assert records["python/topic/with"].text.startswith('The "with" statement')
    assert sum(len(r.text) for r in records.values()) > 1_500_000


def test_a_package_that_is_not_installed_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "zen_pipeline"):
        files = python_docs.python_files(["no-such-distribution", "pyyaml"])
    assert "no-such-distribution is not installed" in caplog.text
    assert any(f.name == "pyyaml/yaml/loader.py" and f.module == "yaml.loader" for f in files)


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = python_docs.digest_files([("a", str(path))])
    assert first == python_docs.digest_files([("a", str(path))])
    path.write_text("two")
    assert first != python_docs.digest_files([("a", str(path))])


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from zen_pipeline.corpus.python_docs import source as p; "
        "list(p.read_python_docs(['scikit-learn'])); sys.exit('sklearn' in sys.modules or 'antigravity' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
