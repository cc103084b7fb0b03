"""Write word vectors so that other programs read them, to the float."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from zen_pipeline.embeddings.vector_report import GLOVE_TEXT, SAFETENSORS, WORD2VEC_BINARY, WORD2VEC_TEXT
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import ConfigError, DataError

FORMATS = (WORD2VEC_TEXT, WORD2VEC_BINARY, GLOVE_TEXT, SAFETENSORS)
_BY_SUFFIX = {".txt": WORD2VEC_TEXT, ".vec": WORD2VEC_TEXT, ".bin": WORD2VEC_BINARY, ".safetensors": SAFETENSORS}
_BLOCK_ROWS = 4096


def write_vectors(vectors: WordVectors, path: Path, format: str | None = None) -> str:
    """Write a file, compressed where its name ends in .gz; it is whole or absent.

    Args:
        vectors: what to write.
        path: the file.
        format: one of `FORMATS`; default: by the name's ending (.txt .vec .bin .safetensors).

    Returns:
        the format.

    Raises:
        ConfigError: the name tells no format.
        DataError: a word that the format cannot hold.
    """
    format = checked_format(path, format)
    packed = path.suffix == ".gz"
    if format != SAFETENSORS:
        _refuse_spaces(vectors)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if format == SAFETENSORS:
            vectors.save(part)
        else:
            with gzip.GzipFile(part, "wb", mtime=0) if packed else part.open("wb") as file:
                _WRITERS[format](vectors, file)  # type: ignore[arg-type]
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return format


def checked_format(path: Path, format: str | None = None) -> str:
    """The format that a file of this name is written in, before anything is read or trained for it.

    Raises:
        ConfigError: the name tells none, or there is no such folder.
    """
    packed = path.suffix == ".gz"
    format = format or _BY_SUFFIX.get(path.with_suffix("").suffix if packed else path.suffix)
    if format not in FORMATS or (packed and format == SAFETENSORS):
        endings = ", ".join(_BY_SUFFIX)
        raise ConfigError(f"{path}: the name tells no format: end it in one of {endings} (or .txt.gz, .bin.gz), "
                          f"or name one of {', '.join(FORMATS)}")  # fmt: skip
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is no folder: make it, or name another place for {path.name}")
    return format


def _refuse_spaces(vectors: WordVectors) -> None:
    bad = next((word for word in vectors.words if not word or any(c in word for c in " \t\r\n")), None)
    if bad is not None:
        raise DataError(f"the word {bad[:80]!r} is empty or holds a space, which text and binary files of word vectors "
                        "cannot hold: write .safetensors")  # fmt: skip


def _write_glove(vectors: WordVectors, file: IO[bytes]) -> None:
    for first, words in _blocks(vectors):
        lines = zip(words, _texts(vectors, first, len(words)), strict=True)
        file.write("".join(f"{word} {values}\n" for word, values in lines).encode())


def _write_text(vectors: WordVectors, file: IO[bytes]) -> None:
    file.write(_header(vectors))
    _write_glove(vectors, file)


def _write_binary(vectors: WordVectors, file: IO[bytes]) -> None:
    file.write(_header(vectors))
    for first, words in _blocks(vectors):
        rows = vectors.matrix[first : first + len(words)].astype("<f4")
        file.write(b"".join(w.encode() + b" " + row.tobytes() + b"\n" for w, row in zip(words, rows, strict=True)))


_WRITERS: dict[str, Callable[[WordVectors, IO[bytes]], None]] = {
    GLOVE_TEXT: _write_glove,
    WORD2VEC_TEXT: _write_text,
    WORD2VEC_BINARY: _write_binary,
}


def _header(vectors: WordVectors) -> bytes:
    return f"{len(vectors.words)} {vectors.dimensions}\n".encode()


def _blocks(vectors: WordVectors) -> Iterator[tuple[int, list[str]]]:
    for first in range(0, len(vectors.words), _BLOCK_ROWS):
        yield first, vectors.words[first : first + _BLOCK_ROWS]


def _texts(vectors: WordVectors, first: int, count: int) -> list[str]:
    """The values of each row, in the shortest decimal form that reads back as the same float32."""
    import pyarrow as pa

    flat = pa.array(vectors.matrix[first : first + count].ravel(), pa.float32())
    texts = flat.cast(pa.string()).to_pylist()
    width = vectors.dimensions
    return [" ".join(texts[i : i + width]) for i in range(0, len(texts), width)]
