"""Opening a file wherever it lies: plain or compressed, on disk, at an address, or inside an archive.

What comes out is always a buffered stream of the content. It is never longer than the limits allow, and it raises
`Unreadable` with a reason that a person understands, whatever the library below says.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, NamedTuple

from zen_pipeline.corpus.reading.charset import UTF_8, Charset, Transcoded, charset_of_text
from zen_pipeline.errors import DataError, first_line

MEBIBYTE = 1 << 20
HEAD = MEBIBYTE  # bytes that `Stream.head` shows: enough to tell formats apart
_BLOCK = 1 << 16  # bytes asked for at a time
_SMALL_BLOCK = 1 << 9  # the same where what was asked for is lost when reading fails on the way
_STORED_BLOCK = 1 << 9  # bytes that are given to a decompressor that loses all it makes of them when they are cut
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2"}
_MAGIC = {
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"BZh": "bzip2 data",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a parquet file",
    b"%PDF": "a PDF file",
}

_CONTROLS = tuple(bytes([code]) for code in range(32) if chr(code) not in "\t\n\f\r\x1b")
_BINARY = 0.1  # share of bytes that are controls or no UTF-8, above which a file with NUL bytes is no text


class Limits(NamedTuple):
    """How much is read at most, so that no file can fill the memory or the disk.

    Attributes:
        record: bytes (in JSON and plain text characters) of one line, one value or one page; longer ones are set aside.
        free: bytes that compressed data may become whatever its ratio, since short repetitive files are common.
        ratio: beyond that, how many times longer than the compressed bytes the content may be. Text rarely passes 30.
        total: bytes that one compressed file or one archive may become.
        members: files in one archive.
        held: bytes of a file that is held in memory because its format needs random access and its place has none:
            a parquet file inside an archive, a zip archive on a server without ranges.
    """

    record: int = 16 * MEBIBYTE
    free: int = 64 * MEBIBYTE
    ratio: int = 200
    total: int = 256 << 30
    members: int = 1_000_000
    held: int = 256 * MEBIBYTE


STANDARD = Limits()


class Unreadable(Exception):
    """Why the rest of a file cannot be read."""


@dataclass(frozen=True)
class TextFile:
    """A file to read.

    Attributes:
        name: stable name in ids and digests, wherever the file lies.
        address: where it lies, for messages and digests.
        split: the role that its name gives.
        format: its suffix without the one for compression, `.jsonl`.
        compression: `gzip`, `zstd`, `bzip2` or nothing.
        raw: opens the bytes as they are stored.
        header: asks the server for the charset that it names.
        partners: the files with the same lines in other languages.
        role: what gives it its split, in words.
        limits: how much of it is read at most.
    """

    name: str
    address: str
    split: str | None
    format: str
    compression: str = ""
    raw: Callable[[], BinaryIO] = field(default=io.BytesIO, compare=False)
    header: Callable[[], str] | None = field(default=None, compare=False)
    partners: tuple[TextFile, ...] = ()
    role: str = ""
    limits: Limits = STANDARD

    def open(self) -> Stream:
        """The content, decompressed.

        Raises:
            OSError: it cannot be opened. Trouble with the content comes later, as `Unreadable`.
        """
        stored = self.raw()
        if not self.compression:
            return stored if isinstance(stored, Stream) else Stream(Guarded(stored))
        loses = self.compression == "zstd"  # what it has read when trouble comes
        counted = Counted(stored, _STORED_BLOCK if loses else _BLOCK)
        meter = Meter(self.limits, consumed=lambda: counted.bytes)
        block = _SMALL_BLOCK if loses else _BLOCK
        return Stream(Guarded(_decompressed(counted, self.compression), meter, counted, block))

    def decoded(self, given: str, report: Callable[[Charset], None]) -> TextFile:
        """The same file with its text in UTF-8; bytes that mean nothing in its charset stay what they are.

        Args:
            given: the charset that the user names; empty for none.
            report: is told the charset when the file is opened.
        """

        reported = False

        def opened() -> Stream:
            nonlocal reported
            stream = self.open()
            charset = charset_of_text(stream.head(), given, self.header)
            if not reported:  # it may be opened again
                report(charset)
            reported = True
            return stream if charset.codec == UTF_8 else Stream(Guarded(Transcoded(stream, charset.codec)))

        return replace(self, raw=opened, compression="", header=None)

    def at(self, stream: Stream) -> TextFile:
        """The same file, open already: a member of an archive cannot be opened twice."""
        return replace(self, raw=lambda: stream, compression="", header=None)


class Stream(io.BufferedReader):
    """The content of a file: a buffered stream that can be looked into."""

    def __init__(self, raw: Guarded) -> None:
        super().__init__(raw, HEAD)

    def head(self) -> bytes:
        """The first bytes, up to `HEAD`, without moving on; right only before anything was read."""
        return self.peek(HEAD)


def not_text(head: bytes) -> str:
    """Why content that begins like this is no text, or the empty string; a few NUL bytes are a fault of their lines."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return f"{what} under a name that does not say so"
    at = head.find(b"\0")
    if at < 0:
        return ""
    start = head[:_BLOCK]
    if any(start[half::2].count(0) > len(start) / 5 and _is_readable(start[1 - half :: 2]) for half in (0, 1)):
        return "UTF-16 without a byte order mark: save it as UTF-8, or name its charset with collect.sources.charset"
    odd = sum(start.count(byte) for byte in _CONTROLS)
    odd += sum("\udc80" <= character <= "\udcff" for character in start.decode("utf-8", "surrogateescape"))
    return f"binary file: NUL byte at offset {at}" if odd > _BINARY * len(start) else ""


