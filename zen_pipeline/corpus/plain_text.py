"""Plain text and Markdown: how one file becomes records of a few thousand characters, and those become groups.

Cutting looks only at what came before, so paragraphs appended at the end of a file change no earlier record and move
no record to another group (unless they bring the first heading into a file without any).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from zen_pipeline.corpus.language import guess_language
from zen_pipeline.corpus.records import Aside, Record, excerpt

Mode = Literal["auto", "headings", "blank_lines", "file"]

ENOUGH = 2000  # characters: a record is long enough to teach something
LIMIT = 4000  # characters: and a longer one is cut, where it can be
GROUP = 16 << 10  # bytes of consecutive records that stay together in one split

_MARKDOWN = re.compile(r"^ {0,3}(#{1,6})[ \t]+\S")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_WIKITEXT = re.compile(r"^ = ([^=\s](?:.*[^=\s])?) = ?$")
_SURROGATE = re.compile("[\udc80-\udcff]")


class Piece(NamedTuple):
    """A part of a text: its number of the first line (from 1), the text, and the article that it belongs to."""

    line: int
    text: str
    article: str | None = None


def read_plain_text(path: Path, name: str, split: str | None, *, mode: Mode) -> Iterator[Record | Aside]:
    """The records of one text file; what is not valid UTF-8 is set aside record by record."""
    if reason := binary_reason(path):
        yield Aside(name, "file", reason, "")
        return
    # Bytes that are not UTF-8 become lone surrogates, so that only the records that hold them are lost.
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    groups = _Groups(name)
    for number, piece in enumerate(pieces(text, mode), 1):
        group = groups.of(piece)
        if bad := _SURROGATE.search(piece.text):
            line = piece.line + piece.text.count("\n", 0, bad.start())
            byte = ord(bad[0]) - 0xDC00
            shown = _SURROGATE.sub("\ufffd", piece.text)
            yield Aside(name, f"line {line}", f"not valid UTF-8 (byte 0x{byte:02X})", excerpt(shown))
            continue
        yield Record(f"{name}#{number}", group, piece.text, name, guess_language(piece.text), split)


def binary_reason(path: Path) -> str:
    """Why the file is not text, or the empty string: it is UTF-16, or there is a NUL byte in it."""
    offset = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if offset == 0 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return "UTF-16, not UTF-8: save it as UTF-8"
            if (at := block.find(b"\0")) >= 0:
                return f"binary file: NUL byte at offset {offset + at}"
            offset += len(block)
    return ""


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


def pieces(text: str, mode: Mode) -> Iterator[Piece]:
    """Cut a text (line ends are `\\n`) into the texts of its records, without blank ones.

    Args:
        text: the whole file.
        mode: `file` leaves it whole. `headings` cuts at Markdown or WikiText headings, `blank_lines` at blank lines;
            `auto` takes headings where there are some.
    """
    if mode == "file":
        cut: Iterator[Piece] = iter([Piece(1, text)])
    else:
        lines = text.split("\n")
        kind = _heading_kind(lines) if mode in ("auto", "headings") else None
        if kind == "wikitext":
            cut = _articles(lines)
        elif kind == "markdown":
            cut = _packed(_sections(lines), separator="\n\n")
        else:
            cut = _packed(_paragraphs(lines), separator="\n\n")
    for piece in cut:
        if piece.text.strip():
            leading = len(piece.text) - len(piece.text.lstrip("\n"))
            yield Piece(piece.line + leading, piece.text.strip("\n"), piece.article)


def _heading_kind(lines: list[str]) -> Literal["markdown", "wikitext"] | None:
    for line in lines:
        if _WIKITEXT.match(line):
            return "wikitext"
        if _MARKDOWN.match(line):
            return "markdown"
    return None


def _articles(lines: list[str]) -> Iterator[Piece]:
    """WikiText: one piece per article, which begins at a heading of the first level."""
    start, title = 0, ""
    seen: dict[str, int] = {}
    for index, line in enumerate([*lines, " = end = "]):
        if (match := _WIKITEXT.match(line)) is None:
            continue
        if index > start:
            yield Piece(start + 1, "\n".join(lines[start:index]), title)
        seen[match[1]] = seen.get(match[1], 0) + 1
        title = match[1] if seen[match[1]] == 1 else f"{match[1]}~{seen[match[1]]}"
        start = index


class _Block(NamedTuple):
    line: int
    text: str
    opens: bool = False  # a new record must begin here


def _sections(lines: list[str]) -> Iterator[_Block]:
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


def _paragraphs(lines: list[str], *, keep_fences: bool = False) -> Iterator[_Block]:
    start: int | None = None
    fence = ""
    for index, line in enumerate(lines):
        mark = _FENCE.match(line) if keep_fences else None
        if mark and (not fence or fence == mark[1]):
            fence = "" if fence else mark[1]
        heading = keep_fences and not fence and _MARKDOWN.match(line) is not None
        ends = (not line.strip() and not fence) or heading
        if ends and start is not None:
            yield _Block(start + 1, "\n".join(lines[start:index]))
            start = None
        if start is None and line.strip():
            start = index
    if start is not None:
        yield _Block(start + 1, "\n".join(lines[start:]))


def _packed(blocks: Iterator[_Block], *, separator: str) -> Iterator[Piece]:
    """Blocks joined into pieces of `ENOUGH` to `LIMIT` characters; a block that is longer is cut."""
    line, parts, size = 0, list[str](), 0
    for block in blocks:
        for part in _cut(block):
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
