"""Word vectors as text: a word and its values on each line; word2vec's begins with a line `words dimensions`."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vector_report import GLOVE_TEXT, HEADER, WORD2VEC_TEXT, Collector
from zen_pipeline.errors import DataError

_BLOCK_LINES = 4096
_FIRST_LINES = 100  # whose most frequent width is the file's


def read_text(stream: IO[bytes], collector: Collector) -> None:
    """Read all lines; those that cannot be used are counted in the collector's report.

    Raises:
        DataError: the header announces another width than the lines have, or a value is not finite.
    """
    report = collector.report
    first = list(itertools.islice(stream, _FIRST_LINES))
    if not first:
        raise DataError(f"{report.path} is empty: name a file of word vectors")
    announced = _header(first)
    lines: Iterable[bytes] = itertools.chain(first, stream)
    if announced is not None:
        lines = itertools.islice(lines, 1, None)
    report.format = GLOVE_TEXT if announced is None else WORD2VEC_TEXT
    report.dimensions = announced[1] if announced else _usual_width(first)
    found = _usual_width(first[1:]) if announced and len(first) > 1 else report.dimensions
    if report.dimensions != found:
        raise DataError(f"{report.path}: the header announces {report.dimensions} dimensions, the lines have {found} "
                        "values: correct the first line, or remove it")  # fmt: skip
    if report.dimensions < 1:
        raise DataError(f"{report.path}: the lines hold a word and no values: name a file of word vectors")
    while block := list(itertools.islice(lines, _BLOCK_LINES)):
        _read_block(block, collector)
    if announced and (missing := announced[0] - len(collector.seen) - report.skipped.total()) > 0:
        report.skipped["announced in the header but missing"] += missing


def _header(first: list[bytes]) -> tuple[int, int] | None:
    """Words and dimensions; None where the first line is a vector, as in GloVe's files.

    A GloVe line of one dimension whose word is a number looks like a header; the width of the others tells.
    """
    match = HEADER.fullmatch(first[0])
    if match is None:
        return None
    words, width = int(match[1]), int(match[2])
    return None if len(first) > 1 and _usual_width(first[1:]) == 1 != width else (words, width)


def _usual_width(lines: list[bytes]) -> int:
    return Counter(len(line.split()) - 1 for line in lines if line.strip()).most_common(1)[0][0] if lines else 0


def _read_block(lines: list[bytes], collector: Collector) -> None:
    width, skipped = collector.report.dimensions, collector.report.skipped
    words: dict[str, bytes] = {}
    for line in lines:
        token, _, values = line.rstrip(b" \t\r\n").replace(b"\t", b" ").partition(b" ")
        if values.count(b" ") != width - 1 or not token:
            parts = line.split()
            reason = _why_not(line, parts, width)
            if reason:
                skipped[reason] += 1
                continue
            token, values = parts[0], b" ".join(parts[1:])  # more than one space between two of them
        word = collector.word(token)
        if word in words:
            skipped["with a word that came before"] += 1
        elif word is not None:
            words[word] = values
    if not words:
        return
    rows = _numbers(list(words.values()), width)
    if rows is None:  # some line has something else than a number where a value belongs
        rows_by_word = {word: _numbers([values], width) for word, values in words.items()}
        good = {word: row for word, row in rows_by_word.items() if row is not None}
        skipped["with a value that is no number"] += len(words) - len(good)
        if not good:
            return
        words, rows = dict.fromkeys(good, b""), np.concatenate(list(good.values()))
    collector.add(list(words), rows)


def _why_not(line: bytes, parts: list[bytes], width: int) -> str | None:
    """The reason to skip a line that is not a token and `width` values with one space between them."""
    if not parts:
        return "empty"
    if line[:1] in (b" ", b"\t") and len(parts) == width:
        return "with an empty token"
    if not line.endswith(b"\n") and len(parts) != width + 1:
        return "cut at the end of the file"
    if len(parts) > width + 1 and _numbers([b" ".join(parts[1 : len(parts) - width])], len(parts) - width - 1) is None:
        return "with a space in the token"
    return None if len(parts) == width + 1 else "of another width"


def _numbers(texts: list[bytes], width: int) -> NDArray[np.float32] | None:
    """(texts, width) float32; None when something in them is no number."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how older versions of numpy say what newer ones raise
        try:
            flat = np.fromstring(b" ".join(texts), np.float32, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    return flat.reshape(len(texts), width) if flat.size == len(texts) * width else None
