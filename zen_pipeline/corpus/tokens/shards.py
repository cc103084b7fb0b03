"""Token files: one memory-mapped stream per split, with the start and the length in bytes of every document.

A stream is one file however long it is: a window of training is then a slice, wherever it lies, and no document ends at
a file's edge. It is written in parts, so that a killed run goes on after the last whole one (`write_shards`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.records import SPLITS
from zen_pipeline.corpus.texts import TextRows, read_texts, row_group_ranges
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.errors import StoreError
from zen_pipeline.files import file_digest, write_atomically
from zen_pipeline.logs import get_logger

INDEX = "shards.json"
PART_BYTES = 128 << 20  # of text: about a minute on one core
_BATCH_CHARACTERS = 4 << 20  # text in memory at a time while encoding

log = get_logger(__name__)


@dataclass(frozen=True)
class TokenSplit:
    """One split of a tokens artifact.

    Attributes:
        tokens: (n,) uint16 or uint32, memory-mapped; each document is the start token and then its tokens.
        offsets: (documents + 1,) int64, start of each document in `tokens`, and the end.
        bytes: (documents,) int64, length of each document's text in UTF-8.
    """

    tokens: npt.NDArray[np.integer]
    offsets: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path, split: str) -> TokenSplit:
        """The split `train`, `valid` or `test` of the tokens artifact in `folder`.

        Raises:
            StoreError: files are missing or do not fit together.
        """
        try:
            dtype = np.dtype(json.loads((folder / INDEX).read_text())["dtype"])
            offsets = np.load(folder / f"{split}.offsets.npy")
            lengths = np.load(folder / f"{split}.bytes.npy")
            path = folder / f"{split}.bin"
            size = path.stat().st_size // dtype.itemsize
            tokens = np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"{folder} has no readable {split} tokens: {error}") from error
        if len(offsets) != len(lengths) + 1 or int(offsets[-1]) != size:
            raise StoreError(f"{folder}: the index of {split} does not fit its {size} tokens")
        return cls(tokens, offsets, lengths)

    def document(self, index: int) -> npt.NDArray[np.integer]:
        """Tokens of one document, its start token included."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest little-endian type that holds every id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class SplitWriter:
    """Appends documents to one split; what `mark` has ended survives a kill.

    Attributes:
        parts: tokens, documents and SHA-256 of the stream's bytes, for each part that `mark` ended.
    """

    def __init__(self, folder: Path, split: str, tokenizer: Tokenizer, parts: Sequence[dict[str, Any]] = ()) -> None:
        """Go on after the given parts of files that exist, or (without any) begin anew."""
        self._folder, self._split, self._start_id = folder, split, tokenizer.start_id
        self._dtype = token_dtype(tokenizer.vocab_size)
        self.parts = list(parts)
        # Per document two int64: its tokens, the start token among them, and the bytes of its text.
        sizes = {
            ".bin": self._of_parts("tokens") * self._dtype.itemsize,
            ".documents": self._of_parts("documents") * 16,
        }
        self._stream, self._documents = (_open_at(folder / f"{split}{suffix}", size) for suffix, size in sizes.items())
        self._begin()

    def append(self, text: str, ids: Sequence[int]) -> None:
        """Add one document behind its start token."""
        encoded = np.array([self._start_id, *ids], dtype=self._dtype).tobytes()
        self._digest.update(encoded)
        self._stream.write(encoded)
        np.array([len(ids) + 1, len(text.encode())], dtype=np.int64).tofile(self._documents)
        self._tokens += len(ids) + 1
        self._count += 1

    def mark(self) -> None:
        """End a part: it is on the disk when this returns."""
        for file in (self._stream, self._documents):
            file.flush()
            os.fsync(file.fileno())
        self.parts.append({"tokens": self._tokens, "documents": self._count, "sha256": self._digest.hexdigest()})
        self._begin()

    def finish(self) -> dict[str, Any]:
        """Write the index of the documents; counts and digests for `shards.json`."""
        self._stream.close()
        self._documents.close()
        path = self._folder / f"{self._split}.documents"
        tokens, sizes = np.fromfile(path, dtype=np.int64).reshape(-1, 2).T
        offsets = np.concatenate(([0], np.cumsum(tokens)))
        np.save(self._folder / f"{self._split}.offsets.npy", offsets)
        np.save(self._folder / f"{self._split}.bytes.npy", np.ascontiguousarray(sizes))
        path.unlink()
        return {
            "documents": len(sizes),
            "tokens": int(offsets[-1]),
            "bytes": int(sizes.sum()),
            "sha256": file_digest(self._folder / f"{self._split}.bin"),
            "parts": self.parts,
        }

    def _begin(self) -> None:
        self._tokens = self._count = 0
        self._digest = hashlib.sha256()

    def _of_parts(self, what: str) -> int:
        return sum(part[what] for part in self.parts)


