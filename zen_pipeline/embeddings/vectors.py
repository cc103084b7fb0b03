"""Word vectors as a value: words, counts and a matrix; files; neighbours by cosine."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.errors import DataError

VECTORS_FILE = "vectors.safetensors"
WORDS_FILE = "words.json"
_TENSOR = "vectors"


@dataclass(frozen=True)
class WordVectors:
    """One vector for each word.

    Attributes:
        words: the vocabulary, by falling count.
        counts: (words,) int64, occurrences in the training text.
        matrix: (words, dimensions) float32.

    Raises:
        DataError: no words, lengths that do not fit, or values that are not finite.
    """

    words: list[str]
    counts: NDArray[np.int64]
    matrix: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not self.words:
            raise DataError("word vectors without any word")
        if self.matrix.ndim != 2 or len(self.words) != len(self.matrix) or len(self.words) != len(self.counts):
            raise DataError(
                f"{len(self.words)} words, {len(self.counts)} counts and a matrix of shape {self.matrix.shape} "
                "do not belong together: expected one count and one row for each word"
            )
        finite = np.isfinite(self.matrix).all(axis=1)
        if not finite.all():
            bad = self.words[int(np.argmin(finite))]
            raise DataError(f"the vector of {bad[:80]!r} holds NaN or infinity ({(~finite).sum()} such vectors)")

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return int(self.matrix.shape[1])

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        """(words, dimensions) float32, every vector divided by its length; a vector of zeros stays zero."""
        lengths = np.linalg.norm(self.matrix, axis=1, keepdims=True)
        return np.asarray(self.matrix / np.maximum(lengths, np.float32(1e-12)), np.float32)

    def similar(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """The `n` words nearest to `word` by cosine, nearest first, without itself.

        Raises:
            DataError: the word has no vector; the message names words that are written alike.
        """
        row = self._row(word)
        cosines = self.unit @ self.unit[row]
        cosines[row] = -np.inf
        n = min(n, len(self.words) - 1)
        nearest = np.argpartition(-cosines, n)[:n]  # a full sort would take ten times the time
        nearest = nearest[np.lexsort((nearest, -cosines[nearest]))]
        return [(self.words[i], float(cosines[i])) for i in nearest]

    def _row(self, word: str) -> int:
        from zen_pipeline.embeddings.words import normalize

        for form in (word, normalize(word.strip())):
            if form in self.index:
                return self.index[form]
        alike = difflib.get_close_matches(normalize(word), self.words[:50_000], n=3)
        hint = f"; written alike: {', '.join(alike)}" if alike else ""
        raise DataError(f"{word[:80]!r} is not among the {len(self.words)} words of the corpus{hint}")

    def save(self, folder: Path) -> None:
        """Write `vectors.safetensors` (`vectors`) and `words.json` ([[word, count], …])."""
        from safetensors.numpy import save_file

        save_file({_TENSOR: np.ascontiguousarray(self.matrix, np.float32)}, folder / VECTORS_FILE)
        entries = [[word, int(count)] for word, count in zip(self.words, self.counts, strict=True)]
        (folder / WORDS_FILE).write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Read what `save` wrote.

        Raises:
            DataError: a file is missing or damaged, or the two do not belong together.
        """
        matrix = _read_matrix(folder / VECTORS_FILE)
        words, counts = _read_words(folder / WORDS_FILE)
        try:
            return cls(words, counts, matrix)
        except DataError as error:
            raise DataError(f"{folder}: {error}") from None


def _read_matrix(path: Path) -> NDArray[np.float32]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors ({error}): run `zen embed` again") from error
    matrix = tensors.get(_TENSOR)
    if matrix is None or matrix.dtype != np.float32:
        raise DataError(f"{path}: expected a float32 tensor {_TENSOR!r}, found {sorted(tensors)}")
    return np.asarray(matrix, np.float32)


def _read_words(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        words = [str(word) for word, _ in entries]
        counts = np.array([int(count) for _, count in entries], np.int64)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected [[word, count], …] ({error}): run `zen embed` again") from error
    return words, counts
