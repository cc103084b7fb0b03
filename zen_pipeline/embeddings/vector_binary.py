"""word2vec's binary format: a line `words dimensions`, then for each word its bytes, a space and float32 values."""

from __future__ import annotations

from typing import IO

import numpy as np

from zen_pipeline.embeddings.vector_report import HEADER, Collector
from zen_pipeline.errors import DataError

_CHUNK = 1 << 22
_LONGEST_WORD = 4096  # bytes


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
    while done < announced and (chunk := stream.read(_CHUNK)):
        entries, rest = _entries(rest + chunk, announced - done, collector)
        done += entries
    if done < announced:
        report.skipped["cut at the end of the file"] += announced - done
    elif (rest + stream.read(2)).strip():
        raise DataError(
            f"{report.path}: more follows after the {announced} vectors of {report.dimensions} dimensions that the "
            "header announces: it does not fit the file, make it again"
        )


def _entries(buffer: bytes, wanted: int, collector: Collector) -> tuple[int, bytes]:
    """Collect up to `wanted` whole entries of a buffer; returns how many there were and the bytes behind them."""
    size = 4 * collector.report.dimensions
    words: list[str] = []
    rows: list[bytes] = []
    mine: set[str] = set()
    position = done = 0
    while done < wanted:
        space = buffer.find(b" ", position, position + _LONGEST_WORD)
        if space < 0 and len(buffer) - position >= _LONGEST_WORD:
            raise DataError(
                f"{collector.report.path}: no word where one was expected (after {len(collector.seen)} of them): the "
                "header announces another width than the vectors have, or the file is damaged; make it again"
            )
        if space < 0 or space + 1 + size > len(buffer):
            break
        word = collector.word(buffer[position:space].lstrip(b"\n"))  # the original program ends entries with a newline
        if word in mine:
            collector.report.skipped["with a word that came before"] += 1
        elif word is not None:
            mine.add(word)
            words.append(word)
            rows.append(buffer[space + 1 : space + 1 + size])
        position = space + 1 + size
        done += 1
    if words:
        collector.add(words, np.frombuffer(b"".join(rows), "<f4").reshape(len(words), -1))
    return done, buffer[position:]
