"""JSON lines, CSV and parquet: every row is a document (it has the text column) or a chat, or is set aside.

Read row by row (parquet: row group by row group), so the size of a file does not matter.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zen_pipeline.corpus.chat_formats import FIELDS, as_text, is_chat, to_messages
from zen_pipeline.corpus.language import guess_language
from zen_pipeline.corpus.plain_text import binary_reason
from zen_pipeline.corpus.records import Aside, Record, excerpt
from zen_pipeline.errors import DataError

_CELL = 1 << 30  # characters in one CSV field; Python's own limit is 128 KiB


class Table:
    """Turns the rows of one file into records and keeps count of those without the text column."""

    def __init__(self, path: Path, name: str, split: str | None, text_column: str) -> None:
        self._path, self._name, self._split, self._column = path, name, split, text_column
        self._usable = 0
        self._fields_without: list[str] | None = None

    def row(self, row: Mapping[str, Any], place: str) -> Record | Aside:
        """The record of one row, or why there is none."""
        if self._column in row:
            self._usable += 1
            text = row[self._column]
            if not isinstance(text, str):
                return self.aside(place, f"{self._column!r} is not text but {type(text).__name__}", str(text))
            return self._record(row, place, text, None)
        if is_chat(list(row)):
            self._usable += 1
            messages = to_messages(row)
            if messages is None:
                return self.aside(place, "not a usable conversation (roles, empty or missing messages)", str(row))
            return self._record(row, place, as_text(messages), messages)
        self._fields_without = self._fields_without or list(row)
        return self.aside(place, f"no field {self._column!r}", str(row))

    def aside(self, place: str, reason: str, text: str) -> Aside:
        """Set something of this file aside."""
        return Aside(self._name, place, reason, excerpt(text))

    def check_columns(self, columns: list[str]) -> None:
        """Raise DataError when neither the text column nor a known chat is among the columns."""
        if self._column not in columns and not is_chat(columns):
            raise DataError(
                f"{self._path} has no column {self._column!r}; its columns are {', '.join(columns) or '(none)'}. "
                f"Name the one that holds the text: collect.sources.text_column; or, for chats: {FIELDS}"
            )

    def check_found(self) -> None:
        """The same for a file whose rows name their own fields, after the last row."""
        if not self._usable and self._fields_without is not None:
            self.check_columns(self._fields_without)

    def _record(self, row: Mapping[str, Any], place: str, text: str, messages: object | None) -> Record | Aside:
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            return self.aside(place, f"not valid Unicode: {error.reason}", text)
        group = row.get("group")
        own_group = f"{self._name}/{group}" if isinstance(group, str | int) and str(group) else None
        return Record(
            id=f"{self._name}#{place.rsplit(' ', 1)[-1]}",
            # The content, not the place: rows that are inserted, sorted or moved to another file keep their split.
            group=own_group or f"row {hashlib.sha256(encoded).hexdigest()[:16]}",
            text=text,
            source=self._name,
            language=guess_language(text),
            split=self._split,
            kind="document" if messages is None else "chat",
            meta="{}" if messages is None else json.dumps({"messages": messages}, ensure_ascii=False),
        )


def read_jsonl(path: Path, name: str, split: str | None, text_column: str) -> Iterator[Record | Aside]:
    """One JSON object per line; empty lines are nothing.

    Raises:
        DataError: no object in the file has the text column or is a chat.
    """
    table = Table(path, name, split, text_column)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"line {number}"
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not content.strip():
                continue
            try:
                row = json.loads(content.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield table.aside(place, f"not valid UTF-8 (byte 0x{content[error.start]:02X})", _shown(content))
                continue
            except (ValueError, RecursionError) as error:
                yield table.aside(place, f"not JSON: {_json_problem(error)}", _shown(content))
                continue
            yield (
                table.row(row, place)
                if isinstance(row, dict)
                else table.aside(place, f"not a JSON object but {type(row).__name__}", _shown(content))
            )
    table.check_found()


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]


def _shown(content: bytes) -> str:
    return content[:1000].decode("utf-8", "replace")


def read_csv(path: Path, name: str, split: str | None, text_column: str) -> Iterator[Record | Aside]:
    """Comma-separated values with a header line, quoted as in RFC 4180.

    Raises:
        DataError: the header has neither the text column nor those of a chat.
    """
    table = Table(path, name, split, text_column)
    if reason := binary_reason(path):
        yield table.aside("file", reason, "")
        return
    csv.field_size_limit(_CELL)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, None)
            if header is None:
                return
            table.check_columns(header)
            for cells in reader:
                place = f"line {reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    reason = f"{len(cells)} cells where the header has {len(header)}"
                    yield table.aside(place, reason, ",".join(cells))
                    continue
                yield table.row(dict(zip(header, cells, strict=True)), place)
        except csv.Error as error:
            yield table.aside(f"line {reader.line_num}", f"not CSV from here on: {error}", "")


def read_parquet(path: Path, name: str, split: str | None, text_column: str) -> Iterator[Record | Aside]:
    """The rows of a parquet file.

    Raises:
        DataError: the file has neither the text column nor those of a chat.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = Table(path, name, split, text_column)
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            table.check_columns(file.schema_arrow.names)
            for index in range(file.num_row_groups):
                for batch in file.iter_batches(row_groups=[index], batch_size=1024):
                    for row in batch.to_pylist():
                        number += 1
                        yield table.row(row, f"row {number}")
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        where = f"after row {number}" if number else "file"
        yield table.aside(where, f"not a readable parquet file: {str(error).splitlines()[0][:200]}", "")
