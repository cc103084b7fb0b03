"""Delimited text (CSV, TSV and their kin): the dialect of a file, found by trying it, and its rows.

Nothing in such a file says how it was written. A quotation mark may enclose a cell, or be the first character of a
sentence; read wrongly, it swallows the lines up to the next one. So a cell is taken for quoted only where that gives a
whole row, and a row goes over several lines only where those cannot be rows themselves or the file is known to quote.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zen_pipeline.corpus.reading.lines import TooLong
from zen_pipeline.corpus.reading.opening import Unreadable

_HEAD_LINES = 1000  # that are tried to find the dialect
_ANY = 1 << 40
_CONSISTENT = 0.8  # share of the rows that have as many cells as the first one, for a delimiter to be one
_ESCAPED = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
        delimiter: between cells.
        cells: in a row. A table of one column is never divided outside quotes.
        quoting: cells may stand in quotes.
        most_lines: of a row each of whose lines could be a row as well, with its quotes as characters.
        backslash: a quote in a quoted cell is written as `\\"` instead of twice.
    """

    delimiter: str
    cells: int
    quoting: bool = True
    most_lines: int = 0
    backslash: bool = False


class DelimitedRow(NamedTuple):
    """A row: its first and last line, and its cells or why it is none, with the text that was found."""

    first: int
    last: int
    cells: list[str] | str
    text: str = ""
    closed: bool | None = True  # every quote that opens a cell is closed; None where that is one of two readings


@dataclass
class RowCounts:
    """Lines and rows of one file.

    Attributes:
        lines: all of them.
        rows: with cells.
        spanning: rows of several lines.
        spanned: the lines of those.
    """

    lines: int = 0
    rows: int = 0
    spanning: int = 0
    spanned: int = 0


class DelimitedRows:
    """Iterates over the rows of a file that are not empty, and counts.

    Args:
        lines: bytes that end in a line feed; or text, from a head.
        dialect: how they are written.
        limit: characters of the longest row.
        cut: the lines end somewhere in the file, so that a row that is open there says nothing.
    """

    def __init__(
        self, lines: Iterable[bytes | TooLong] | Iterable[str], dialect: Dialect, limit: int, *, cut: bool = False
    ) -> None:
        self._lines: Iterator[bytes | str | TooLong] = iter(lines)
        self._ahead: deque[str | TooLong] = deque()  # lines that were looked at and not taken
        self._dialect, self._limit, self._cut = dialect, limit, cut
        self._ended = False
        self._trouble: Unreadable | None = None
        self.counts = RowCounts()

    def __iter__(self) -> Iterator[DelimitedRow]:
        delimiter, one_column, quoting = self._dialect.delimiter, self._dialect.cells == 1, self._dialect.quoting
        while (line := self._next()) is not None:
            number = self.counts.lines
            if isinstance(line, TooLong):
                yield DelimitedRow(number, number, line.reason)
                continue
            if quoting and '"' in line:
                found = self._quoted(line, number)
                if found is None:
                    return
            else:
                content = line.rstrip("\r\n")
                if not content or (one_column and not content.strip()):
                    continue
                found = DelimitedRow(number, number, [content] if one_column else content.split(delimiter), content)
            self.counts.rows += 1
            yield found if "\0" not in found.text else found._replace(cells="NUL byte")
        if self._trouble is not None:
            raise self._trouble

    def _next(self) -> str | TooLong | None:
        try:
            line = self._ahead.popleft() if self._ahead else next(self._lines, None)
        except Unreadable as error:  # said when what was looked ahead at is read
            line, self._trouble = None, error
        if line is None:
            self._ended = True
            return None
        self.counts.lines += 1
        if not isinstance(line, bytes):
            return line
        if self.counts.lines == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode("utf-8", "surrogateescape")

    def _quoted(self, line: str, number: int) -> DelimitedRow | None:
        """A row with quotes: as a strict reader reads it, or else the line alone with its quotes as characters."""
        taken: list[str | TooLong] = []
        cells = self._strict(line, taken)
        if cells is None and self._ended and self._cut:
            return None
        text = "".join([line, *map(str, taken)])
        literal = self._literal(line)
        ambiguous = bool(taken) and cells is not None and self._may_be_rows([line, *map(str, taken)])
        whole = cells is not None and len(cells) == self._dialect.cells
        if whole and (not ambiguous or len(taken) < self._dialect.most_lines):
            self.counts.spanning += bool(taken)
            self.counts.spanned += len(taken) + 1 if taken else 0
            return DelimitedRow(number, self.counts.lines, cells or [], text, None if ambiguous else True)
        if cells is not None and not taken and len(literal) != self._dialect.cells:
            return DelimitedRow(number, number, cells, text)
        self._ahead.extendleft(reversed(taken))
        self.counts.lines -= len(taken)
        return DelimitedRow(number, number, literal, line.rstrip("\r\n"), None if whole else False)

    def _strict(self, line: str, taken: list[str | TooLong]) -> list[str] | None:
        """The cells of the row that begins with a line, and what it takes besides; None where the quotes do not fit."""

        def rest() -> Iterator[str]:
            yield self._escaped(line)
            size = len(line)
            while size <= self._limit and (following := self._next()) is not None:
                taken.append(following)
                if isinstance(following, TooLong):
                    return
                size += len(following)
                yield self._escaped(following)

        try:
            return next(csv.reader(rest(), delimiter=self._dialect.delimiter, strict=True))
        except csv.Error:
            return None

    def _escaped(self, line: str) -> str:
        return _ESCAPED.sub(r'\1""', line) if self._dialect.backslash and "\\" in line else line

    def _literal(self, line: str) -> list[str]:
        content = line.rstrip("\r\n")
        return [content] if self._dialect.cells == 1 else content.split(self._dialect.delimiter)

    def _may_be_rows(self, lines: Sequence[str]) -> bool:
        return all(len(self._literal(line)) == self._dialect.cells for line in lines if line.strip())


