"""Lines of a stream, each within a limit: a longer one is passed over without being held."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO, AnyStr, Generic, NamedTuple

from zen_pipeline.corpus.reading.opening import Unreadable

_BLOCK = 1 << 16  # what is read at a time of a line that is passed over
_READ = 1 << 20  # bytes that become a block of lines


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


def blocks(stream: io.BufferedReader, limit: int, *, translate: bool = True) -> Iterator[str | TooLong]:
    """The text of a stream in blocks of whole lines; a line that is too long comes as what it is, by itself.

    A block is divided into its lines without a step of Python for each, which is what takes time in files of short
    lines. Decodes as `text_of` does. Trouble below comes after all that was read before it, a part of a line included.

    Args:
        stream: the content.
        limit: characters of the longest line that is given out.
        translate: every line end becomes `\n`; otherwise `\r`, `\n` and both together end lines and stay.
    """
    decoder = io.IncrementalNewlineDecoder(_decoder(), translate)
    held = ""  # of the line that has not ended yet
    passed = 0  # characters of one that is too long already
    data = b"-"
    while data:
        try:
            data = stream.read1(_READ)
        except Unreadable:
            if held:
                yield held
            raise
        text = decoder.decode(data, final=not data)
        if passed:
            end = len(next(io.StringIO(text, newline=""), ""))
            passed += end
            if data and text[end - 1 : end] not in ("\n", "\r"):
                continue
            yield TooLong(passed, limit)
            passed, text = 0, text[end:]
        text = held + text
        stop = max(text.rfind("\n"), text.rfind("\r")) + 1 if data else len(text)
        if stop:
            yield from [text[:stop]] if stop <= limit else _without_long_lines(text[:stop], limit)
        held = text[stop:]
        if len(held) > limit:
            passed, held = len(held), ""


def _without_long_lines(text: str, limit: int) -> Iterator[str | TooLong]:
    fitting: list[str] = []
    for line in io.StringIO(text, newline=""):
        if len(line) - (line[-1] in "\r\n") <= limit:
            fitting.append(line)
            continue
        if fitting:
            yield "".join(fitting)
            fitting = []
        yield TooLong(len(line), limit)
    if fitting:
        yield "".join(fitting)


def text_of(stream: io.BufferedReader, *, newline: str | None = None) -> io.TextIOWrapper:
    """The stream as text without a byte order mark; bytes that are not UTF-8 become lone surrogates.

    So only the records that hold such bytes are lost, not the file.

    Args:
        stream: the content.
        newline: as for `open`: by default all line ends become `\\n`; an empty string leaves them.
    """
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


class Characters:
    """The characters of a stream, decoded as `text_of` does; trouble below comes after all that was read before it."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._decoder = io.IncrementalNewlineDecoder(_decoder(), translate=True)

    def read(self, size: int) -> str:
        """Some characters, at most `size` and one; none at the end."""
        while True:
            data = self._stream.read1(size)
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")


def head_lines(head: bytes, *, whole: bool = True) -> list[str]:
    """The lines of the first bytes of a file; the last one, which may be cut, only where these are all bytes."""
    text = head.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return lines if whole else lines[:-1]
