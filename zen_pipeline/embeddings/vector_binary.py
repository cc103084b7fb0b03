"""word2vec's binary format: a line `words dimensions`, then for each word its bytes, a space and float32 values."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vector_report import HEADER, Collector
from zen_pipeline.errors import DataError

_CHUNK = 1 << 22
_LONGEST_WORD = 4096  # bytes
_MOST_SPACES = 8  # in one word
# Values that training gives; letters that are read as a float32 are above 1e4 or, in the last place, below 1e-8.
_SMALLEST, _LARGEST = 1e-8, 1e4
_OUT_OF_PROPORTION = 1e10

_Entry = tuple[bytes, bytes]  # a word, and its values
_FindSpace = Callable[[bytes, int, int], int]  # (buffer, where the word begins, bytes of a vector)


def read_binary(stream: IO[bytes], collector: Collector) -> None:
    """Read all entries; those that cannot be used are counted in the collector's report.

    Raises:
        DataError: the header does not fit what follows, or a value is not finite.
    """
    report = collector.report
    header = HEADER.fullmatch(stream.readline())
    if header is None:
        raise DataError(f"{report.path}: expected a first line `words dimensions`, as word2vec writes it")
    announced, report.dimensions = int(header[1]), int(header[2])
    if report.dimensions < 1:
        raise DataError(f"{report.path}: the header announces vectors of no dimension: make the file again")
    done, rest = 0, b""
    largest: list[NDArray[np.float32]] = []
    while done < announced and (chunk := stream.read(_CHUNK)):
        entries, rest = _entries(rest + chunk, announced - done, collector)
        done += len(entries)
        largest.append(_collect(entries, collector))
    if done < announced:
        report.skipped["cut at the end of the file"] += announced - done
    elif (rest + stream.read(2)).strip():
        raise DataError(
            f"{report.path}: more follows after the {announced} vectors of {report.dimensions} dimensions that the "
            "header announces: it does not fit the file, make it again"
        )
    _check_scale(np.concatenate(largest or [np.empty(0, np.float32)]), collector)


def _entries(buffer: bytes, wanted: int, collector: Collector) -> tuple[list[_Entry], bytes]:
    """Up to `wanted` whole entries of a buffer, and the bytes behind them.

    A word ends at the first space. Some programs write words with spaces, though: where a vector then has values that
    no training gives, the whole buffer is read again, and a word ends at the space behind which they are plausible.
    """
    entries, rest = _split(buffer, wanted, collector, _first_space)
    if _all_plausible(b"".join(row for _, row in entries)):
        return entries, rest
    return _split(buffer, wanted, collector, _plausible_space)


def _split(buffer: bytes, wanted: int, collector: Collector, space_in: _FindSpace) -> tuple[list[_Entry], bytes]:
    size = 4 * collector.report.dimensions
    entries: list[_Entry] = []
    position = 0
    while len(entries) < wanted:
        space = space_in(buffer, position, size)
        if space < 0 and len(buffer) - position >= _LONGEST_WORD:
            raise DataError(
                f"{collector.report.path}: no word where one was expected (after {len(collector.seen)} of them): the "
                "header announces another width than the vectors have, or the file is damaged; make it again"
            )
        if space < 0 or space + 1 + size > len(buffer):
            break
        # The original program ends entries with a newline.
        entries.append((buffer[position:space].lstrip(b"\n"), buffer[space + 1 : space + 1 + size]))
        position = space + 1 + size
    return entries, buffer[position:]


def _first_space(buffer: bytes, position: int, _size: int) -> int:
    return buffer.find(b" ", position, position + _LONGEST_WORD)


def _plausible_space(buffer: bytes, position: int, size: int) -> int:
    """The first space that ends a readable word before plausible values; else simply the first."""
    first = space = _first_space(buffer, position, size)
    for _ in range(_MOST_SPACES):
        if space < 0 or space + 1 + size > len(buffer) or not _is_readable(buffer[position:space]):
            break
        if _all_plausible(buffer[space + 1 : space + 1 + size]):
            return space
        space = buffer.find(b" ", space + 1, position + _LONGEST_WORD)
    return first


def _is_readable(word: bytes) -> bool:
    try:
        return word.decode().strip("\n").replace(" ", "").isprintable()
    except UnicodeDecodeError:
        return False


def _all_plausible(values: bytes) -> bool:
    sizes = np.abs(np.frombuffer(values, "<f4"))
    return bool(((sizes == 0) | ((sizes >= _SMALLEST) & (sizes <= _LARGEST))).all())


def _collect(entries: list[_Entry], collector: Collector) -> NDArray[np.float32]:
    """Give the entries to the collector; the largest value of each vector that it took."""
    words: dict[str, bytes] = {}
    for token, row in entries:
        word = collector.word(token)
        if word in words:
            collector.report.skipped["with a word that came before"] += 1
        elif word is not None:
            words[word] = row
    if not words:
        return np.empty(0, np.float32)
    rows = np.frombuffer(b"".join(words.values()), "<f4").reshape(len(words), -1)
    collector.add(list(words), rows)
    return np.asarray(np.abs(rows).max(axis=1), np.float32)


def _check_scale(largest: NDArray[np.float32], collector: Collector) -> None:
    """Refuse a file in which some vectors are out of all proportion to the others: they were read at a wrong place."""
    usual = float(np.median(largest)) if largest.size else 0.0
    if usual > 0 and float(largest.max()) > _OUT_OF_PROPORTION * usual:
        word = list(collector.seen)[int(largest.argmax())]
        raise DataError(
            f"{collector.report.path}: the vector of {word[:80]!r} holds {float(largest.max()):.2g} where others hold "
            f"about {usual:.2g}: the file is damaged, or its words hold spaces, which this format cannot tell from "
            "their end; make it again with other words, or as .safetensors"
        )
