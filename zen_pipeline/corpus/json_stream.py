"""JSON of any size: values decoded one by one, so that a file of many rows is never held as a whole.

Python's own scanner decodes each value out of a buffer that grows until the value is complete. That is as fast as
`json.loads`, needs no more memory than the largest value, and survives numbers and nesting that are made to do harm.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn, Protocol

_DIGITS = 4300  # of an integer: Python's own limit, above which conversion takes quadratic time
_BLOCK = 1 << 16  # characters that are read at a time
_SPACE = " \t\r\n"
_BETWEEN = _SPACE + ","  # what separates values in one line
_CLOSING = {"{": "}", "[": "]"}
# What says where a broken value may end: whole strings, which no raw line end can be in, and brackets and commas.
_MARKS = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|[\[\]{},"\\]')
_LONGEST_WORD = 32  # characters after a number or literal that must be seen before it is known to be complete


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise OverflowError(f"a number of {len(digits):,} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise OverflowError(f"a number beyond the largest one ({text[:20]})")
    return number


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_finite)


def decode(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, nested too deeply, or has a number that is too large; the message says which.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except OverflowError as error:
        raise ValueError(str(error)) from None


def decode_all(text: str) -> list[Any]:
    """The values of a text of one JSON value or several, one behind the other.

    Raises:
        ValueError: as `decode`.
    """
    try:
        return [decode(text)]
    except ValueError:
        values: list[Any] = []
        text = text.strip()
        at = 0
        while text.startswith(("{", "["), at):
            try:
                value, end = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError, OverflowError):
                break
            values.append(value)
            at = end
            while at < len(text) and text[at] in _BETWEEN:
                at += 1
        if at < len(text) or not values:
            raise
        return values


class Broken(NamedTuple):
    """An element of an array that is no JSON, where it is certain enough where the next one begins."""

    reason: str
    start: str


class Element(NamedTuple):
    """An element of an array, a member of an object at the top, or, as `END`, the end of that object.

    Attributes:
        value: decoded, or a `Broken` one.
        member: the name of the member that it is, or lies in as an element of an array; empty in an array at the top.
        in_array: it is an element of an array.
    """

    value: Any
    member: str = ""
    in_array: bool = False


END = Element(None, "end of the object")


class Readable(Protocol):
    """What characters are read from."""

    def read(self, size: int, /) -> str:
        """Some characters; none at the end."""
        ...


class JsonValues:
    """Reads the values of a stream of characters.

    Args:
        stream: text.
        limit: characters of the longest value that is decoded.
    """

    def __init__(self, stream: Readable, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._buffer, self._at = "", 0
        self._before = 0  # characters that were read before the buffer
        self._ended = False

    def elements(self, *, whole: frozenset[str]) -> Iterator[Element]:
        """The elements of arrays and the members of objects, down to the second level.

        An array at the top gives its elements. An object at the top gives its members; those that are arrays of
        objects give their elements instead, unless their name is in `whole`. Several values at the top are read one
        after the other.

        Raises:
            ValueError: what comes next is no JSON, is longer than the limit or nested too deeply.
        """
        while self._peek():
            if self._peek() == "[":
                for value in self._array():
                    yield Element(value, in_array=True)
            elif self._peek() == "{":
                yield from self._members(whole)
            else:
                yield Element(self._value(), in_array=True)

    def _members(self, whole: frozenset[str]) -> Iterator[Element]:
        self._take("{")
        while self._peek() != "}":
            name = self._value()
            if not isinstance(name, str):
                raise ValueError("a member without a name")
            self._take(":")
            if self._peek() == "[" and name not in whole:
                yield from self._rows(name)
            else:
                yield Element(self._value(), name)
            self._separator("}")
        self._take("}")
        yield END

    def _rows(self, name: str) -> Iterator[Element]:
        """The elements of an array of objects; any other array as one value."""
        plain: list[Any] = []
        size = 0
        for value in self._array():
            if isinstance(value, dict | list | Broken):
                yield Element(value, name, in_array=True)
            else:
                size += len(value) if isinstance(value, str) else 8
                if size > self._limit:
                    raise ValueError(f"a value longer than {self._limit:,} characters")
                plain.append(value)
        if plain:
            yield Element(plain, name)

    def _array(self) -> Iterator[Any]:
        self._take("[")
        while self._peek() != "]":
            yield self._element()
            self._separator("]")
        self._take("]")

    def _element(self) -> Any:
        """The next element of an array, or a `Broken` one, after which reading can go on."""
        try:
            return self._value()
        except ValueError as error:
            end = self._end_of_broken()
            if not end:
                raise
            broken = Broken(str(error), self._buffer[self._at : min(end, self._at + 1000)])
            self._at = end
            return broken

    def _end_of_broken(self) -> int:
        """Where in the buffer a value ends that is no JSON, or 0 where that is not certain.

        Its brackets must close in order, its strings be closed on their line, and another element or the end of the
        array follow. An odd quote turns strings inside out and makes all that unlikely; what then follows is not
        guessed at, since text in a string can look like a row.
        """
        while True:
            end = self._scan_broken()
            if end >= 0:
                return end
            if len(self._buffer) - self._at > self._limit or not self._more():
                return 0

    def _scan_broken(self) -> int:
        """The same by what is in the buffer; -1 when it must be longer."""
        expected: list[str] = []
        for mark in _MARKS.finditer(self._buffer, self._at):
            found = mark[0]
            if found == "\\" or (found == '"' and self._buffer.find("\n", mark.end()) >= 0):
                return 0
            if found == '"':
                return -1
            if found in _CLOSING:
                expected.append(_CLOSING[found])
            elif found in ("}", "]") and expected:
                if expected.pop() != found:
                    return 0
                if not expected:
                    return mark.end()
            elif found in (",", "]") and not expected:
                return mark.start()
            elif found == "}":
                return 0
        return -1

    def _separator(self, end: str) -> None:
        if self._peek() == ",":
            self._take(",")
            if self._peek() != end:
                return
        elif self._peek() == end:
            return
        self._fail(f"expected ',' or '{end}'")

    def _peek(self) -> str:
        """The next character that is no space, or the empty string at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _take(self, character: str) -> None:
        if self._peek() != character:
            self._fail(f"expected {character!r}")
        self._at += 1

    def _fail(self, expected: str) -> NoReturn:
        found = self._peek()
        raise ValueError(f"{expected}, found {found!r}" if found else "the end comes too early")

    def _more(self) -> bool:
        """Read on, forgetting what has been decoded; each time as much again as is still open."""
        if self._ended:
            return False
        rest = self._buffer[self._at :]
        block = self._stream.read(max(_BLOCK, len(rest)))
        self._before += self._at
        self._ended = not block
        self._buffer, self._at = rest + block, 0
        return bool(block)

    def _value(self) -> Any:
        """The next value. One that ends where the buffer ends may go on, unless brackets or quotes close it."""
        first = self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                problem = error.msg
                cut = error.pos > len(self._buffer) - _LONGEST_WORD or problem.startswith("Unterminated string")
                if not cut or self._ended:
                    place = self._before + error.pos + 1
                    raise ValueError(f"{problem} at character {place:,} of the file") from None
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except OverflowError as error:
                raise ValueError(str(error)) from None
            else:
                if first in '[{"' or self._ended or len(self._buffer) - end > _LONGEST_WORD:
                    self._at = end
                    return value
            if len(self._buffer) - self._at > self._limit:
                raise ValueError(f"a value longer than {self._limit:,} characters")
            self._more()
