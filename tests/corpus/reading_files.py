"""Files to read, made or found by a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.opening import COMPRESSIONS, STANDARD, Limits, TextFile
from zen_pipeline.corpus.reading.pairs import Alignment
from zen_pipeline.corpus.reading.plain_text import Mode
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.reading.tally import Tally
from zen_pipeline.corpus.records import Aside, Record


def text_file(path: Path, *, limits: Limits = STANDARD) -> TextFile:
    """The file under its own name."""
    compression = COMPRESSIONS.get(path.suffix, "")
    form = Path(path.stem).suffix if compression else path.suffix
    return TextFile(path.name, str(path), None, form, compression, lambda: path.open("rb"), limits=limits)


class Read(NamedTuple):
    """What became of some files."""

    records: list[Record]
    aside: list[Aside]
    left_out: dict[str, int]
    tally: Tally | None = None

    @property
    def kinds(self) -> Counter[str]:
        return Counter(record.kind for record in self.records)

    @property
    def reasons(self) -> list[str]:
        return [entry.reason for entry in self.aside]


def read_paths(
    *paths: Path | str,
    shape: Shape | None = None,
    limits: Limits = STANDARD,
    split_text: Mode = "auto",
    charset: str | None = None,
    alignment: Alignment = "checked",
    languages: Sequence[str] | None = None,
) -> Read:
    """Find and read like the stage does."""
    found = find_files([str(path) for path in paths], limits=limits, languages=languages)
    tally = Tally(left_out=Counter(found.left_out))
    reader = FilesReader(shape or Shape(), split_text, tally, charset=charset, alignment=alignment)
    return sort(list(reader.read(found.files)), dict(tally.left_out))._replace(tally=tally)


def sort(entries: Sequence[Record | Aside], left_out: dict[str, int]) -> Read:
    """Records and what was set aside."""
    return Read([e for e in entries if isinstance(e, Record)], [e for e in entries if isinstance(e, Aside)], left_out)
