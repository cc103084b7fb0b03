"""Translation pairs in plain files: two or three cells between tabs, and two files with the same lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import PurePosixPath

from zen_pipeline.corpus.kinds import language_code, pair
from zen_pipeline.corpus.language import guess_language
from zen_pipeline.corpus.lines import Lines, TooLong, head_lines, text_of
from zen_pipeline.corpus.opening import TextFile, not_text
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.corpus.tables import Shape, Table

_HEAD_LINES = 50  # looked at to tell a table of pairs, and to guess its languages
_LETTER = re.compile(r"[^\W\d_]")


def pair_lines(head: bytes, *, whole: bool) -> list[list[str]]:
    """The cells of the first lines when they are those of a table of pairs, else nothing.

    Every line has the same number of cells, two or three, and letters in the first two of them: Tatoeba and Anki write
    `english\\tother\\tattribution`. One line alone proves nothing.

    Args:
        head: the first bytes of a file.
        whole: these are all of them; otherwise the last line may be cut.
    """
    lines = [line for line in head_lines(head, whole=whole) if line.strip()][:_HEAD_LINES]
    cells = [line.split("\t") for line in lines]
    same = len({len(each) for each in cells}) == 1
    fits = same and len(cells) > 1 and len(cells[0]) in (2, 3)
    return cells if fits and all(_LETTER.search(c) for each in cells for c in each[:2]) else []


def has_header(shape: Shape, first: list[str]) -> bool:
    """Whether the first line names columns of a known kind, as far as the user does not say so."""
    if shape.header is False:
        return False
    return shape.recogniser().knows(first)


def read_pairs(file: TextFile, head: list[list[str]]) -> Iterator[Record | Aside]:
    """The pairs of a table without a header; cells are never quoted, since sentences begin with quotes.

    Args:
        file: with one pair a line.
        head: the cells of its first lines, from `pair_lines`.
    """
    table = Table(file, Shape())
    languages = [_guess([cells[side] for cells in head]) for side in (0, 1)]
    languages[1] = languages[1] or language_code(PurePosixPath(file.name).name.partition(".")[0])  # fra.txt
    with file.open() as stream:
        lines = Lines[str](text_of(stream), file.limits.record)
        for line in lines:
            place = f"line {lines.number}"
            if isinstance(line, TooLong):
                yield table.aside(place, line.reason, "")
                continue
            if not line.strip():
                continue
            cells = line.rstrip("\n").split("\t")
            if len(cells) not in (2, 3):
                yield table.aside(place, f"{len(cells)} cells where a pair has 2 or 3", line[:1000])
                continue
            yield _entry(table, place, cells[0], cells[1], languages)


def _guess(texts: list[str]) -> str:
    """The language of many short texts, which is surer than that of one; nothing when it stays unknown."""
    language = guess_language("\n".join(texts))
    return "" if language == "und" else language


def _entry(table: Table, place: str, source: str, target: str, languages: list[str]) -> Record | Aside:
    found = pair(source, target, *languages)
    return table.aside(place, found, f"{source}\t{target}") if isinstance(found, str) else table.record(found, place)


def read_parallel(file: TextFile) -> Iterator[Record | Aside]:
    """The pairs of two files, line by line; their suffixes name the languages."""
    other = file.partner
    assert other is not None
    table = Table(file, Shape())
    languages = [language_code(side.format[1:]) for side in (file, other)]
    with file.open() as first, other.open() as second:
        for one, stream in ((file, first), (other, second)):
            if reason := not_text(stream.head()):
                yield Aside(one.name, "file", reason, "")
                return
        sides = [Lines[str](text_of(stream), file.limits.record) for stream in (first, second)]
        alone = 0
        for number, (source, target) in enumerate(zip_longest(*sides), 1):
            place = f"line {number}"
            if source is None or target is None:
                alone += 1
            elif isinstance(source, TooLong) or isinstance(target, TooLong):
                yield table.aside(place, next(x.reason for x in (source, target) if isinstance(x, TooLong)), "")
            elif source.strip() or target.strip():
                yield _entry(table, place, source.rstrip("\n"), target.rstrip("\n"), languages)
        if alone:
            place = f"line {number - alone + 1}"
            yield table.aside(place, f"{alone} lines without a partner: the files have different lengths", "")
