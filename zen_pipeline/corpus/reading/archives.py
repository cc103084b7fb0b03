"""Members of .zip and .tar archives as files to read. Nothing is unpacked to disk: each member is a stream."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Self

from zen_pipeline.corpus.reading.opening import Guarded, Meter, Stream, TextFile, Unreadable, seekable, why_unreadable
from zen_pipeline.corpus.records import Aside, excerpt

FORMATS = (".zip", ".tar")
_BLOCK = 1 << 16
Named = Callable[[TextFile, str], TextFile | str]


def members(archive: TextFile, named: Named) -> Iterator[TextFile | Aside | str]:
    """The members in the order of the archive; each must be read before the next is asked for.

    Members that climb out of the archive (`../`, an absolute name), links and devices are set aside: they cannot harm,
    since nothing is written, but an archive that has them is not what it says.

    Args:
        archive: a file whose format is one of `FORMATS`.
        named: gives a member of that name its format and split, or says why it is left out.

    Yields:
        A file to read, an entry to set aside, or the reason why a member is left out.
    """
    walk = _zip_members if archive.format == ".zip" else _tar_members
    seen = 0
    for name, problem, content in walk(archive):
        seen += 1
        if seen > archive.limits.members:
            yield Aside(archive.name, "archive", f"more than {archive.limits.members:,} members", "")
            return
        problem = problem or _unsafe(name)
        if problem:
            yield Aside(archive.name, "archive member", problem, excerpt(name))
            continue
        found = named(archive, name)
        yield found if isinstance(found, str) else replace(found, raw=content)


def _unsafe(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or (path.parts[:1] and path.parts[0].endswith(":")):
        return "its name is absolute"
    if ".." in path.parts:
        return "its name climbs out of the archive"
    return ""


Member = tuple[str, str, Callable[[], BinaryIO]]


def _zip_members(archive: TextFile) -> Iterator[Member]:
    with seekable(archive) as stored:
        size = stored.seek(0, 2)
        meter = Meter(archive.limits, consumed=lambda: size)
        try:
            opened = zipfile.ZipFile(stored)
        except Exception as error:
            raise Unreadable(why_unreadable(error) or f"not a readable zip archive ({error})") from error
        with opened:
            for info in opened.infolist():
                if info.is_dir():
                    continue
                kind = stat.S_IFMT(info.external_attr >> 16)
                problem = "" if kind in (0, stat.S_IFREG) else "a link or a device, not a file"
                yield _shown(info.filename), problem, _opener(partial(opened.open, info), meter)
            listed, said = len(opened.infolist()), _said_members(stored, size)
            if said not in (listed, _MANY):
                raise Unreadable(f"its directory lists {listed:,} of the {said:,} members that its end speaks of")


_END_OF_ZIP, _MANY = b"PK\x05\x06", 0xFFFF  # from so many members on the number stands elsewhere


def _said_members(stored: BinaryIO, size: int) -> int:
    """How many members the end of a zip archive says there are; the library does not look at it."""
    tail_size = min(size, 22 + 0xFFFF)  # the end record and the longest comment
    stored.seek(size - tail_size)
    tail = stored.read(tail_size)
    at = tail.rfind(_END_OF_ZIP)
    return int.from_bytes(tail[at + 10 : at + 12], "little") if at >= 0 else _MANY


class _Header(tarfile.TarInfo):
    """The header of a tar member; the library takes a damaged one, or none, for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header in a block.

        Raises:
            tarfile.ReadError: it is damaged, or makes no sense.
        """
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not buf.strip(b"\0"):
                raise  # the end mark
            raise tarfile.ReadError(f"{error} where a member should begin") from None
        if header.type in _HELD and header.size > _LONGEST_HELD:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


# Headers whose content the library holds in memory: long names, and attributes in the format of POSIX.
_HELD = (b"L", b"K", b"x", b"g", b"X")
_LONGEST_HELD = 1 << 20


class _UntilItsEnd:
    """A stream for a reader that asks on and on for what a header promises: after the end it says so."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._empty = 0

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._empty = 0 if block else self._empty + 1
        if self._empty > 2:
            raise EOFError("it ends before what its headers promise")
        return block


def _tar_members(archive: TextFile) -> Iterator[Member]:
    with archive.open() as stream:  # metered already where it is compressed
        try:
            ending: Any = _UntilItsEnd(stream)
            with tarfile.open(fileobj=ending, mode="r|", errors="surrogateescape", tarinfo=_Header) as opened:
                for info in opened:
                    if info.isdir():
                        continue
                    problem = "" if info.isreg() else "a link or a device, not a file"
                    problem = "a sparse file, which may be of any length" if info.issparse() else problem
                    yield _shown(info.name), problem, _opener(partial(opened.extractfile, info), None)
                    opened.members = []  # type: ignore[attr-defined]  # tarfile remembers every member otherwise
                _check_nothing_follows(opened.fileobj)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise Unreadable(f"not a readable tar archive from here on ({str(error)[:120]})") from error


def _check_nothing_follows(rest: Any) -> None:
    """What follows the end mark of a tar is filled with zeros; a header that became zeros would look like that mark."""
    try:
        while block := rest.read(_BLOCK):
            if block.strip(b"\0"):
                raise tarfile.ReadError("more follows its end mark")
    except EOFError:
        return


def _opener(open_member: Callable[[], Any], meter: Meter | None) -> Callable[[], BinaryIO]:
    def opener() -> BinaryIO:
        try:
            content = open_member()
        except Exception as error:
            reason = why_unreadable(error)
            if reason is None:
                raise
            raise Unreadable(reason) from error
        return Stream(Guarded(content, meter))

    return opener


def _shown(name: str) -> str:
    """A member's name as text; bytes that are not UTF-8 are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
