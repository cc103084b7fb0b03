"""How well a model predicts documents: nats per document, and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from zen_pipeline.progress import counted

if TYPE_CHECKING:
    from torch import Tensor

    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.progress import Tell

# Rows of logits in memory at once: 4,096 rows of a vocabulary of 32,768 in float32 are 512 MiB.
_ROWS = 4096
# Tokens in one forward pass, padding included: 16 windows of 1,024, however long the windows of a given model are.
_TOKENS = 16_384


@dataclass(frozen=True)
class DocumentScores:
    """What a model makes of each document.

    Attributes:
        nats: float64 (documents,): minus the sum of the log-probabilities of the text tokens.
        correct: int64 (documents,): text tokens that were the likeliest ones.
        tokens: int64 (documents,): text tokens, which leaves out the leading `<|endoftext|>`.
    """

    nats: NDArray[np.float64]
    correct: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class _Window:
    """Inputs `start` to `end` of the token stream, of which the last `scored` predict a token that counts here."""

    document: int
    start: int
    end: int
    scored: int


def bits_per_byte(nats: float, utf8_bytes: int) -> float:
    """Nats over so many bytes of text as bits per byte, which does not depend on the tokenizer."""
    return nats / (math.log(2.0) * utf8_bytes)


def score_documents(
    model: CausalModel,
    tokens: NDArray[Any],
    offsets: NDArray[np.int64],
    *,
    context: int,
    batch: int = 16,
    tell: Tell | None = None,
) -> NDArray[np.float64]:
    """Nats of each document, float64 (documents,): `score_documents_in_full(...).nats`."""
    return score_documents_in_full(model, tokens, offsets, context=context, batch=batch, tell=tell).nats


@torch.no_grad()
def score_documents_in_full(
    model: CausalModel,
    tokens: NDArray[Any],
    offsets: NDArray[np.int64],
    *,
    context: int,
    batch: int = 16,
    tell: Tell | None = None,
) -> DocumentScores:
    """Score documents that each begin with `<|endoftext|>`, every text token once.

    A document of more than `context` inputs is read in windows half a context apart, so that every token after the
    first window has at least half a context before it. The answer does not depend on `batch`, up to rounding.

    Args:
        model: any precision; log-probabilities are taken in float32 and summed in float64.
        tokens: (N,) token ids of all documents, one after the other; may be a memmap.
        offsets: int64 (documents + 1,): where each document starts in `tokens`, and the end.
        context: positions that the model reads at once.
        batch: windows per forward pass, at most; fewer where they are long.
        tell: is told how many forward passes are done.

    Raises:
        ValueError: the context is smaller than 2 or larger than the model's.
    """
    if not 2 <= context <= model.config.max_position_embeddings:
        raise ValueError(f"context is {context}: use 2 to {model.config.max_position_embeddings}")
    documents = len(offsets) - 1
    nats = np.zeros(documents, dtype=np.float64)
    correct = np.zeros(documents, dtype=np.int64)
    windows = sorted(_windows(offsets, context), key=lambda w: w.end - w.start)  # similar lengths: little padding
    for group in counted(list(_groups(windows, batch)), tell):
        losses, hits = _score(model, tokens, group)
        owners = np.repeat([w.document for w in group], [w.scored for w in group])
        np.add.at(nats, owners, losses)
        np.add.at(correct, owners, hits)
    return DocumentScores(nats, correct, np.maximum(np.diff(offsets) - 1, 0))


def _groups(windows: list[_Window], batch: int) -> Iterator[list[_Window]]:
    """The windows, which come by their length, in groups of at most `batch` and of at most `_TOKENS`, or of one."""
    group: list[_Window] = []
    for window in windows:
        if group and (len(group) == batch or (len(group) + 1) * (window.end - window.start) > _TOKENS):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _windows(offsets: NDArray[np.int64], context: int) -> Iterator[_Window]:
    stride = context // 2
    for document, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        done = start  # the last token that is scored, or the leading <|endoftext|>
        while done < stop - 1:
            end = min(start + context, stop - 1)  # inputs are start .. end - 1; they predict start + 1 .. end
            yield _Window(document, start, end, scored=end - done)
            done = end
            start += stride


def _score(model: CausalModel, tokens: NDArray[Any], windows: list[_Window]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Losses and hits of the scored tokens of all windows, one after the other."""
    device = model.device
    longest = max(w.end - w.start for w in windows)
    inputs = np.zeros((len(windows), longest), dtype=np.int64)
    scored = np.zeros((len(windows), longest), dtype=np.bool_)
    for row, window in enumerate(windows):
        length = window.end - window.start
        inputs[row, :length] = tokens[window.start : window.end]  # what is right of it cannot be seen from it
        scored[row, length - window.scored : length] = True
    targets = np.concatenate([tokens[w.end - w.scored + 1 : w.end + 1] for w in windows]).astype(np.int64)

    hidden = model.hidden_states(torch.from_numpy(inputs).to(device))[torch.from_numpy(scored).to(device)]  # (N, C)
    parts = [
        _losses(model.logits(rows), wanted)
        for rows, wanted in zip(
            torch.split(hidden, _ROWS), torch.split(torch.from_numpy(targets).to(device), _ROWS), strict=True
        )
    ]
    losses, hits = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return losses.astype(np.float64), hits.astype(np.int64)


def _losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return F.cross_entropy(logits.float(), targets, reduction="none"), logits.argmax(-1) == targets