def _is_readable(half: bytes) -> bool:
    """True when the other half of what may be UTF-16 has neither zeros nor control characters."""
    return not any(half.count(byte) for byte in _CONTROLS)


def seekable(file: TextFile) -> BinaryIO:
    """The content with random access; held in memory where its place has none.

    Raises:
        Unreadable: it would have to be held and is longer than `Limits.held`.
    """
    if not file.compression:
        stored = file.raw()
        if _has_random_access(stored):
            return stored
        stored.close()
    with file.open() as stream:
        content = stream.read(file.limits.held + 1)
    if len(content) > file.limits.held:
        raise Unreadable(
            f"it needs random access and has more than {file.limits.held >> 20} MiB: "
            "unpack it, or keep it where parts of it can be read"
        )
    return io.BytesIO(content)


def _has_random_access(stored: BinaryIO) -> bool:
    """Tried, not asked: a web server without ranges says so only when a part is read."""
    try:
        if not stored.seekable():
            return False
        stored.seek(-1, io.SEEK_END)
        stored.read(1)
        stored.seek(0)
    except (OSError, ValueError, DataError):
        return False
    return True


class Counted(io.RawIOBase):
    """Counts the stored bytes that were read, of which it gives at most so many at a time."""

    def __init__(self, stored: BinaryIO, most: int = _BLOCK) -> None:
        self._stored, self._most = stored, most
        self.bytes = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        block = self._stored.read(min(len(buffer), self._most))
        buffer[: len(block)] = block
        self.bytes += len(block)
        return len(block)

    def close(self) -> None:
        """Close the stored file too."""
        self._stored.close()
        super().close()


class Meter:
    """Stops content that grows far beyond the bytes it comes from.

    Args:
        limits: how far.
        consumed: compressed bytes that were read so far, or that the whole archive has.
    """

    def __init__(self, limits: Limits, consumed: Callable[[], int]) -> None:
        self._limits, self._consumed = limits, consumed
        self._grown = 0

    def add(self, count: int) -> None:
        """Count content, and raise Unreadable when it is too much."""
        self._grown += count
        if self._grown <= self._limits.free:
            return
        if self._grown > self._limits.total:
            raise Unreadable(f"it becomes more than {self._limits.total >> 30} GiB")
        if self._grown > self._limits.ratio * max(self._consumed(), 1):
            raise Unreadable(f"it becomes more than {self._limits.ratio} times its compressed size")


class Guarded(io.RawIOBase):
    """A stream that meters what it reads and puts the trouble of every library into words."""

    def __init__(
        self, content: Any, meter: Meter | None = None, below: io.RawIOBase | None = None, block: int = _BLOCK
    ) -> None:
        self._content, self._meter, self._below, self._block = content, meter, below, block
        # What `read1` gives comes before the trouble that follows it, where `read` would give the trouble alone.
        self._some = getattr(content, "read1", content.read)
        self._offset = 0
        self._trouble: Exception | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill as much of the buffer as there is; trouble comes after what was read before it."""
        filled = 0
        while filled < len(buffer) and self._trouble is None:
            block = self._read(len(buffer) - filled)
            if not block:
                break
            buffer[filled : filled + len(block)] = block
            filled += len(block)
        if self._trouble is not None and not filled:
            raise self._trouble
        return filled

    def _read(self, size: int) -> bytes:
        try:
            block: bytes = self._some(min(size, self._block))
            self._offset += len(block)
            if self._meter is not None:
                self._meter.add(len(block))
        except Unreadable as error:
            self._trouble = error
        except Exception as error:
            reason = why_unreadable(error)
            self._trouble = error if reason is None else Unreadable(f"{reason} after {self._offset:,} bytes of content")
        else:
            return block
        return b""

    def close(self) -> None:
        """Close what lies below; decompressors leave the file that they read from open."""
        if not self.closed:
            self._content.close()
            if self._below is not None:
                self._below.close()
        super().close()


def _decompressed(stored: Counted, compression: str) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stored)
    if compression == "bzip2":
        return bz2.BZ2File(stored)
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), "zstd")


# Zip and tar files hold what their members say of themselves, so that a damaged one raises nearly anything.
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, ValueError, OverflowError)


def why_unreadable(error: Exception) -> str | None:
    """What is wrong with the content, in words, or None when the trouble is not with the content."""
    said = first_line(error, 120)
    if isinstance(error, EOFError):
        return "the compressed data is cut"
    if isinstance(error, RuntimeError) and "encrypted" in str(error):
        return "it is encrypted"
    if isinstance(error, NotImplementedError):
        return f"it is compressed in an unknown way ({said})"
    if isinstance(error, _DAMAGED) or (isinstance(error, OSError) and error.errno is None):
        if "runcated" in said:
            return "the compressed data is cut"
        return f"the data is damaged ({said})"
    return None
