"""Report on a file of word vectors: what it held, and which lines could not be used."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import DataError

GLOVE_TEXT, WORD2VEC_TEXT, WORD2VEC_BINARY, SAFETENSORS = "glove", "word2vec-text", "word2vec-binary", "safetensors"
HEADER = re.compile(rb"[ \t]*(\d+)[ \t]+(\d+)[ \t\r]*\n?")


@dataclass
class FileReport:
    """Content of a file, counted.

    Attributes:
        path: the file.
        format: one of `glove`, `word2vec-text`, `word2vec-binary`, `safetensors`.
        read: vectors that can be used.
        dimensions: width of a vector.
        skipped: lines (in a binary file: entries) that cannot, by reason.
    """

    path: str
    format: str
    read: int = 0
    dimensions: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        read = f"{self.read} vectors of {self.dimensions} dimensions read from {self.path} ({self.format})"
        if not self.skipped:
            return f"{read}; no line skipped"
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))
        return f"{read}; {self.skipped.total()} lines skipped: {reasons}"


class Collector:
    """Gathers words and rows while a file is read.

    The rows of a file that takes a large share of the free memory lie in a temporary file and are mapped from it.
    """

    def __init__(self, report: FileReport, *, on_disk: bool) -> None:
        self.report = report
        self.seen: dict[str, None] = {}
        self._blocks: list[NDArray[np.float32]] = []
        self._file = tempfile.TemporaryFile() if on_disk else None  # noqa: SIM115

    def word(self, token: bytes) -> str | None:
        """The word of a line; None, and counted, when it cannot be used."""
        if not token:
            self.report.skipped["with an empty token"] += 1
            return None
        try:
            word = token.decode()
        except UnicodeDecodeError:
            self.report.skipped["not UTF-8"] += 1
            return None
        if word in self.seen:
            self.report.skipped["with a word that came before"] += 1
            return None
        return word

    def add(self, words: list[str], rows: NDArray[np.float32]) -> None:
        """Keep rows (n, dimensions) with their words.

        Raises:
            DataError: a value is not finite.
        """
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise DataError(
                f"{self.report.path}: the vector of {words[bad][:80]!r} (number {len(self.seen) + bad + 1} of those "
                "that can be read) holds NaN or infinity: the file is damaged, fetch or make it again"
            )
        self.seen.update(dict.fromkeys(words))
        if self._file is None:
            self._blocks.append(rows)
        else:
            self._file.write(rows.tobytes())

    def finish(self) -> WordVectors:
        """The vectors that were gathered.

        Raises:
            DataError: nothing was.
        """
        report = self.report
        report.read = len(self.seen)
        if not self.seen:
            raise DataError(f"{report.path}: no vector can be read ({report}): name a file of word vectors")
        if self._file is None:
            matrix = np.concatenate(self._blocks)
        else:
            self._file.flush()
            matrix = np.asarray(np.memmap(self._file, np.float32, "r", 0, (report.read, report.dimensions)))
        return WordVectors(list(self.seen), np.ones(report.read, np.int64), matrix)
