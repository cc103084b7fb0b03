"""Files of word vectors that other programs write and read: word2vec text and binary, GloVe text.

Published files have broken lines. Each is skipped and counted by its reason, and `FileReport` says so; what makes the
whole file doubtful (values that are not finite, a header that does not fit its lines) is an error.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zen_pipeline.embeddings.vector_binary import read_binary
from zen_pipeline.embeddings.vector_report import (
    GLOVE_TEXT,
    HEADER,
    SAFETENSORS,
    WORD2VEC_BINARY,
    WORD2VEC_TEXT,
    Collector,
    FileReport,
)
from zen_pipeline.embeddings.vector_text import read_text
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.errors import DataError

_HEAD_BYTES = 1 << 20


def read_vectors(path: Path) -> tuple[WordVectors, FileReport]:
    """Word vectors of any known format, recognized by the content.

    Args:
        path: a file, also compressed (.gz); a .zip with one file; a file in a .zip, as archive.zip/name; or a folder
            or file that `WordVectors.save` wrote, which is mapped and not read.

    Returns:
        the vectors in the order of the file, each count 1 where the format has none, and what was skipped.

    Raises:
        DataError: the file is missing, holds no vector, or is damaged as a whole.
    """
    if path.is_dir() or path.suffix == ".safetensors":
        vectors = WordVectors.load(path)
        return vectors, FileReport(str(path), SAFETENSORS, len(vectors.words), vectors.dimensions)
    report = FileReport(str(path), "")
    try:
        with _opened(path) as stream:
            if stream.peek(3)[:3] == codecs.BOM_UTF8:
                stream.read(3)
            report.format = _format_of(stream.peek(_HEAD_BYTES), path)
            collector = Collector(report, on_disk=_is_large(path))
            (read_binary if report.format == WORD2VEC_BINARY else read_text)(stream, collector)
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: the compressed data is damaged or cut ({error}): fetch it again") from error
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: name a file of word vectors") from None
    return collector.finish(), report


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with _raw(path) as raw, io.BufferedReader(raw, _HEAD_BYTES) as stream:
        yield stream


@contextmanager
def _raw(path: Path) -> Iterator[Any]:
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            yield file
    elif path.suffix == ".zip" or path.parent.suffix == ".zip":
        archive, member = (path, None) if path.suffix == ".zip" else (path.parent, path.name)
        with zipfile.ZipFile(archive) as zipped:
            names = [name for name in zipped.namelist() if not name.endswith("/")]
            if member is None and len(names) == 1:
                [member] = names
            if member not in names:
                raise DataError(f"{path}: name one file of the archive, as {archive}/{names[0] if names else 'NAME'}; "
                                f"it has {', '.join(names) or 'none'}")  # fmt: skip
            with zipped.open(member) as inside:
                yield inside
    else:
        with path.open("rb", buffering=0) as plain:
            yield plain


def _is_large(path: Path) -> bool:
    import psutil

    file = path if path.exists() else path.parent
    expected = file.stat().st_size * (2 if file.suffix in (".gz", ".zip") else 1)
    return bool(expected > psutil.virtual_memory().available // 4)


def _format_of(head: bytes, path: Path) -> str:
    """Binary files have a header and bytes behind it that no text has."""
    first, _, rest = head.partition(b"\n")
    header = HEADER.fullmatch(first)
    if header is None:
        return GLOVE_TEXT  # a text that only its lines tell from word2vec's: `read_text` decides
    line = rest.partition(b"\n")[0].split()[1:]
    if line and len(line) == int(header[2]) and all(map(_is_number, line)):
        return WORD2VEC_TEXT
    values = rest.partition(b" ")[2][: 4 * int(header[2])]
    control = values.translate(None, bytes(range(32, 256)) + b"\t\r\n")
    named_binary = ".bin" in path.suffixes
    return WORD2VEC_BINARY if control or named_binary else WORD2VEC_TEXT


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
