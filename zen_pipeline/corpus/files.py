"""The source `files`: finds the files that the user named. `reading` reads them.

Files of this machine, files at addresses, and data sets of a hub; plain, compressed, or in archives.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from zen_pipeline.corpus import addresses, archives, huggingface
from zen_pipeline.corpus.kinds import LANGUAGE_CODES
from zen_pipeline.corpus.opening import COMPRESSIONS, STANDARD, Limits, TextFile
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.files import expanded

TEXT_FORMATS = (".txt", ".md", ".html", ".htm")
TABLE_FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
FORMATS = (*TEXT_FORMATS, *TABLE_FORMATS, *archives.FORMATS)
_SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".tzst": ".tar.zst"}

# What comes with a data set and speaks about it.
_ABOUT = re.compile(r"^(readme|license|licence|source|copying|notice|_about)", re.IGNORECASE)
# `test.txt`, `valid-00001.parquet`, but not `testimony.txt`: the role must be a word of its own.
_ROLE = re.compile(r"^(?:(train)|(valid|validation|val|dev)|(test))(?![a-z])", re.IGNORECASE)


class Found(NamedTuple):
    """What lies under the named paths: files to read, and how many were left out and why."""

    files: list[TextFile]
    left_out: dict[str, int]


def find_files(paths: Sequence[str], *, taken: set[str] | None = None, limits: Limits = STANDARD) -> Found:
    """The files under the paths, sorted by name.

    A file's name is its place below the named folder, with that folder's own name; for a single file or a glob, the
    folder it lies in. So the name does not depend on where the data lies.

    Args:
        paths: files, folders (searched to any depth) and globs, here or at addresses; `hf://dataset/split`.
        taken: names that other sources use already; the new ones are added.
        limits: how much of each file is read at most.

    Raises:
        ConfigError: a path does not exist, or a glob matches nothing.
        DataError: nothing in them can be read.
    """
    taken = set() if taken is None else taken
    left_out: dict[str, int] = defaultdict(int)
    files: list[TextFile] = []
    seen: set[str] = set()
    for given in paths:
        if given.startswith(huggingface.PREFIX):
            files.append(huggingface.find(given))
            continue
        for name, address in _expand(given, left_out):
            real = address if addresses.is_address(address) else str(Path(address).resolve())
            if real in seen:
                continue
            seen.add(real)
            found = typed(name, address, limits)
            if isinstance(found, str):
                left_out[found] += 1
            else:
                header = partial(addresses.header_charset, address)
                files.append(replace(found, name=_unique(name, taken), header=header))
    files = sorted(_paired(files, left_out), key=lambda file: file.name)
    if not files:
        raise DataError(_nothing_found(paths, left_out))
    return Found(files, dict(left_out))


def typed(name: str, address: str, limits: Limits) -> TextFile | str:
    """The file with the format, compression and role that its name says, or why it is left out."""
    base = PurePosixPath(name).name
    if base.startswith("."):
        return "hidden files"
    if _ABOUT.match(base):
        return "README LICENSE SOURCE"
    suffixes = [s.lower() for s in PurePosixPath(base).suffixes]
    suffixes[-1:] = ["." + s for s in _SHORT.get("".join(suffixes[-1:]), "".join(suffixes[-1:])).split(".") if s]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    if compression:
        suffixes.pop()
    form = suffixes[-1] if suffixes else ""
    if form not in FORMATS and form[1:] not in LANGUAGE_CODES:
        return "other formats"
    return TextFile(name, address, split_role(base), form, compression, partial(_open, address), limits=limits)


def _open(address: str) -> BinaryIO:
    return addresses.open_address(address) if addresses.is_address(address) else Path(address).open("rb")


def member(archive: TextFile, name: str) -> TextFile | str:
    """A member of an archive as a file to read, or why it is left out; a name without a role has the archive's."""
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
        return "hidden files"
    found = typed(f"{archive.name}/{name}", f"{archive.address}/{name}", archive.limits)
    if isinstance(found, str):
        return found
    if found.format in archives.FORMATS:
        return "archives in archives"
    if found.format not in FORMATS:
        return "other formats"
    return replace(found, split=found.split or archive.split)


def _paired(files: list[TextFile], left_out: dict[str, int]) -> Iterator[TextFile]:
    """Files whose suffix is a language become pairs with the one file that differs in it alone."""
    sides: dict[tuple[str, str], list[TextFile]] = defaultdict(list)
    for file in files:
        if file.format in FORMATS or file.format == huggingface.FORMAT:
            yield file
        else:
            place = file.address.rpartition(file.format)[0]
            sides[place, file.compression].append(file)
    for group in sides.values():
        if len(group) == 2:
            first, second = sorted(group, key=lambda file: (file.format != ".en", file.name))
            yield replace(first, partner=second)
        else:
            left_out["files in one language without a partner"] += len(group)


def _expand(given: str, left_out: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Names and addresses of the files under a path or an address; what is no file there is counted."""
    if given.startswith("file://"):
        given = unquote(urlsplit(given).path)
    if addresses.is_address(given):
        yield from addresses.find(given)
        return
    path = expanded(given)
    try:
        is_file, is_dir = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ConfigError(f"the data path {given[:80]!r} cannot be read: {error.strerror}") from None
    if is_file:
        yield _below_its_folder(path)
    elif is_dir:
        top = path.resolve()
        for found in sorted(_walk(path)):
            if not found.is_file():
                left_out["pipes, devices and links that lead to no file"] += 1
                continue
            yield _printable(f"{top.name}/{found.relative_to(path).as_posix()}"), str(found)
    elif has_magic(given):
        matches = [Path(m) for m in sorted(glob(str(path), recursive=True)) if Path(m).is_file()]
        if not matches:
            raise ConfigError(f"no file matches {given!r}: check the pattern and the folder that it starts in")
        yield from map(_below_its_folder, matches)
    elif path.exists():
        raise ConfigError(f"the data path {given!r} is neither a file nor a folder: save what it gives in a file")
    else:
        raise ConfigError(f"the data path {given!r} does not exist (looked for {path.absolute()})")


def _below_its_folder(path: Path) -> tuple[str, str]:
    return _printable(f"{path.absolute().parent.name}/{path.name}"), str(path)


def _walk(folder: Path) -> Iterator[Path]:
    """What lies below a folder; hidden folders, such as our own `.zen`, are not entered."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files)


def _printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


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
