"""Word vectors as a value: words, counts and a matrix; its safetensors file; neighbours by cosine."""

from __future__ import annotations

import difflib
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.errors import DataError

VECTORS_FILE = "vectors.safetensors"
_TENSORS = {"vectors": "F32", "counts": "I64", "words": "U8", "word_ends": "I64"}
_CHECKED_ROWS = 65_536  # at a time, so that a mapped file of any size is checked in little memory


@dataclass(frozen=True)
class WordVectors:
    """One vector for each word.

    Attributes:
        words: the vocabulary, by falling count.
        counts: (words,) int64, occurrences in the training text; 1 for each where a file does not say.
        matrix: (words, dimensions) float32; it may be a view of a mapped file.

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
        for first in range(0, len(self.words), _CHECKED_ROWS):
            finite = np.isfinite(self.matrix[first : first + _CHECKED_ROWS]).all(axis=1)
            if not finite.all():
                bad = self.words[first + int(np.argmin(finite))]
                raise DataError(f"the vector of {bad[:80]!r} holds NaN or infinity (the first such vector)")

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return int(self.matrix.shape[1])

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def lengths(self) -> NDArray[np.float32]:
        """(words,) float32, Euclidean; at least 1e-12, so that one can divide by them."""
        blocks = [self.matrix[i : i + _CHECKED_ROWS] for i in range(0, len(self.words), _CHECKED_ROWS)]
        found = np.concatenate([np.linalg.norm(block, axis=1) for block in blocks])
        return np.asarray(np.maximum(found, np.float32(1e-12)), np.float32)

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        """(words, dimensions) float32, every vector divided by its length; a vector of zeros stays zero."""
        return np.asarray(self.matrix / self.lengths[:, None], np.float32)

    def similar(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """The `n` words nearest to `word` by cosine, nearest first, without itself.

        Raises:
            DataError: the word has no vector; the message names words that are written alike.
        """
        row = self.row(word)
        cosines = self.matrix @ (self.matrix[row] / self.lengths[row]) / self.lengths
        cosines[row] = -np.inf
        n = min(n, len(self.words) - 1)
        nearest = np.argpartition(-cosines, n)[:n]  # a full sort would take ten times the time
        nearest = nearest[np.lexsort((nearest, -cosines[nearest]))]
        return [(self.words[i], float(cosines[i])) for i in nearest]

    def find(self, word: str) -> int | None:
        """The row of a word, as it is written or in the form of the corpus; None when it has no vector."""
        from zen_pipeline.embeddings.words import normalize

        row = self.index.get(word)
        return self.index.get(normalize(word.strip())) if row is None else row

    def row(self, word: str) -> int:
        """As `find`.

        Raises:
            DataError: the word has no vector; the message names words that are written alike.
        """
        from zen_pipeline.embeddings.words import normalize

        row = self.find(word)
        if row is not None:
            return row
        alike = difflib.get_close_matches(normalize(word), self.words[:50_000], n=3)
        hint = f"; written alike: {', '.join(alike)}" if alike else ""
        raise DataError(f"{word[:80]!r} is not among the {len(self.words)} words of the corpus{hint}")

    def save(self, path: Path) -> None:
        """Write one safetensors file.

        Its tensors: `vectors`, `counts`, `words` (all words as UTF-8, one after the other) and `word_ends` (for each
        the byte after its last). A folder gets the file `vectors.safetensors`.
        """
        from safetensors.numpy import save_file

        encoded = [word.encode() for word in self.words]
        tensors: dict[str, NDArray[Any]] = {
            "vectors": np.ascontiguousarray(self.matrix, np.float32),
            "counts": np.ascontiguousarray(self.counts, np.int64),
            "words": np.frombuffer(b"".join(encoded), np.uint8),
            "word_ends": np.cumsum([len(word) for word in encoded], dtype=np.int64),
        }
        save_file(tensors, path / VECTORS_FILE if path.is_dir() else path)

    @classmethod
    def load(cls, path: Path) -> WordVectors:
        """Map what `save` wrote: only the words and counts are read into memory.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        if path.is_dir():
            path = path / VECTORS_FILE
        counts, text, ends = _read_words(path)
        try:
            words = [text[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)]
            return cls(words, counts, _map_matrix(path))
        except (DataError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: {error}") from None


def _read_words(path: Path) -> tuple[NDArray[np.int64], bytes, list[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # which compares the sizes in the header with the file's
            found = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            if found != _TENSORS:
                raise DataError(f"{path}: expected the tensors of word vectors {_TENSORS}, found {found}")
            counts = np.array(file.get_tensor("counts"), np.int64)
            return counts, file.get_tensor("words").tobytes(), file.get_tensor("word_ends").tolist()
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors ({error}): make it again") from error


def _map_matrix(path: Path) -> NDArray[np.float32]:
    """The tensor `vectors` without reading it (format: header size as uint64, JSON header, data)."""
    with path.open("rb") as file:
        size: int = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(size))["vectors"]
    if not entry["shape"] or 0 in entry["shape"]:
        return np.zeros(entry["shape"], np.float32)
    start = 8 + size + int(entry["data_offsets"][0])
    return np.asarray(np.memmap(path, "<f4", "r", start, tuple(entry["shape"])))
