"""Plain text and Markdown: how one file becomes records of a few thousand characters, and those become groups.

Cutting looks only at what came before, so paragraphs appended at the end of a file change no earlier record and move
no record to another group (unless they bring the first heading into a file without any).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from zen_pipeline.corpus.language.identify import UNKNOWN
from zen_pipeline.corpus.reading.lines import TooLong, blocks, head_lines
from zen_pipeline.corpus.reading.opening import TextFile, Unreadable, not_text
from zen_pipeline.corpus.records import Aside, Record, excerpt

Mode = Literal["auto", "headings", "blank_lines", "file"]
Headings = Literal["markdown", "wikitext"]

ENOUGH = 2000  # characters: a record is long enough to teach something
LIMIT = 4000  # characters: and a longer one is cut, where it can be
GROUP = 16 << 10  # bytes of consecutive records that stay together in one split
_LONGEST = 1 << 20  # characters of an article, a paragraph or a code block that are held before it is divided

_MARKDOWN = re.compile(r"^ {0,3}(#{1,6})[ \t]+\S")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_WIKITEXT = re.compile(r"^ = ([^=\s](?:.*[^=\s])?) = ?$")
_BAD = re.compile("[\0\udc80-\udcff]")


class Piece(NamedTuple):
    """A part of a text: its number of the first line (from 1), the text, and the article that it belongs to."""

    line: int
    text: str
    article: str | None = None


def read_plain_text(file: TextFile, mode: Mode) -> Iterator[Record | Aside]:
    """The records of one text file; what is not valid UTF-8 is set aside record by record."""
    with file.open() as stream:
        head = stream.head()
        if reason := not_text(head):
            yield Aside(file.name, "file", reason, "")
            return
        if mode == "file":
            yield from _whole(file, stream)
            return
        passed_over: list[Aside] = []
        trouble: list[Unreadable] = []
        lines = _without_ends(file, stream, passed_over, trouble)
        cut = pieces(lines, heading_kind(head_lines(head), mode))
        for entry in to_records(file, cut):
            yield from passed_over
            passed_over.clear()
            yield entry
        yield from passed_over
        if trouble:
            raise trouble[0]


def _whole(file: TextFile, stream: io.BufferedReader) -> Iterator[Record | Aside]:
    limit, size = file.limits.record, 0
    parts: list[str] = []
    trouble: Unreadable | None = None
    try:
        for block in blocks(stream, limit):
            size += block.length if isinstance(block, TooLong) else len(block)
            if size > limit:
                shown = excerpt("".join(parts)[:1000])
                yield Aside(file.name, "file", f"longer than {limit:,} characters", shown)
                return
            parts.append(str(block))
    except Unreadable as error:
        trouble = error
    if text := "".join(parts).strip("\n"):
        yield from to_records(file, [Piece(1, text)] if text.strip() else [])
    if trouble is not None:
        raise trouble


def _without_ends(
    file: TextFile, stream: io.BufferedReader, passed_over: list[Aside], trouble: list[Unreadable]
) -> Iterator[str]:
    """The lines up to where the content is damaged, which goes to `trouble`, so that what was read is not lost with it.

    A line that is too long becomes an empty one and an entry in `passed_over`.
    """
    number = 0
    try:
        for block in blocks(stream, file.limits.record):
            if isinstance(block, TooLong):
                number += 1
                passed_over.append(Aside(file.name, f"line {number}", block.reason, ""))
                yield ""
            else:
                lines = block.removesuffix("\n").split("\n")
                number += len(lines)
                yield from lines
    except Unreadable as error:
        trouble.append(error)


def to_records(file: TextFile, cut: Iterable[Piece]) -> Iterator[Record | Aside]:
    """The records of the pieces of one file, with their groups; what cannot be UTF-8 text is set aside."""
    groups = _Groups(file.name)
    for number, piece in enumerate(cut, 1):
        group = groups.of(piece)
        if ("\0" in piece.text or not _is_unicode(piece.text)) and (bad := _BAD.search(piece.text)):
            line = piece.line + piece.text.count("\n", 0, bad.start())
            byte = f"not valid UTF-8 (byte 0x{ord(bad[0]) - 0xDC00:02X})"
            shown = _BAD.sub("\ufffd", piece.text)
            yield Aside(file.name, f"line {line}", byte if ord(bad[0]) else "NUL byte", excerpt(shown))
            continue
        yield Record(f"{file.name}#{number}", group, piece.text, file.name, UNKNOWN, file.split)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Groups:
    """Gives consecutive pieces the same group until it holds `GROUP` bytes; an article is a group of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = 1
        self._size = 0

    def of(self, piece: Piece) -> str:
        if piece.article is not None:
            return f"{self._name}/{piece.article}"
        if self._size >= GROUP:
            self._number, self._size = self._number + 1, 0
        self._size += len(piece.text.encode("utf-8", "surrogateescape"))
        return self._name if self._number == 1 else f"{self._name}~{self._number}"


