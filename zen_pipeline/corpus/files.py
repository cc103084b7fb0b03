"""The source `files`: finds the files that the user named, and reads each by its format.

Whatever a file holds, reading it yields records and set-aside entries; only a request that cannot be meant (a path
that does not exist, a column that is nowhere) raises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Literal, NamedTuple

from zen_pipeline.corpus.plain_text import read_plain_text
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.corpus.tables import read_csv, read_jsonl, read_parquet
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.logs import get_logger

log = get_logger(__name__)

FORMATS = (".txt", ".md", ".jsonl", ".csv", ".parquet")
SplitText = Literal["auto", "headings", "blank_lines", "file"]

# What comes with a data set and speaks about it.
_ABOUT = re.compile(r"^(readme|license|licence|source|copying|notice)", re.IGNORECASE)
# `test.txt`, `valid-00001.parquet`, but not `testimony.txt`: the role must be a word of its own.
_ROLE = re.compile(r"^(?:(train)|(valid|validation|val|dev)|(test))(?![a-z])", re.IGNORECASE)


class TextFile(NamedTuple):
    """A file to read: its stable name in ids and digests, its place, and the split its name gives."""

    name: str
    path: Path
    split: str | None


class Found(NamedTuple):
    """What lies under the named paths: files to read, and how many were left out and why."""

    files: list[TextFile]
    left_out: dict[str, int]


def find_files(paths: Sequence[str], *, taken: set[str] | None = None) -> Found:
    """The files under the paths, sorted by name.

    A file's name is its place below the named folder, with that folder's own name; for a single file or a glob, the
    folder it lies in. So the name does not depend on where the data lies.

    Args:
        paths: files, folders (searched to any depth) and globs.
        taken: names that other sources use already; the new ones are added.

    Raises:
        ConfigError: a path does not exist, or a glob matches nothing.
        DataError: nothing in them can be read.
    """
    taken = set() if taken is None else taken
    left_out: dict[str, int] = {}
    files: list[TextFile] = []
    seen: set[Path] = set()
    for given in paths:
        for name, path in _expand(given):
            if (real := path.resolve()) in seen:
                continue
            seen.add(real)
            if reason := _why_left_out(path):
                left_out[reason] = left_out.get(reason, 0) + 1
                continue
            files.append(TextFile(_unique(name, taken), path, split_role(path.name)))
    if not files:
        raise DataError(_nothing_found(paths, left_out))
    return Found(sorted(files), left_out)


def _expand(given: str) -> Iterator[tuple[str, Path]]:
    path = Path(given).expanduser()
    try:
        is_file, is_dir = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ConfigError(f"the data path {given[:80]!r} cannot be read: {error.strerror}") from None
    if is_file:
        yield f"{path.absolute().parent.name}/{_printable(path.name)}", path
    elif is_dir:
        top = path.resolve()
        for found in sorted(_walk(path)):
            yield f"{top.name}/{_printable(found.relative_to(path).as_posix())}", found
    elif has_magic(given):
        matches = [Path(m) for m in sorted(glob(str(path), recursive=True)) if Path(m).is_file()]
        if not matches:
            raise ConfigError(f"no file matches {given!r}: check the pattern and the folder that it starts in")
        for found in matches:
            yield f"{found.absolute().parent.name}/{_printable(found.name)}", found
    else:
        raise ConfigError(f"the data path {given!r} does not exist (looked for {path.absolute()})")


def _walk(folder: Path) -> Iterator[Path]:
    """The files below a folder; hidden folders, such as our own `.zen`, are not entered."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in files if (path := Path(parent, name)).is_file())


def _printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _why_left_out(path: Path) -> str:
    if path.name.startswith("."):
        return "hidden files"
    if _ABOUT.match(path.name):
        return "README LICENSE SOURCE"
    if path.suffix.lower() not in FORMATS:
        return "other formats"
    return ""


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}~{number}"
    taken.add(candidate)
    return candidate


def _nothing_found(paths: Sequence[str], left_out: dict[str, int]) -> str:
    seen = ", ".join(f"{count} × {reason}" for reason, count in sorted(left_out.items())) or "no files at all"
    return f"nothing to read in {', '.join(map(repr, paths))}: looked for {' '.join(FORMATS)}, found {seen}"


def split_role(name: str) -> str | None:
    """`train`, `valid` or `test` when the file's name begins with that word (or validation, val, dev)."""
    match = _ROLE.match(name)
    if match is None:
        return None
    return "train" if match[1] else "valid" if match[2] else "test"


def read_files(files: Sequence[TextFile], *, text_column: str, split_text: SplitText) -> Iterator[Record | Aside]:
    """The records of all files, file by file.

    Raises:
        DataError: a table has no such column; a file cannot be opened.
    """
    for file in files:
        suffix = file.path.suffix.lower()
        log.debug("reading %s", file.path)
        try:
            if suffix in (".txt", ".md"):
                yield from read_plain_text(file.path, file.name, file.split, mode=split_text)
            else:
                yield from _TABLES[suffix](file.path, file.name, file.split, text_column)
        except OSError as error:
            raise DataError(f"cannot read {file.path}: {error.strerror or error}") from error


_TABLES: dict[str, Callable[[Path, str, str | None, str], Iterator[Record | Aside]]] = {
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
