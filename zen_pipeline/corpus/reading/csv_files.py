"""Files of delimited text: how one is written and what its columns are, and its rows as records."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from zen_pipeline.corpus.reading.delimited import DelimitedRows, Dialect, read_head
from zen_pipeline.corpus.reading.headerless import Columns, is_header, recognise
from zen_pipeline.corpus.reading.lines import Lines
from zen_pipeline.corpus.reading.opening import HEAD, Stream, TextFile, not_text
from zen_pipeline.corpus.reading.tables import Shape, Table, UnknownColumns
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.logs import get_logger

log = get_logger(__name__)

_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|", ".txt": "\t"}


class Layout(NamedTuple):
    """What the head of a file shows: its dialect, its columns' names, and what they are where it has no names."""

    dialect: Dialect
    names: list[str]
    has_header: bool
    columns: Columns | None

    def __str__(self) -> str:
        quotes = "" if self.dialect.quoting else "; quotes are characters"
        if self.columns is not None:
            return f"no header, {self.columns}{quotes}"
        return f"{'columns' if self.has_header else 'no header, columns'} {', '.join(self.names[:20])}{quotes}"


def read_csv(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """The rows of delimited text, with or without a header; see `delimited` for quotes, `headerless` for columns.

    Raises:
        UnknownColumns: the columns are of no known kind.
    """
    with file.open() as stream:
        if reason := not_text(stream.head()):
            yield Aside(file.name, "file", reason, "")
            return
        found = layout(stream, file, shape)
        if isinstance(found, str):
            raise UnknownColumns(
                f"{file.address} has no line that names its columns, and {found}. Say which is which by their numbers, "
                "such as --no-header --text 2 --label 1; or give it such a line"
            )
        if found is not None:
            yield from _records(file.at(stream), shape, found)


def is_table(stream: Stream, file: TextFile, shape: Shape) -> bool:
    """True if plain text is a table between tabs: the same cells in every line, and columns that say what they are."""
    if "\t" not in stream.head().decode("utf-8", "ignore"):
        return False
    found = layout(stream, file, shape)
    if not isinstance(found, Layout) or found.dialect.cells == 1:
        return False
    return found.has_header or (found.columns is not None and found.columns.kind != "document")


def layout(stream: Stream, file: TextFile, shape: Shape) -> Layout | str | None:
    """How the file is written, or why its columns cannot be told; None for an empty one."""
    csv.field_size_limit(file.limits.record)
    knows = shape.recogniser().knows
    head, cut = _whole_lines(stream.head())
    delimiters = _DELIMITERS.get(file.format, "\t")
    read = read_head(head, delimiters, file.limits.record, cut=cut, known=knows)
    rows = [row for row in read.rows if any(cell.strip() for cell in row)]
    if not rows:
        return None
    is_prose = file.format not in (".csv", ".tsv")
    if is_prose and (read.share < 1 or len(rows) < 2):
        return "its lines have different numbers of cells"
    numbers = [str(number) for number in range(1, read.dialect.cells + 1)]
    if shape.header is not False and (shape.header or knows(rows[0])):
        return Layout(read.dialect, _distinct(rows[0]), True, None)
    if knows(numbers):
        return Layout(read.dialect, numbers, False, None)
    if shape.header is None and not is_prose and (len(rows) == 1 or is_header(rows)):
        return Layout(read.dialect, _distinct(rows[0]), True, None)
    columns = recognise(rows, file.name)
    if isinstance(columns, Columns) and shape.kind not in (None, columns.kind):
        columns = f"its columns look like {columns}"
    return columns if isinstance(columns, str) else Layout(read.dialect, numbers, False, columns)


def _whole_lines(head: bytes) -> tuple[str, bool]:
    """The head as text up to its last line end, and whether the file goes on there."""
    cut = len(head) >= HEAD
    head = head if b"\n" in head else head.replace(b"\r", b"\n")
    if cut and (end := head.rfind(b"\n") + 1):
        head = head[:end]
    return head.decode("utf-8-sig", "surrogateescape"), cut


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of columns; one that comes again gets a number, and an empty one its place."""
    distinct: list[str] = []
    times: Counter[str] = Counter()
    for place, name in enumerate(names, 1):
        named = name.strip() or f"column {place}"
        times[named.lower()] += 1
        again = times[named.lower()]
        distinct.append(named if again == 1 else f"{named}.{again}")
    return distinct


def _records(file: TextFile, shape: Shape, found: Layout) -> Iterator[Record | Aside]:
    told_by = ""
    if found.columns is not None:
        shape = replace(shape, kind=found.columns.kind, text_column="text", fields={})
        told_by = f"the values of a table without a header ({found.columns})"
    table = Table(file, shape, told_by)
    with file.open() as stream:
        lines = Lines[bytes](_with_line_feeds(stream), file.limits.record)
        rows = DelimitedRows(lines, found.dialect, file.limits.record)
        header = found.has_header
        for row in rows:
            place = f"line {row.last}"
            if isinstance(row.cells, str):
                yield table.aside(place, row.cells, row.text)
            elif header:
                header = False
            elif reason := _misfit(row.cells, found):
                if any(cell.strip() for cell in row.cells):
                    yield table.aside(place, reason, row.text)
            elif found.columns is not None:
                yield from table.row(found.columns.fields(row.cells), place)
            else:
                yield from table.row(dict(zip(found.names, row.cells, strict=False)), place)
        table.check_found()
    counts = rows.counts
    several = f", {counts.spanning} of them on {counts.spanned} lines" if counts.spanning else ""
    log.info("%s: %d lines, %d rows%s; %s", file.name, counts.lines, counts.rows - found.has_header, several, found)


def _misfit(cells: Sequence[str], found: Layout) -> str:
    """Why a row does not fit the table; empty cells at its end are nothing."""
    count = len(cells)
    while count > found.dialect.cells and not cells[count - 1].strip():
        count -= 1
    if found.columns is not None:
        last = max(*found.columns.texts, -1 if found.columns.label is None else found.columns.label)
        fits = last < count <= found.dialect.cells
    else:
        fits = count == found.dialect.cells
    what = "the header has" if found.has_header else "most lines have"
    return "" if fits else f"{count} cells where {what} {found.dialect.cells}"


def _with_line_feeds(stream: Stream) -> io.BufferedReader:
    """The stream; that of a file whose lines end in carriage returns alone has line feeds in their place."""
    head = stream.head()
    return stream if b"\n" in head or b"\r" not in head else io.BufferedReader(_LineFeeds(stream))


class _LineFeeds(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """What is there, with line feeds."""
        block = self._stream.read1(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(block)] = block
        return len(block)
