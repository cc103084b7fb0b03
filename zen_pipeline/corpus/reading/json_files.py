""".json files: an array of rows, an object that holds rows, one row, or JSON lines under another name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from zen_pipeline.corpus.json_stream import END, Broken, Element, JsonValues, decode
from zen_pipeline.corpus.kinds.chat_formats import TURNS
from zen_pipeline.corpus.kinds.chat_turns import is_turn
from zen_pipeline.corpus.reading.lines import Characters
from zen_pipeline.corpus.reading.opening import TextFile, Unreadable, not_text
from zen_pipeline.corpus.reading.tables import Shape, Table, read_jsonl
from zen_pipeline.corpus.records import Aside, Record

# Members whose arrays are one field of a row, where those of other names are rows themselves.
_FIELDS = frozenset(TURNS) - {"data"} | frozenset(
    {"instances", "paragraphs", "qas", "answers", "chosen", "rejected", "prompt", "completion", "history"}
)
_OF_TEXTS = ("texts", "documents", "rows", "records", "items", "examples", "corpus")
_MOST_FIELDS = 1000  # of the object at the top: what has more is no row


def read_json(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """The rows of a .json or .jsonl file, read one after the other.

    An array at the top holds the rows; if they are messages, the whole array is one conversation. An object at the top
    holds them in arrays (`data` of SQuAD) or as its members (Topical-Chat), or is one row itself.

    Raises:
        DataError: no row in the file is of a known kind.
    """
    with file.open() as stream:
        head = stream.head()
        if file.format == ".jsonl" and not _is_one_value(head):
            yield from read_jsonl(file.at(stream), shape)
            return
        if reason := not_text(head):
            yield Aside(file.name, "file", reason, "")
            return
        if file.format != ".jsonl" and _is_lines(head):
            yield from read_jsonl(file.at(stream), shape)
        else:
            yield from _Rows(file, shape).read(JsonValues(Characters(stream), file.limits.record))


def _is_lines(head: bytes) -> bool:
    """True if the first line is a row of its own and another one follows."""
    first, end, rest = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if not end or not rest.lstrip().startswith((b"{", b"[")):
        return False
    try:
        return isinstance(decode(first.decode("utf-8")), dict | list)
    except ValueError:
        return False


def _is_one_value(head: bytes) -> bool:
    """True if values go over several lines: the first line is none, and begins one that is."""
    text = head.decode("utf-8-sig", "surrogateescape").lstrip()
    first = text.partition("\n")[0].strip()
    if first in ("[", "{"):
        return True
    return first.startswith("[") and first.endswith(",") and not first.endswith("],")


class _Rows:
    """Finds the rows among the elements of one file."""

    def __init__(self, file: TextFile, shape: Shape) -> None:
        self._file, self._shape = file, shape
        self._table = Table(file, shape)
        self._recogniser = shape.recogniser()
        self._number = 0
        self._own: dict[str, Any] = {}  # fields of the object at the top
        self._rows_in_object = 0
        self._turns: list[Any] = []
        self._size_of_turns = 0

    def read(self, values: JsonValues) -> Iterator[Record | Aside]:
        """All rows, and an entry where the file stops being JSON."""
        try:
            for element in values.elements(whole=_FIELDS):
                yield from self._element(element)
        except (ValueError, Unreadable) as error:
            where = f"after item {self._number}" if self._number else "file"
            reason = str(error) if isinstance(error, Unreadable) else f"not JSON from here on: {error}"
            turns = f", and the {len(self._turns)} messages before it are no whole conversation" if self._turns else ""
            yield self._table.aside(where, reason + turns, "")
            return
        if self._turns:
            yield from self._row(self._turns)
        self._table.check_found()

    def _element(self, element: Element) -> Iterator[Record | Aside]:
        if element is END:
            yield from self._object()
        elif isinstance(element.value, Broken):
            yield self._broken(element.value)
        elif element.member == "features" and isinstance(element.value, dict) and "feature_idx" in element.value:
            return  # of a page of the Hugging Face viewer, before its rows
        elif element.in_array and not element.member and is_turn(element.value) and not self._number:
            self._add_turn(element.value)
        elif element.in_array or self._is_row(element.value):
            self._rows_in_object += 1
            yield from self._row(element.value)
        elif len(self._own) < _MOST_FIELDS:
            self._own[element.member] = element.value

    def _object(self) -> Iterator[Record | Aside]:
        """The object at the top is over: a row itself, or what held the rows."""
        if (rows := _in_columns(self._own) or _texts(self._own)) and not self._rows_in_object:
            for row in rows:
                yield from self._row(row)
            self._own = {}
            return
        if self._is_row(self._own) or not self._rows_in_object:
            yield from self._row(self._own)
        self._own, self._rows_in_object = {}, 0

    def _broken(self, value: Broken) -> Aside:
        if self._turns:
            raise ValueError(value.reason)  # a conversation that lacks a turn is none
        self._number += 1
        self._rows_in_object += 1
        return self._table.aside(f"item {self._number}", f"not JSON: {value.reason}", value.start)

    def _add_turn(self, turn: Any) -> None:
        self._size_of_turns += len(json.dumps(turn))
        if self._size_of_turns > self._file.limits.record:
            raise ValueError(f"a conversation longer than {self._file.limits.record:,} characters")
        self._turns.append(turn)

    def _is_row(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return not isinstance(self._recogniser.recognise(self._recogniser.fields(value)), str)

    def _row(self, value: Any) -> Iterator[Record | Aside]:
        self._number += 1
        yield from self._table.row(value, f"item {self._number}")


def _in_columns(own: dict[str, Any]) -> list[Any]:
    """The rows of a table that is written column by column, each an object from the row's number to its value."""
    columns = list(own.values())
    numbers = list(columns[0]) if columns and isinstance(columns[0], dict) else []
    if not all(number.isdecimal() for number in numbers):
        return []
    if not all(isinstance(column, dict) and list(column) == numbers for column in columns):
        return []
    return [{name: column[number] for name, column in own.items()} for number in numbers]


def _texts(own: dict[str, Any]) -> list[Any]:
    """The texts of an object that holds nothing else."""
    for name in _OF_TEXTS:
        found = own.get(name)
        if isinstance(found, list) and all(isinstance(text, str) for text in found):
            return found
    return []
