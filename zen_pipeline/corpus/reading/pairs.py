"""Files that hold the same lines in several languages: which files those are, whether their lines fit, their pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, zip_longest
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.kinds.kinds import language_code, pair
from zen_pipeline.corpus.language.identify import UNKNOWN, guess_language
from zen_pipeline.corpus.reading.lines import Lines, TooLong, text_of
from zen_pipeline.corpus.reading.opening import Stream, TextFile, Unreadable, not_text
from zen_pipeline.corpus.reading.tables import Shape, Table
from zen_pipeline.corpus.records import Aside, Record
from zen_pipeline.errors import DataError

Alignment = Literal["checked", "as_is"]

_ONLY_OF_FILES = ("id", "no", "nb")  # languages whose codes mean something else as the names of columns
# Endings of programs, scripts and libraries that are codes of languages too.
_ALSO_CODE = frozenset("am as cs el es hy ko la lo mk ml mo pl ps so sv vi".split())  # noqa: SIM905
_SHIFTS = (1, -1, 2, -2, 3, -3)  # lines by which one side may have moved
# Standard errors. Of about 800 aligned pieces of Tatoeba and XQuAD, of 20 to 1,000 lines, none had more than 2.5.
_SURE, _LIKELY = 4.0, 2.6  # on its own, and where the numbers of lines differ anyway
_SHORTEST = 8  # lines: fewer prove no shift
_NUMBER = re.compile(r"\d+")
_PLAIN_ENDS = re.compile(r"""[\s"'”’»)\]]+$""")


def ending_language(ending: str) -> str:
    """The language that a file's ending names (`en`, `zh-cn`), or the empty string."""
    return ending if ending in _ONLY_OF_FILES else language_code(ending)


def unlike_translations(files: Sequence[TextFile]) -> str:
    """Why files that differ in a language-like ending alone are no translations, or the empty string.

    Their text decides: `l.cs` next to `l.pl` is as likely C# and Perl as Czech and Polish.
    """
    said = [ending_language(file.format[1:]) for file in files]
    guessed = [_guess(file) for file in files]
    if any(one == other for one, other in zip(said, guessed, strict=True)):
        return ""
    if set(guessed) == {UNKNOWN} and _ALSO_CODE.isdisjoint(said):
        return ""
    return "endings like languages, but the text is not in them"


def _guess(file: TextFile) -> str:
    try:
        with file.decoded("", lambda _: None).open() as stream:
            head = stream.head()
    except (OSError, Unreadable, DataError):  # reading will say it
        return UNKNOWN
    return UNKNOWN if not_text(head) else guess_language(head[:8192].decode("utf-8", "ignore"))


def read_parallel(files: Sequence[TextFile], shape: Shape, *, as_is: bool) -> Iterator[Record | Aside]:
    """The pairs of two or more files, line by line and each language with each; their endings name the languages.

    The pairs of one line are in one group, that of its first language.

    Args:
        files: the first is the source of most pairs.
        shape: what counts them.
        as_is: pair line by line, whatever the numbers and the lengths of the lines say.

    Raises:
        DataError: the files have different numbers of lines, or their lines do not fit each other from some line on.
    """
    for file in files:
        with file.open() as stream:
            if reason := not_text(stream.head()):
                yield Aside(file.name, "file", reason, "")
                return
    if not as_is:
        _check([_side(file) for file in files], files)
    table = Table(files[0], shape)
    languages = [ending_language(file.format[1:]) for file in files]
    streams = [file.open() for file in files]
    try:
        alone = number = 0
        for number, lines in enumerate(zip_longest(*map(_Sentences, streams, files)), 1):
            texts = [line for line in lines if isinstance(line, str)]
            if too_long := [line.reason for line in lines if isinstance(line, TooLong)]:
                yield table.aside(f"line {number}", too_long[0], "")
            elif len(texts) < len(files):
                alone += any(texts)
            elif any(text.strip() for text in texts):
                yield from _pairs(table, f"line {number}", texts, languages)
        if alone:
            reason = f"{alone} lines without a partner: the files have different lengths"
            yield table.aside(f"line {number - alone + 1}", reason, "")
    finally:
        for stream in streams:
            stream.close()


def _pairs(table: Table, place: str, lines: Sequence[str], languages: list[str]) -> Iterator[Record | Aside]:
    key = lines[0].strip()
    for part, (one, other) in enumerate(combinations(range(len(lines)), 2), 1):
        found = pair(lines[one], lines[other], languages[one], languages[other])
        if isinstance(found, str):
            yield table.aside(place, found, f"{lines[one]}\t{lines[other]}")
        else:
            table.count("translation", ["files with the same lines"])
            yield table.record(found._replace(key=key) if one else found, place, part=part)


