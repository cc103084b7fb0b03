"""Lines of a stream, each within a limit: a longer one is passed over without being held."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, AnyStr, Generic, NamedTuple

_BLOCK = 1 << 16  # what is read at a time of a line that is passed over


class TooLong(NamedTuple):
    """A line that was passed over, in the unit of the stream: bytes or characters."""

    length: int
    limit: int

    @property
    def reason(self) -> str:
        """For the set-aside entry."""
        return f"a line of {self.length:,}, longer than {self.limit:,}"


class Lines(Generic[AnyStr]):
    """Iterates over the lines with their ends. `number` is that of the last line, from 1.

    Args:
        stream: binary, or text where line ends have been made `\\n`.
        limit: bytes or characters of the longest line that is given out.
    """

    def __init__(self, stream: IO[AnyStr], limit: int) -> None:
        self._stream: IO[AnyStr] = stream
        self._limit = limit
        self.number = 0

    def __iter__(self) -> Iterator[AnyStr | TooLong]:
        readline, limit = self._stream.readline, self._limit
        while line := readline(limit + 1):
            self.number += 1
            yield line if len(line) <= limit or _ends(line) else self._pass_over(len(line))

    def _pass_over(self, length: int) -> TooLong:
        while part := self._stream.readline(_BLOCK):
            length += len(part)
            if _ends(part):
                break
        return TooLong(length, self._limit)


def _ends(line: AnyStr) -> bool:
    return line[-1:] in (b"\n", "\n")


def text_of(stream: io.BufferedReader, *, newline: str | None = None) -> io.TextIOWrapper:
    """The stream as text without a byte order mark; bytes that are not UTF-8 become lone surrogates.

    So only the records that hold such bytes are lost, not the file.

    Args:
        stream: the content.
        newline: as for `open`: by default all line ends become `\\n`; an empty string leaves them.
    """
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def head_lines(head: bytes, *, whole: bool = True) -> list[str]:
    """The lines of the first bytes of a file; the last one, which may be cut, only where these are all bytes."""
    text = head.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return lines if whole else lines[:-1]
