"""The source `files`: finds the files that the user named. `reading` reads them.

Files of this machine, files at addresses, and data sets of a hub; plain, compressed, or in archives.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from zen_pipeline.corpus.reading import archives, huggingface
from zen_pipeline.corpus.reading import remote as addresses
from zen_pipeline.corpus.reading.opening import COMPRESSIONS, STANDARD, Limits, TextFile
from zen_pipeline.corpus.reading.pairs import ending_language, unlike_translations
from zen_pipeline.corpus.reading.roles import role_of
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.files import expanded
from zen_pipeline.logs import get_logger

log = get_logger(__name__)

TEXT_FORMATS = (".txt", ".md", ".html", ".htm")
TABLE_FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
FORMATS = (*TEXT_FORMATS, *TABLE_FORMATS, *archives.FORMATS)
_SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".tzst": ".tar.zst"}

# What comes with a data set and speaks about it, as prose or without an ending.
_ABOUT = re.compile(r"(?:read_?me|licen[cs]e)(?:[-_.].*)?|copying|notice|sources?|(?:.*_)?about", re.IGNORECASE)
_PROSE = ("", ".txt", ".md", ".rst", ".html")

ABOUT, HIDDEN, OTHER = "README LICENSE SOURCE", "hidden files", "other formats"
_LEADS_OUT = "links that lead out of the folder: name what they lead to if it belongs to the data"


class Found(NamedTuple):
    """What lies under the named paths: files to read, and how many were left out and why."""

    files: list[TextFile]
    left_out: dict[str, int]


class _Place(NamedTuple):
    """Where a file lies.

    Attributes:
        name: its place below the named folder, with that folder's own name.
        address: the path or address.
        named: the user wrote its name, so that it is read whatever it is called.
    """

    name: str
    address: str
    named: bool = False


def find_files(
    paths: Sequence[str],
    *,
    taken: set[str] | None = None,
    limits: Limits = STANDARD,
    languages: Sequence[str] | None = None,
) -> Found:
    """The files under the paths, sorted by name.

    A file's name is its place below the named folder, with that folder's own name; for a single file or a glob, the
    folder it lies in. So the name does not depend on where the data lies.

    Args:
        paths: files, folders (searched to any depth) and globs, here or at addresses; `hf://dataset/split`.
        taken: names that other sources use already; the new ones are added.
        limits: how much of each file is read at most.
        languages: of files with the same lines in several, those to read; None for all.

    Raises:
        ConfigError: a path does not exist, or a glob matches nothing.
        DataError: nothing in them can be read.
    """
    taken = set() if taken is None else taken
    left_out: Counter[str] = Counter()
    files: list[TextFile] = []
    named: set[str] = set()
    seen: set[str] = set()
    for given in paths:
        if given.startswith(huggingface.PREFIX):
            files.append(huggingface.find(given))
            continue
        for place in _expand(given, left_out):
            address = place.address
            real = address if addresses.is_address(address) else os.path.realpath(address)
            if real in seen:
                left_out["files that are named twice"] += 1
                continue
            seen.add(real)
            found = typed(place.name, address, limits, named=place.named)
            if isinstance(found, str):
                left_out[found] += 1
                continue
            if place.named:
                named.add(address)
            header = partial(addresses.header_charset, address)
            files.append(replace(found, name=_unique(found.name, taken), header=header))
    files = sorted(_with_partners(files, named, languages, left_out), key=lambda file: file.name)
    if not files:
        raise DataError(_nothing_found(paths, left_out))
    return Found(files, dict(left_out))


def typed(name: str, address: str, limits: Limits, *, named: bool = False) -> TextFile | str:
    """The file with the format, compression and role that its name says, or why it is left out.

    Args:
        name: its place in the data.
        address: where it lies.
        limits: how much of it is read at most.
        named: read it whatever it is called: what has no known ending is text.
    """
    base = PurePosixPath(name).name
    if base.startswith(".") and not named:
        return HIDDEN
    suffixes = [s.lower() for s in PurePosixPath(base).suffixes]
    suffixes[-1:] = ["." + s for s in _SHORT.get("".join(suffixes[-1:]), "".join(suffixes[-1:])).split(".") if s]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    if compression:
        suffixes.pop()
    form = suffixes[-1] if suffixes else ""
    if not named and _speaks_about_the_data(base, form):
        return ABOUT
    if form not in FORMATS and not ending_language(form[1:]):
        if not named:
            return OTHER
        form = ".txt"
    role = role_of(name)
    split, by = (role.split, role.by) if role is not None else (None, "")
    return TextFile(name, address, split, form, compression, partial(_open, address), limits=limits, role=by)


def _speaks_about_the_data(base: str, form: str) -> bool:
    """True if a file of a folder is about the data: `LICENSE-MIT`, `README.zh.md`; `SOURCE.txt`, not `source.txt`."""
    if form in FORMATS and form not in _PROSE:
        return False
    stem = base[: len(base) - len(form)] if form in _PROSE else base
    return _ABOUT.fullmatch(stem) is not None and (not stem.lower().startswith("source") or stem.isupper())


def _open(address: str) -> BinaryIO:
    return addresses.open_address(address) if addresses.is_address(address) else Path(address).open("rb")


def member(archive: TextFile, name: str) -> TextFile | str:
    """A member of an archive as a file to read, or why it is left out; a name without a role has the archive's."""
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
        return HIDDEN
    found = typed(f"{archive.name}/{name}", f"{archive.address}/{name}", archive.limits)
    if isinstance(found, str):
        return found
    if found.format in archives.FORMATS:
        return "archives in archives"
    if found.format not in FORMATS:
        return OTHER
    return replace(found, split=found.split or archive.split, role=found.role or archive.role)


