"""Translation pairs in two files with the same lines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from zen_pipeline.corpus.kinds import language_code, pair
from zen_pipeline.corpus.lines import Lines, TooLong, text_of
from zen_pipeline.corpus.opening import TextFile, not_text
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.corpus.tables import Shape, Table


def _entry(table: Table, place: str, source: str, target: str, languages: list[str]) -> Record | Aside:
    found = pair(source, target, *languages)
    if isinstance(found, str):
        return table.aside(place, found, f"{source}\t{target}")
    table.count("translation", ["two files with the same lines"])
    return table.record(found, place)


def read_parallel(file: TextFile, shape: Shape) -> Iterator[Record | Aside]:
    """The pairs of two files, line by line; their suffixes name the languages."""
    other = file.partner
    assert other is not None
    table = Table(file, shape)
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
