"""A language model and n-gram models on the same test documents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zen_pipeline.evaluation.kneser_ney import KneserNey

if TYPE_CHECKING:
    from zen_pipeline.inference.scoring import DocumentScores
    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.progress import Tell

# What the n-gram models are counted on at most: 5-grams of 3.2 M tokens took 4 s and 350 MB.
MAX_BASELINE_TOKENS = 20_000_000
_WORDS = {1: "unigram", 2: "bigram", 3: "trigram"}


@dataclass(frozen=True)
class Documents:
    """Token ids of whole documents, each with its start token first.

    Attributes:
        tokens: (tokens,) integer.
        offsets: (documents + 1,) int64, where each document starts in `tokens`, and the end.
        bytes: (documents,) int64, UTF-8 bytes of each document.
    """

    tokens: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]

    @property
    def text_tokens(self) -> npt.NDArray[np.int64]:
        """(documents,) tokens without the start token."""
        lengths: npt.NDArray[np.int64] = np.maximum(np.diff(self.offsets) - 1, 0)
        return lengths


def first_documents(
    tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], *, max_tokens: int
) -> Documents:
    """The first whole documents of at most `max_tokens` tokens together; the very first one always.

    Whole ones, so that another model with another tokenizer can be compared on the same texts.
    """
    fitting = int(np.searchsorted(offsets, max_tokens, side="right")) - 1
    count = min(max(1, fitting), len(offsets) - 1)
    end = int(offsets[count])
    return Documents(np.asarray(tokens[:end]), np.asarray(offsets[: count + 1]), np.asarray(sizes[:count]))


def score_model(model: CausalModel, documents: Documents, *, tell: Tell | None = None) -> DocumentScores:
    """Nats and hits of each document under a model; `tell` is told how far it is."""
    from zen_pipeline.inference.scoring import score_documents_in_full

    context = model.config.max_position_embeddings
    return score_documents_in_full(model, documents.tokens, documents.offsets, context=context, tell=tell)


def summarize(scores: DocumentScores, documents: Documents) -> dict[str, float]:
    """`bits_per_byte`, `loss` (nats per text token) and `token_accuracy` over all documents."""
    tokens = int(scores.tokens.sum())
    return {
        "bits_per_byte": bits_per_byte(float(scores.nats.sum()), documents),
        "loss": float(scores.nats.sum()) / max(tokens, 1),
        "token_accuracy": float(scores.correct.sum()) / max(tokens, 1),
    }


def ngram_baselines(train: Documents, test: Documents, *, vocab_size: int, order: int) -> dict[str, float]:
    """Bits per byte of the test documents under interpolated Kneser-Ney models of all orders up to `order`."""
    model = KneserNey.fit(train.tokens, train.offsets, vocab_size=vocab_size, order=order)
    nats = model.nats(test.tokens, test.offsets).sum(axis=1)
    return {ngram_name(k): bits_per_byte(float(nats[k - 1]), test) for k in range(1, order + 1)}


def bits_per_byte(nats: float, documents: Documents) -> float:
    """Nats over all documents as bits per byte of their text."""
    return nats / (math.log(2.0) * max(int(documents.bytes.sum()), 1))


def ngram_name(order: int) -> str:
    """`unigram`, `bigram`, `trigram`, `4-gram`, …"""
    return _WORDS.get(order, f"{order}-gram")
