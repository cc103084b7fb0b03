"""Token files: one memory-mapped stream per split, with the start and the length in bytes of every document."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.corpus.tokenizer import Tokenizer
from zen_pipeline.errors import StoreError
from zen_pipeline.files import file_digest

INDEX = "shards.json"
_BATCH_CHARACTERS = 4 << 20  # text in memory at a time while encoding


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


def write_split(folder: Path, split: str, texts: Iterable[str], tokenizer: Tokenizer) -> dict[str, Any]:
    """Encode the texts into `{split}.bin` with its index, a few megabytes at a time.

    Returns:
        Counts and the digest of the stream, for `shards.json`.
    """
    dtype = token_dtype(tokenizer.vocab_size)
    offsets, lengths = array("q", [0]), array("q")
    path = folder / f"{split}.bin"
    with path.open("wb") as file:
        for batch in _batches(texts):
            for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
                np.array([tokenizer.start_id, *ids], dtype=dtype).tofile(file)
                offsets.append(offsets[-1] + len(ids) + 1)
                lengths.append(len(text.encode()))
    np.save(folder / f"{split}.offsets.npy", np.array(offsets, dtype=np.int64))
    np.save(folder / f"{split}.bytes.npy", np.array(lengths, dtype=np.int64))
    return {
        "documents": len(lengths),
        "tokens": offsets[-1],
        "bytes": sum(lengths),
        "sha256": file_digest(path),
    }


def write_index(folder: Path, tokenizer: Tokenizer, splits: dict[str, dict[str, Any]]) -> None:
    """Write `shards.json` and the bytes of each token."""
    dtype = token_dtype(tokenizer.vocab_size)
    index = {"dtype": dtype.str, "vocab_size": tokenizer.vocab_size, "splits": splits}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    np.save(folder / "token_bytes.npy", tokenizer.token_bytes)


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
