"""What the token files of an artifact are like: a row per split and a row per document, read from the files alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zen_pipeline.corpus.records import SPLITS, read_columns
from zen_pipeline.corpus.tokens.shards import INDEX, TokenSplit, token_dtype
from zen_pipeline.files import file_digest

if TYPE_CHECKING:
    import pandas as pd


def measure_splits(folder: Path, records: Path, kind: str | None) -> pd.DataFrame:
    """One row per split, named by it; 1 stands for yes and 0 for no.

    Columns: `documents`, `tokens`, `bytes`, `bytes_per_token`, `vocab_size`, `smallest_id`, `largest_id`,
    `digest_right` (of the stream, as in `shards.json`), `dtype_right` (the smallest that holds the vocabulary),
    `counts_agree` (of the index with the files), `records_agree` (a document for each record that was kept).

    Args:
        folder: of the tokens artifact.
        records: the file of the kept records.
        kind: of the records that were encoded; None for every kind.

    Raises:
        StoreError: files are missing or do not fit together.
    """
    import pandas as pd

    index = json.loads((folder / INDEX).read_text())
    kept = _kept(records, kind)
    rows = {name: _split(folder, name, index, kept[name]) for name in SPLITS}
    return pd.DataFrame.from_dict(rows, orient="index")


def _split(folder: Path, name: str, index: dict[str, Any], records: int) -> dict[str, float]:
    split, listed = TokenSplit.open(folder, name), index["splits"][name]
    documents, tokens, size = len(split.bytes), len(split.tokens), int(split.bytes.sum())
    vocab_size = int(index["vocab_size"])
    return {
        "documents": documents,
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": size / max(tokens - documents, 1),
        "vocab_size": vocab_size,
        "smallest_id": int(split.tokens.min()) if tokens else 0,
        "largest_id": int(split.tokens.max()) if tokens else 0,
        "digest_right": int(file_digest(folder / f"{name}.bin") == listed["sha256"]),
        "dtype_right": int(np.dtype(index["dtype"]) == token_dtype(vocab_size)),
        "counts_agree": int((documents, tokens, size) == (listed["documents"], listed["tokens"], listed["bytes"])),
        "records_agree": int(documents == records),
    }


def _kept(records: Path, kind: str | None) -> Counter[str]:
    pairs = (pair for columns in read_columns(records, "split", "kind") for pair in zip(*columns, strict=True))
    return Counter(split for split, its_kind in pairs if kind in (None, its_kind))


def measure_documents(folder: Path) -> pd.DataFrame:
    """One row per document of all splits, named `split 3`: `tokens` (its start token included), `bytes_per_token`."""
    import pandas as pd

    frames = []
    for name in SPLITS:
        split = TokenSplit.open(folder, name)
        tokens = np.diff(split.offsets)
        per_token = split.bytes / np.maximum(tokens - 1, 1)
        frame = pd.DataFrame({"tokens": tokens, "bytes_per_token": per_token})
        frames.append(frame.set_index(f"{name} " + frame.index.astype(str)))
    return pd.concat(frames)