def pieces(lines: Iterable[str], kind: Headings | None) -> Iterator[Piece]:
    """Cut a text into the texts of its records, without blank ones, while it is read.

    Args:
        lines: of the whole file, without their ends.
        kind: the headings to cut at; None cuts at blank lines.
    """
    if kind == "wikitext":
        cut = _articles(lines)
    else:
        cut = _packed(_sections(lines) if kind == "markdown" else _paragraphs(lines), separator="\n\n")
    for piece in cut:
        if piece.text.strip():
            leading = len(piece.text) - len(piece.text.lstrip("\n"))
            yield Piece(piece.line + leading, piece.text.strip("\n"), piece.article)


def heading_kind(lines: Iterable[str], mode: Mode) -> Headings | None:
    """The kind of the first heading, or None where there is none or none is asked for."""
    if mode not in ("auto", "headings"):
        return None
    for line in lines:
        if _WIKITEXT.match(line):
            return "wikitext"
        if _MARKDOWN.match(line):
            return "markdown"
    return None


def _articles(lines: Iterable[str]) -> Iterator[Piece]:
    """WikiText: one piece per article, which begins at a heading of the first level."""
    start, title, size = 1, "", 0
    parts: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        match = _WIKITEXT.match(line)
        if match is not None or size > _LONGEST:
            if parts:
                yield Piece(start, "\n".join(parts), title)
            start, parts, size = number, [], 0
        if match is not None:
            seen[match[1]] = seen.get(match[1], 0) + 1
            title = match[1] if seen[match[1]] == 1 else f"{match[1]}~{seen[match[1]]}"
        parts.append(line)
        size += len(line)
    if parts:
        yield Piece(start, "\n".join(parts), title)


class _Block(NamedTuple):
    line: int
    text: str
    opens: bool = False  # a new record must begin here


def _sections(lines: Iterable[str]) -> Iterator[_Block]:
    """Markdown: paragraphs, each with the headings above it; code blocks stay whole; a first-level heading opens."""
    above: _Block | None = None
    for block in _paragraphs(lines, keep_fences=True):
        match = _MARKDOWN.match(block.text)
        opens = match is not None and len(match[1]) == 1
        if above is not None and opens:
            yield above
            above = None
        joined = block if above is None else above._replace(text=f"{above.text}\n\n{block.text}")
        joined = joined._replace(opens=joined.opens or opens)
        if match is not None and "\n" not in block.text:
            above = joined
        else:
            yield joined
            above = None
    if above is not None:
        yield above


def _paragraphs(lines: Iterable[str], *, keep_fences: bool = False) -> Iterator[_Block]:
    start, size = 0, 0
    parts: list[str] = []
    fence = ""
    for number, line in enumerate(lines, 1):
        mark = _FENCE.match(line) if keep_fences else None
        if mark and (not fence or fence == mark[1]):
            fence = "" if fence else mark[1]
        heading = keep_fences and not fence and _MARKDOWN.match(line) is not None
        filled = bool(line) and not line.isspace()
        ends = (not filled and not fence) or heading or size > _LONGEST
        if ends and parts:
            yield _Block(start, "\n".join(parts))
            parts, size = [], 0
        if parts or filled:
            start = start if parts else number
            parts.append(line)
            size += len(line) + 1
    if parts:
        yield _Block(start, "\n".join(parts))


def _packed(blocks: Iterator[_Block], *, separator: str) -> Iterator[Piece]:
    """Blocks joined into pieces of `ENOUGH` to `LIMIT` characters; a block that is longer is cut."""
    line, parts, size = 0, list[str](), 0
    for block in blocks:
        for part in (block,) if len(block.text) <= LIMIT else _cut(block):
            full = size >= ENOUGH or size + len(part.text) > LIMIT
            if parts and (full or part.opens):
                yield Piece(line, separator.join(parts))
                parts, size = [], 0
            if not parts:
                line = part.line
            parts.append(part.text)
            size += len(part.text) + len(separator)
    if parts:
        yield Piece(line, separator.join(parts))


def _cut(block: _Block) -> Iterator[_Block]:
    """A block of at most `LIMIT` characters as it is; a longer one cut at line ends, else spaces, else anywhere."""
    text, line, opens = block.text, block.line, block.opens
    position = 0
    while len(text) - position > LIMIT:
        end = position + LIMIT
        at = text.rfind("\n", position + ENOUGH, end)
        at = at if at >= 0 else text.rfind(" ", position + ENOUGH, end)
        stop = at + 1 if at >= 0 else end
        yield _Block(line, text[position:stop].rstrip("\n"), opens)
        line += text.count("\n", position, stop)
        position, opens = stop, False
    yield _Block(line, text[position:], opens)
