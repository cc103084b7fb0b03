"""The source `python_docs`: the documentation of the Python installation in use.

Nothing is downloaded and nothing is imported: the files of the standard library and of the listed distributions are
found through their metadata and parsed as text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from zen_pipeline.corpus.language.identify import UNKNOWN
from zen_pipeline.corpus.python_docs import docstrings
from zen_pipeline.corpus.python_docs.docstrings import Docstring
from zen_pipeline.corpus.reading.digests import cores, digest_files
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.errors import DataError
from zen_pipeline.logs import get_logger
from zen_pipeline.subprocesses import python_command

log = get_logger(__name__)

# Tests and examples document nothing; copies of other projects would be counted twice; `site-packages` lies inside
# the standard library's folder on many installations and belongs to somebody else. Folders with a leading underscore
# hold what a package does not document.
_EXCLUDED_WORDS = """
    test tests idle_test idlelib lib2to3 site-packages dist-packages turtledemo __pycache__ _vendor
    vendor vendored _vendored _vendored_packages externals extern thirdparty third_party
    node_modules benchmarks examples
"""
EXCLUDED = frozenset(_EXCLUDED_WORDS.split())
_DOCUMENTED = frozenset({"_core"})  # numpy keeps its documented functions there
_BATCH = 4 << 20  # bytes of source that one parsing process is given: large for its start, small for the whole


class PythonFile(NamedTuple):
    """One file to read: its name in the digest, its module, its place."""

    name: str
    module: str
    path: str
    size: int


def python_files(packages: Sequence[str]) -> list[PythonFile]:
    """The files of the standard library and of the installed ones among `packages`, sorted by name.

    A package that is not installed is named in a warning and left out.
    """
    found = {f.path: f for f in _standard_library()}
    for package in packages:
        found.update({f.path: f for f in _distribution_files(package)})
    return sorted(found.values())


def _standard_library() -> Iterator[PythonFile]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not _is_excluded(f))
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                yield from _python_file("python", path.relative_to(root).as_posix(), path)


def _is_excluded(folder: str) -> bool:
    return folder in EXCLUDED or (folder.startswith("_") and folder not in _DOCUMENTED)


def _distribution_files(package: str) -> Iterator[PythonFile]:
    try:
        files = distribution(package).files
    except PackageNotFoundError:
        log.warning("python_docs: the package %s is not installed and is left out", package)
        return
    for file in files or ():
        if file.suffix == ".py" and ".." not in file.parts and not any(map(_is_excluded, file.parts[:-1])):
            yield from _python_file(package, file.as_posix(), Path(str(file.locate())))


def _python_file(owner: str, relative: str, path: Path) -> Iterator[PythonFile]:
    stem = PurePosixPath(relative).stem
    if stem.startswith("test_") or stem.endswith("_test") or stem == "conftest":
        return
    parts = list(PurePosixPath(relative).with_suffix("").parts)
    module = ".".join(parts[:-1] if stem == "__init__" and len(parts) > 1 else parts)
    try:
        size = path.stat().st_size
    except OSError:  # listed in the metadata but removed since
        return
    yield PythonFile(f"{owner}/{relative}", module, str(path), size)


def digest(packages: Sequence[str]) -> str:
    """What the source would read, as one digest."""
    return digest_files([(f.name, f.path) for f in python_files(packages)])


def read_python_docs(packages: Sequence[str]) -> Iterator[Record | Aside]:
    """One record per documented module, class, function and language topic, in a fixed order.

    The text is a heading (`pathlib.Path.exists(self)`), a blank line and the docstring.

    Raises:
        DataError: no file of the standard library was found.
    """
    files = python_files(packages)
    if not files:
        raise DataError(
            f"python_docs found no Python files in {sysconfig.get_paths()['stdlib']}: "
            "use an installation of Python that has its standard library as .py files, or name your own text"
        )
    log.info("python_docs: reading %d files, %.0f MB", len(files), sum(f.size for f in files) / 1e6)
    seen: Counter[str] = Counter()
    for file, answer in _parse(files):
        if "error" in answer:
            where = f"line {answer['line']}" if answer["line"] else "file"
            yield Aside(file.name, where, answer["error"], "")
            continue
        for values in answer["docs"]:
            yield _record(file, Docstring(*values), seen)


def _record(file: PythonFile, doc: Docstring, seen: Counter[str]) -> Record:
    identity = f"python/{doc.object}/{doc.qualname}"
    seen[identity] += 1
    if seen[identity] > 1:  # defined again, for another platform or version
        identity = f"{identity}~{seen[identity]}"
    meta = {"module": file.module, "qualname": doc.qualname, "object": doc.object, "signature": doc.signature}
    return Record(
        id=identity,
        group=f"topic {doc.qualname}" if doc.object == "topic" else file.module,
        text=doc.doc if doc.object == "topic" else f"{heading(doc)}\n\n{doc.doc}",
        source=file.name.split("/", 1)[0],
        language=UNKNOWN,
        meta=json.dumps(meta, ensure_ascii=False),
    )


def heading(doc: Docstring) -> str:
    """The first line of a record: what is documented, as one would write it in a text."""
    prefix = "" if doc.object == "function" else f"{doc.object} "
    return f"{prefix}{doc.qualname}{doc.signature}"


def _parse(files: Sequence[PythonFile]) -> Iterator[tuple[PythonFile, dict[str, Any]]]:
    """Each file with what the parser says about it, in order; the parsing is done by one process per core."""
    batches: list[list[PythonFile]] = [[]]
    size = 0
    for file in files:
        if size > _BATCH:
            batches.append([])
            size = 0
        batches[-1].append(file)
        size += file.size
    pool = ThreadPoolExecutor(min(cores(), 8))
    try:
        for batch, answers in zip(batches, pool.map(_parse_batch, batches), strict=True):
            yield from zip(batch, answers, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _parse_batch(batch: Sequence[PythonFile]) -> list[dict[str, Any]]:
    """Run the parser over one batch in a process of its own.

    A plain child running a script, not `multiprocessing`: that would import the caller's main module again.
    """
    lines = "".join(json.dumps([f.module, f.path]) + "\n" for f in batch)
    command = python_command("-I", "-S", "-X", "utf8", docstrings.__file__)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, encoding="utf-8", check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(answers) != len(batch):
        complaint = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DataError(f"python_docs: the parser ended with code {done.returncode}: {complaint[0]}")
    return answers