def _open_at(path: Path, size: int) -> IO[bytes]:
    """The file, cut to `size` bytes and written on from there."""
    file = path.open("r+b" if size else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def write_split(folder: Path, split: str, texts: Iterable[str], tokenizer: Tokenizer) -> dict[str, Any]:
    """Encode the texts into `{split}.bin` with its index, a few megabytes at a time.

    Returns:
        Counts and the digest of the stream, for `shards.json`.
    """
    writer = SplitWriter(folder, split, tokenizer)
    for batch in _batches(texts):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            writer.append(text, ids)
    writer.mark()
    return writer.finish()


def write_index(folder: Path, tokenizer: Tokenizer, splits: dict[str, dict[str, Any]]) -> None:
    """Write `shards.json` and the bytes of each token."""
    dtype = token_dtype(tokenizer.vocab_size)
    index = {"dtype": dtype.str, "vocab_size": tokenizer.vocab_size, "splits": splits}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    np.save(folder / "token_bytes.npy", tokenizer.token_bytes)


def write_shards(
    records: Path, folder: Path, tokenizer: Tokenizer, *, kind: str | None = None, part_bytes: int = PART_BYTES
) -> dict[str, dict[str, Any]]:
    """Encode the kept records into the streams of all splits, going on after the parts that `folder` has already.

    A part is some row groups of the records; each is read once and encoded by all cores (the tokenizer's own threads).
    The bytes do not depend on the number of threads, nor on where an earlier run was killed.

    Args:
        records: the file of the kept records.
        folder: where the streams are written, and kept when this process is killed.
        tokenizer: the same one for all parts of a folder.
        kind: of the records to encode; None for every kind.
        part_bytes: text in one part; what a kill costs at most.

    Returns:
        Counts and digests of each split, for `shards.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "progress.json"
    ranges = row_group_ranges(records, part_bytes)
    done = _whole_parts(progress, folder, ranges, token_dtype(tokenizer.vocab_size))
    if done:
        log.info("tokens: going on after part %d of %d", done, len(ranges))
    parts = json.loads(progress.read_text())["splits"] if done else {}
    writers = {split: SplitWriter(folder, split, tokenizer, parts.get(split, [])[:done]) for split in SPLITS}
    for number, row_groups in enumerate(ranges[done:], done + 1):
        for rows in read_texts(records, kind=kind, row_groups=row_groups):
            _append(rows, tokenizer, writers)
        for writer in writers.values():
            writer.mark()
        state = {
            "row_groups": [[r.start, r.stop] for r in ranges[:number]],
            "splits": {split: writer.parts for split, writer in writers.items()},
        }
        write_atomically(progress, json.dumps(state))
        if len(ranges) > 1:
            log.info("tokens: part %d of %d", number, len(ranges))
    return {split: writer.finish() for split, writer in writers.items()}


def _append(rows: TextRows, tokenizer: Tokenizer, writers: Mapping[str, SplitWriter]) -> None:
    place = 0
    for batch in _batches(rows.texts):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            writers[rows.splits[place]].append(text, ids)
            place += 1


def _whole_parts(progress: Path, folder: Path, ranges: Sequence[range], dtype: np.dtype[Any]) -> int:
    """How many parts of an earlier run are there in all splits, of the same row groups and with the right digests."""
    try:
        state = json.loads(progress.read_text())
        same = [[r.start, r.stop] for r in ranges[: len(state["row_groups"])]] == state["row_groups"]
        return min(_whole_of(folder, s, state["splits"][s], dtype) for s in SPLITS) if same else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _whole_of(folder: Path, split: str, parts: Sequence[Mapping[str, Any]], dtype: np.dtype[Any]) -> int:
    documents, listed = (folder / f"{split}.documents").stat().st_size // 16, 0
    with (folder / f"{split}.bin").open("rb") as stream:
        for number, part in enumerate(parts):
            listed += part["documents"]
            if listed > documents or _digest_of(stream, part["tokens"] * dtype.itemsize) != part["sha256"]:
                return number
    return len(parts)


def _digest_of(stream: IO[bytes], size: int) -> str:
    digest = hashlib.sha256()
    while size and (block := stream.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def _batches(texts: Iterable[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
