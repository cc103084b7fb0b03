"""Rows of fields, and the records that they hold; every row is a record of some kind, or is set aside."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zen_pipeline.corpus.json_stream import decode_all
from zen_pipeline.corpus.kinds.chat_turns import is_turn
from zen_pipeline.corpus.kinds.fields import NotLearnt
from zen_pipeline.corpus.kinds.kinds import Content
from zen_pipeline.corpus.kinds.recognise import KNOWN, Recogniser
from zen_pipeline.corpus.reading.lines import Lines, TooLong
from zen_pipeline.corpus.reading.opening import TextFile, not_text
from zen_pipeline.corpus.reading.tally import Tally
from zen_pipeline.corpus.records import Aside, Kind, Record, excerpt
from zen_pipeline.errors import DataError
from zen_pipeline.settings.data import FilesSource

_MANY = 10_000  # rows of no known kind, after which none is expected

_shortened = reprlib.Repr()  # of a row, whatever its size and depth
_shortened.maxstring = _shortened.maxother = 200


@dataclass(frozen=True)
class Shape:
    """What the user says about the rows of a source.

    Attributes:
        text_column: the field that holds the text of a document.
        kind: what every row is; None to recognise it.
        fields: our names of fields, and the names that the data has for them.
        header: the first line of a table names its columns; None to recognise it. Without one, they are named by
            their numbers: `1`, `2`, `3`.
        turn_separator: the mark between turns in a line of text that is a dialogue; None to recognise it.
        tally: counts what rows were taken for, and what of them was not used.
    """

    text_column: str = "text"
    kind: Kind | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    header: bool | None = None
    turn_separator: str | None = None
    tally: Tally = field(default_factory=Tally, compare=False)

    def recogniser(self) -> Recogniser:
        """What tells the kinds of rows."""
        return Recogniser(self.kind, self.text_column, self.fields)

    @classmethod
    def of(cls, source: FilesSource) -> Shape:
        """What the settings of a source say."""
        return cls(source.text_column, source.kind, source.fields, source.header, source.turn_separator)

    @property
    def is_table(self) -> bool:
        """True if the user speaks of columns, so that a file with tabs is a table whatever it looks like."""
        return self.header or (self.header is False and (self.text_column != "text" or bool(self.fields)))


class UnknownColumns(DataError):
    """A table whose columns are of no known kind, so that the user must say which is which."""


class Table:
    """Turns the rows of one file into records and keeps count of those of no known kind.

    Args:
        file: whose rows they are.
        shape: what the user says about them.
        told_by: what tells their kind; empty: their fields.
    """

    def __init__(self, file: TextFile, shape: Shape, told_by: str = "") -> None:
        self._file, self._shape, self._told_by = file, shape, told_by
        self._recogniser = shape.recogniser()
        self._usable = self._unknown = 0
        self._unknown_names: list[str] = []

    def row(self, row: Any, place: str) -> Iterator[Record | Aside]:
        """The records of one row, or why there are none; a list of messages is a row too.

        Raises:
            DataError: no row of many is of a known kind.
        """
        if isinstance(row, dict) and "row_idx" in row and row.get("truncated_cells"):
            yield self.aside(place, f"cells were cut off: {row['truncated_cells']}", row)
            return
        row = {self._shape.text_column: row} if isinstance(row, str) else _unwrapped(row)
        if not isinstance(row, dict):
            yield self.aside(place, f"not a JSON object but {type(row).__name__}", row)
            return
        fields = self._recogniser.fields(row)
        found = self._recogniser.recognise(fields)
        if isinstance(found, str):
            self._unknown += 1
            self._unknown_names = self._unknown_names or list(map(str, row))
            yield self.aside(place, found, row)
            if self._unknown == _MANY:
                self.check_found()
            return
        self._usable += 1
        group = fields.take("group")
        read = list(found.form.read(fields, found.names))
        usable = any(not isinstance(content, str) for content in read)
        told_by = [self._told_by] if self._told_by else [fields.called(name).strip() for name in found.names]
        self.count(found.form.kind, told_by, fields.unused() if usable else ())
        for part, content in enumerate(read, 1):
            yield (
                self.aside(place, content, row)
                if isinstance(content, str)
                else self.record(content, place, part=part, group=group)
            )

    def count(self, kind: Kind, told_by: Sequence[str], unused: Iterable[str] = ()) -> None:
        """Count a row by what it was taken for, by what it was told, and what of it was not used."""
        self._shape.tally.add_row(self._file.name, kind, told_by, unused)

    def record(self, content: Content, place: str, *, part: int = 1, group: object = None) -> Record | Aside:
        """The record of some content: the `part`-th one of its place."""
        meta = json.dumps(content.meta, ensure_ascii=False) if content.meta else "{}"
        name = self._file.name
        own_group = f"{name}/{group}" if isinstance(group, str | int) and str(group) else None
        try:
            key = content.key.encode()
            if content.text is not content.key:
                content.text.encode()
            (meta + (own_group or "")).encode()
        except UnicodeEncodeError as error:
            return self.aside(place, _not_unicode(error), content.text)
        number = place.rsplit(" ", 1)[-1]
        return Record(
            id=f"{name}#{number}" if part == 1 else f"{name}#{number}.{part}",
            # The content, not the place: rows that are inserted, sorted or moved to another file keep their split.
            group=own_group or f"row {hashlib.sha256(key).hexdigest()[:16]}",
            text=content.text,
            source=name,
            language=content.language,
            split=self._file.split,
            kind=content.kind,
            meta=meta,
        )

    def aside(self, place: str, reason: str, found: object, *, rows: int = 1) -> Aside:
        """Set something of this file aside."""
        shown = found if isinstance(found, str) else _shortened.repr(found)
        return Aside(self._file.name, place, str(reason), excerpt(shown), rows, isinstance(reason, NotLearnt))

    def check_found(self) -> None:
        """Raise UnknownColumns when rows have been read and none is of a known kind; after the last row."""
        columns = self._unknown_names
        if not self._usable and self._unknown and self._shape.kind is None and not self._recogniser.knows(columns):
            raise UnknownColumns(
                f"{self._file.address} has no column {self._shape.text_column!r}; its columns are "
                f"{', '.join(columns) or '(none)'}. Name the one that holds the text: --text NAME "
                f"(collect.sources.0.text_column); or give the columns one of the known names, or set "
                f"collect.sources.0.fields: {KNOWN}"
            )


def _unwrapped(row: Any) -> Any:
    """A row without what it is wrapped in: a list of messages, or a row of the Hugging Face viewer's API."""
    if isinstance(row, list) and row and all(map(is_turn, row)):
        return {"messages": row}
    if isinstance(row, dict) and "row_idx" in row and isinstance(row.get("row"), dict):
        return row["row"]
    return row