class _Sentences:
    """The lines of a file without their ends: a lone carriage return ends one only where nothing else does."""

    def __init__(self, stream: Stream, file: TextFile) -> None:
        head = stream.head()
        newline = None if b"\r" in head and b"\n" not in head else "\n"
        self._lines = Lines[str](text_of(stream, newline=newline), file.limits.record)

    def __iter__(self) -> Iterator[str | TooLong]:
        for line in self._lines:
            yield line if isinstance(line, TooLong) else line.removesuffix("\n").removesuffix("\r")


class _Side(NamedTuple):
    """What is known of every line of a file: its length, and hashes of its numbers and of its last sign, 0 for none."""

    lengths: npt.NDArray[np.float32]
    numbers: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.uint32]


def _side(file: TextFile) -> _Side:
    lengths, numbers, ends = [], [], []
    with file.open() as stream:
        for line in _Sentences(stream, file):
            text = "" if isinstance(line, TooLong) else line.strip()
            found = _NUMBER.findall(text)
            last = _PLAIN_ENDS.sub("", text)[-1:].translate(_SAME_ENDS)
            lengths.append(len(text))
            numbers.append(crc32(" ".join(sorted(found)).encode()) if found else 0)
            ends.append(0 if last.isalnum() or not last else ord(last))
    while lengths and not lengths[-1]:  # blank lines at the end mean nothing
        lengths.pop()
    count = len(lengths)
    return _Side(np.array(lengths, np.float32), np.array(numbers[:count], np.uint32), np.array(ends[:count], np.uint32))


_SAME_ENDS = str.maketrans("。．！？；：｡…؟。", "..!?;:..?.")


def _check(sides: Sequence[_Side], files: Sequence[TextFile]) -> None:
    first, *rest = sides
    for side, file in zip(rest, files[1:], strict=True):
        names = f"{files[0].address} and {file.address}"
        counts = len(first.lengths), len(side.lengths)
        shift = find_shift(first, side, _SURE if counts[0] == counts[1] else _LIKELY)
        where = f" From line {shift.line:,} on, lines fit those that stand {shift.words} better." if shift else ""
        if counts[0] != counts[1]:
            problem = f"have {counts[0]:,} and {counts[1]:,} lines, so it is not known which belong together."
        elif shift:
            problem = "are not aligned."
        else:
            continue
        raise DataError(
            f"{names} {problem}{where} Correct them, or pair them line by line all the same with "
            "collect.sources.alignment=as_is"
        )


class Shift(NamedTuple):
    """Where the lines of one file stop to fit those of the other, and how far the better ones are."""

    line: int
    lines: int

    @property
    def words(self) -> str:
        """`1 line further down`."""
        count = abs(self.lines)
        return f"{count} line{'s' if count > 1 else ''} further {'down' if self.lines > 0 else 'up'} in the second"


def find_shift(one: _Side, other: _Side, sure: float) -> Shift | None:
    """The shift that explains the lengths, numbers and ends of the lines better than none, where that is sure.

    For every shift, how much better each line fits the shifted one is added up over the best run of lines; the run
    counts when its mean is more than `sure` standard errors above zero.
    """
    count = min(len(one.lengths), len(other.lengths))
    if count < _SHORTEST:
        return None
    ratio = float(np.median(np.log((one.lengths[:count] + 3) / (other.lengths[:count] + 3))))
    best, surest = None, sure
    for shift in _SHIFTS:
        first, last = max(0, -shift), min(len(one.lengths), len(other.lengths) - max(shift, 0), count)
        if last - first < _SHORTEST:
            continue
        rows = np.arange(first, last)
        gain = _misfit(one, other, rows, rows, ratio) - _misfit(one, other, rows, rows + shift, ratio)
        sums = np.concatenate([[0.0], np.cumsum(gain)])
        lowest = np.minimum.accumulate(sums)
        end = int(np.argmax(sums - lowest))
        start = int(np.flatnonzero(sums[: end + 1] == lowest[end])[-1])
        run = gain[start:end]
        if len(run) < _SHORTEST:
            continue
        errors = float(run.sum() / np.sqrt((run**2).sum()))
        if errors > surest:
            best, surest = Shift(first + start + 1, shift), errors
    return best


def _misfit(
    one: _Side, other: _Side, rows: npt.NDArray[np.int64], others: npt.NDArray[np.int64], ratio: float
) -> npt.NDArray[np.float64]:
    """How badly lines fit each other; below zero for those that have the same numbers."""
    lengths = np.log((one.lengths[rows] + 3) / (other.lengths[others] + 3)) - ratio
    numbers, their_numbers = one.numbers[rows], other.numbers[others]
    same = np.where((numbers == their_numbers) & (numbers != 0), -1.0, 0.0) + np.where(numbers != their_numbers, 1.0, 0)
    ends = np.where(one.ends[rows] != other.ends[others], 0.5, 0.0)
    found: npt.NDArray[np.float64] = np.minimum(np.abs(lengths), 1.5) + same + ends
    return found