def _with_partners(
    files: list[TextFile], named: set[str], languages: Sequence[str] | None, left_out: Counter[str]
) -> Iterator[TextFile]:
    """Files that differ in the language that their ending names become one with partners, if their text agrees."""
    groups: dict[tuple[str, str], list[TextFile]] = defaultdict(list)
    wanted = {ending_language(language) or language for language in languages or ()}
    for file in files:
        if file.format in FORMATS or file.format == huggingface.FORMAT:
            yield file
        elif wanted and ending_language(file.format[1:]) not in wanted:
            left_out["files in other languages than collect.sources.languages"] += 1
        else:
            groups[file.address.rpartition(file.format)[0], file.compression].append(file)
    for group in groups.values():
        why = unlike_translations(group) if len(group) > 1 else "files in one language without a partner"
        if not why:
            first, *others = sorted(group, key=lambda file: (file.format != ".en", file.name))
            _tell_languages(group)
            yield replace(first, partners=tuple(others))
            continue
        for file in group:
            if file.address in named:
                yield replace(file, format=".txt")
            else:
                left_out[why] += 1


def _tell_languages(group: list[TextFile]) -> None:
    if len(group) > 2:
        endings = " ".join(sorted(file.format[1:] for file in group))
        log.info(
            "%s: the same lines in %s, so each becomes a pair with each; choose some with collect.sources.languages",
            group[0].name.rpartition(".")[0],
            endings,
        )


def _expand(given: str, left_out: Counter[str]) -> Iterator[_Place]:
    """The files under a path or an address; what is no file there is counted."""
    if given.startswith("file://"):
        given = unquote(urlsplit(given).path)
    if addresses.is_address(given):
        found = list(addresses.find(given))
        yield from (_Place(name, address, named=len(found) == 1 and address == given) for name, address in found)
        return
    path = expanded(given)
    try:
        is_file, is_dir = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ConfigError(f"the data path {given[:80]!r} cannot be read: {error.strerror}") from None
    if is_file:
        yield _below_its_folder(path)
    elif is_dir:
        yield from _in_folder(path, left_out)
    elif has_magic(given):
        yield from _matches(path, given, left_out)
    elif path.exists():
        raise ConfigError(f"the data path {given!r} is neither a file nor a folder: save what it gives in a file")
    else:
        raise ConfigError(f"the data path {given!r} does not exist (looked for {path.absolute()})")


def _matches(pattern: Path, given: str, left_out: Counter[str]) -> Iterator[_Place]:
    """The files that a pattern names, as a shell would expand it: folders among them are searched."""
    plain = next(folder for folder in pattern.absolute().parents if not has_magic(str(folder)))
    matches = [Path(match) for match in sorted(glob(str(pattern), recursive=True))]
    if not any(match.is_file() or match.is_dir() for match in matches):
        raise ConfigError(f"no file matches {given!r}: check the pattern and the folder that it starts in")
    for match in matches:
        if (why := _not_inside(match, plain)) is not None:
            left_out[why] += 1
        elif match.is_file():
            yield _below_its_folder(match)
        elif not match.is_dir():
            left_out[_NO_FILE] += 1
        elif "**" not in given:  # which matches what lies in the folder too
            yield from _in_folder(match, left_out)


def _below_its_folder(path: Path) -> _Place:
    return _Place(f"{_printable(path.absolute().parent.name)}/{_printable(path.name)}", str(path), named=True)


_NO_FILE = "pipes, devices and links that lead to no file"


def _in_folder(folder: Path, left_out: Counter[str]) -> Iterator[_Place]:
    """The files below a folder; hidden folders, such as our own `.zen`, are not read, and links never followed out."""
    top = folder.resolve()
    places = []
    for parent, folders, names in os.walk(folder, onerror=lambda _: left_out.update(["folders that may not be read"])):
        kept = []
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink():
                left_out[_not_inside(path, top) or "links to folders of the data"] += 1
            elif name.startswith("."):
                left_out["files in hidden folders"] += sum(len(files) for _, _, files in os.walk(path))
            else:
                kept.append(name)
        folders[:] = kept
        places += [Path(parent, name) for name in names]
    for path in sorted(places):
        if (why := _not_inside(path, top)) is not None:
            left_out[why] += 1
        elif not path.is_file():
            left_out[_NO_FILE] += 1
        else:
            yield _Place(f"{_printable(top.name)}/{_printable(path.relative_to(folder).as_posix())}", str(path))


def _not_inside(path: Path, folder: Path) -> str | None:
    """Why a link is not followed: it leads out of the folder, or to what is hidden there."""
    real = Path(os.path.realpath(path))
    top = Path(os.path.realpath(folder))
    if not real.is_relative_to(top):
        return _LEADS_OUT
    if path.is_symlink() and any(part.startswith(".") for part in real.relative_to(top).parts):
        return HIDDEN
    return None


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


def _nothing_found(paths: Sequence[str], left_out: Counter[str]) -> str:
    seen = ", ".join(f"{count} × {reason}" for reason, count in sorted(left_out.items())) or "no files at all"
    return f"nothing to read in {', '.join(map(repr, paths))}: looked for {' '.join(FORMATS)}, found {seen}"
