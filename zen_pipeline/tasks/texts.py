"""Tasks on running text: the test documents, and bits per byte of what is asked for in them."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from zen_pipeline.errors import StoreError
from zen_pipeline.progress import Tell
from zen_pipeline.tasks.base import EvaluationRequest, Skipped, Task, TestSet, digest_of

if TYPE_CHECKING:
    from zen_pipeline.evaluation.language_model import Documents


class TestDocuments(NamedTuple):
    """Test documents as texts, and as the token ids of this run's own tokenizer."""

    texts: list[str]
    tokens: Documents


class TextTask(Task):
    """A task that is measured on test documents, by the bits per byte of what it asks for in them."""

    @override
    def test_set(self, asked: EvaluationRequest) -> TestSet | Skipped:
        return documents_of(asked, asked.config.evaluate.max_test_tokens or asked.sizes.test_tokens)

    @override
    def figure(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return bits_per_byte(sums)

    @override
    def loss(self, folder: Path, asked: EvaluationRequest, most: int, tell: Tell | None = None) -> float:
        test = documents_of(asked, most)
        assert not isinstance(test, Skipped)
        return float(self.figure(self.measure(folder, test, tell).units.sum(axis=0)))


def vocab_size(tokens: Path) -> int:
    """Ids of the tokenizer of a tokens artifact."""
    return len(np.load(tokens / "token_bytes.npy", mmap_mode="r"))


def bits_per_byte(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits per byte of (..., 2) sums of nats and bytes; NaN without a byte."""
    nats, sizes = sums[..., 0], sums[..., 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = nats / (math.log(2.0) * sizes)
    return found


def documents_of(asked: EvaluationRequest, most: int) -> TestSet | Skipped:
    """The first whole test documents of at most `most` tokens, one at least.

    Raises:
        StoreError: the token shards are not those of the records.
    """
    import json

    from zen_pipeline.artifacts import read_manifest
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.evaluation.language_model import MAX_BASELINE_TOKENS, first_documents

    split = TokenSplit.open(asked.tokens, "test")
    if len(split.bytes) == 0:
        return Skipped(
            "the test split holds no document, so nothing can be measured: add texts, name a file test.*, or raise "
            "validate.test_fraction"
        )
    documents = first_documents(split.tokens, split.offsets, split.bytes, max_tokens=most)
    kind = read_manifest(asked.tokens).summary.get("text", "document")
    records = read_records(asked.records / "records.parquet", kind=kind, split="test")
    texts = [record.text for record in islice(records, len(documents.bytes))]
    if [len(text.encode()) for text in texts] != documents.bytes.tolist():
        raise StoreError(f"{asked.tokens} does not hold the test documents of {asked.records}: run `zen tokenize`")
    index = json.loads((asked.tokens / "shards.json").read_text())
    sizes = {
        "documents": len(texts),
        "tokens": int(documents.text_tokens.sum()),
        "bytes": int(documents.bytes.sum()),
        "baseline_tokens": min(MAX_BASELINE_TOKENS, int(index["splits"]["train"]["tokens"])),
    }
    return TestSet(TestDocuments(texts, documents), digest_of(texts), sizes)


def encoded(documents: TestDocuments, folder: Path) -> Documents:
    """The documents in the token ids of the model in a folder, each after its start token."""
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.evaluation.language_model import Documents

    tokenizer = Tokenizer.load(folder)
    start = tokenizer.start_id
    ids = [np.asarray([start, *text], dtype=np.int64) for text in tokenizer.encode_batch(documents.texts)]
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    return Documents(np.concatenate(ids), offsets, documents.tokens.bytes)