def _not_unicode(error: UnicodeEncodeError) -> str:
    """What a lone surrogate is: one that stands for a byte (PEP 383), or one that JSON has written out."""
    code = ord(error.object[error.start])
    return (
        f"not valid UTF-8 (byte 0x{code - 0xDC00:02X})"
        if 0xDC80 <= code <= 0xDCFF
        else (f"not valid Unicode: half of a surrogate pair (U+{code:04X})")
    )


def read_jsonl(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """One JSON value per line, or several; empty lines are nothing.

    Raises:
        DataError: no row in the file is of a known kind.
    """
    table = Table(file, shape)
    with file.open() as stream:
        if (reason := not_text(stream.head()[:64])) and "NUL" not in reason:  # in a line, a NUL byte is its matter
            yield table.aside("file", reason, "")
            return
        lines = Lines[bytes](stream, file.limits.record)
        for line in lines:
            place = f"line {lines.number}"
            if isinstance(line, TooLong):
                yield table.aside(place, line.reason, "")
                continue
            content = line.removeprefix(b"\xef\xbb\xbf") if lines.number == 1 else line
            if not content.strip():
                continue
            try:
                rows = decode_all(content.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield table.aside(place, f"not valid UTF-8 (byte 0x{content[error.start]:02X})", _start(content))
            except ValueError as error:
                yield table.aside(place, f"not JSON: {error}", _start(content))
            else:
                for number, row in enumerate(rows):
                    yield from table.row(row, place if not number else f"{place}.{number + 1}")
    table.check_found()


def _start(content: bytes) -> str:
    return content[:1000].decode("utf-8", "replace")