class DelimitedHead(NamedTuple):
    """The head of a file: its dialect and first rows, and the share of them that have as many cells as the first."""

    dialect: Dialect
    rows: list[list[str]]
    share: float


def read_head(
    head: str, delimiters: str, limit: int, *, cut: bool, known: Callable[[list[str]], bool]
) -> DelimitedHead:
    """The first rows in the dialect in which they make most sense.

    Args:
        head: whole lines.
        delimiters: that may be used, the likeliest first.
        limit: characters of the longest row.
        cut: the file goes on behind them.
        known: whether a row holds names of columns that are known.
    """
    lines = list(io.StringIO(head, newline="\n"))
    attempt = _Attempt(lines[:_HEAD_LINES], limit, cut or len(lines) > _HEAD_LINES)
    tried = [attempt.read(delimiter) for delimiter in delimiters]

    def worth(read: DelimitedHead) -> tuple[bool, bool, float]:
        divides = read.dialect.cells > 1 and read.share >= _CONSISTENT
        return bool(read.rows) and known(read.rows[0]), divides, read.share if divides else 0.0

    best = max(tried, key=worth)  # of equals the first
    named, divides, _ = worth(best)
    return best if named or divides else attempt.read(delimiters[0], cells=1)


class _Attempt(NamedTuple):
    """Reads the lines of a head in one dialect after another."""

    lines: list[str]
    limit: int
    cut: bool

    def read(self, delimiter: str, cells: int = 0) -> DelimitedHead:
        """The head with one delimiter, and the quoting that leaves no quotes over, or none."""
        dialect = Dialect(delimiter, cells or self._cells(delimiter), most_lines=_ANY)
        rows = self._rows(dialect)
        if any(row.closed is False for row in rows) and any('\\"' in line for line in self.lines):
            escaped = self._rows(dialect._replace(backslash=True))
            if not any(row.closed is False for row in escaped):
                dialect, rows = dialect._replace(backslash=True), escaped
        if any(row.closed is False for row in rows):
            dialect = dialect._replace(most_lines=0)
            rows = self._rows(dialect)
            dialect = dialect._replace(quoting=_needs_quotes(rows, dialect))
        elif not _needs_quotes(rows, dialect):
            # A tab is hardly ever in a text: quotes in a tab-separated file are characters until the contrary is shown.
            dialect = dialect._replace(most_lines=_ANY if dialect.cells == 1 else 2, quoting=delimiter != "\t")
        found = [row.cells for row in self._rows(dialect) if not isinstance(row.cells, str)]
        return DelimitedHead(dialect, found, sum(len(r) == dialect.cells for r in found) / max(len(found), 1))

    def _cells(self, delimiter: str) -> int:
        """The cells of the first row, which is a header or like the others."""
        first = next((line for line in self.lines if line.strip()), "")
        try:
            return max(len(next(csv.reader([first], delimiter=delimiter, strict=True))), 1)
        except csv.Error:
            counted = Counter(len(line.split(delimiter)) for line in self.lines if line.strip())
            return counted.most_common(1)[0][0]

    def _rows(self, dialect: Dialect) -> list[DelimitedRow]:
        return list(DelimitedRows(self.lines, dialect, self.limit, cut=self.cut))


def _needs_quotes(rows: list[DelimitedRow], dialect: Dialect) -> bool:
    """True if some row is whole only with its quotes, or a column has them throughout."""
    quoted: Counter[int] = Counter()
    for row in rows:
        if row.closed is None and '""' in row.text:
            return True
        if not row.closed or isinstance(row.cells, str) or len(row.cells) != dialect.cells:
            continue
        literal = row.text.rstrip("\r\n").split(dialect.delimiter)
        if row.cells == literal:
            continue
        if row.last > row.first or len(literal) != dialect.cells:
            return True
        enclosed = [place for place, cell in enumerate(literal) if cell[:1] == '"']
        if any('"' in row.cells[place] for place in enclosed):
            return True
        quoted.update(enclosed)
    return len(rows) > 2 and any(count >= len(rows) - 1 for count in quoted.values())
