"""One digest for many files, fast enough to be asked before every run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from zen_pipeline.corpus.reading import huggingface
from zen_pipeline.corpus.reading import remote as addresses
from zen_pipeline.errors import DataError


def digest_files(files: Sequence[tuple[str, str]]) -> str:
    """SHA-256 over the sorted (name, SHA-256 of the content) of the files, in hex.

    Args:
        files: (name, path or address) pairs; the name is what identifies the file, wherever it lies. What stands for
            the content of a file at an address is said in `addresses.content_digest`.

    Raises:
        DataError: a file cannot be read.
    """
    with ThreadPoolExecutor(cores() * 2) as pool:  # hashing and reading release the interpreter's lock
        digests = list(pool.map(_file_digest, [path for _, path in files]))
    whole = hashlib.sha256()
    for name, digest in sorted((name, digest) for (name, _), digest in zip(files, digests, strict=True)):
        whole.update(f"{name}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _file_digest(path: str) -> str:
    if path.startswith(huggingface.PREFIX):
        return huggingface.content_digest(path)
    if addresses.is_address(path):
        return addresses.content_digest(path)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
