"""Next-token vectors: input and output vectors with which a language model starts at bigram quality.

GloVe (Pennington et al. 2014) factorises the logarithm of co-occurrence counts. Here the window is the one next
token, its direction is kept, and what is factorised is the smoothed next-token distribution of the training tokens:

1. Interpolated Kneser-Ney bigram probabilities P(y | x) (Ney, Essen and Kneser 1994), in blocks of rows.
2. A weighted singular value decomposition of the row-centred log P, both sides weighted by the square root of the
   token's frequency, by randomized subspace iteration (Halko, Martinsson and Tropp 2011).
3. Some steps of full-batch cross-entropy between P and softmax(RMSNorm(input) @ output.T), because the model has a
   norm between the two tables and the softmax weighs errors differently than the decomposition.

Used as the embedding and the untied head of a model whose residual branches start at zero, they make the model's
first prediction the bigram's. The result is an ordinary checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

# The work grows with the square of the vocabulary; above this the model trains faster than the vectors.
MAX_VOCABULARY = 16_384
_BLOCK_ROWS = 512
_OVERSAMPLING = 16
_POWER_ITERATIONS = 2
_LEARNING_RATE = 0.03  # of a table with root mean square 1; 20 to 40 steps converge on 3 M tokens
_RMS_EPS = 1e-6


@dataclass
class NextTokenVectors:
    """Start values of a language model's embedding and head.

    Attributes:
        input: (vocab_size, dimensions) float32, to be used behind an RMSNorm.
        output: (vocab_size, dimensions) float32.
        bigram_loss: nats per token of the smoothed bigram under its own distribution, the floor of `loss`.
        loss: nats per token of these vectors against the same distribution.
    """

    input: Tensor
    output: Tensor
    bigram_loss: float
    loss: float


class BigramDistribution:
    """Interpolated Kneser-Ney P(y | x) of one token stream, kept sparse and read in dense blocks of rows."""

    def __init__(self, tokens: npt.NDArray[np.integer], vocab_size: int) -> None:
        stream = np.asarray(tokens, dtype=np.int64)
        keys, counts = np.unique(stream[:-1] * vocab_size + stream[1:], return_counts=True)
        rows, columns = keys // vocab_size, keys % vocab_size
        totals = np.bincount(rows, weights=counts, minlength=vocab_size)
        ones, twos = int((counts == 1).sum()), int((counts == 2).sum())
        self.vocab_size = vocab_size
        self.discount = ones / (ones + 2 * twos) if ones else 0.5
        # Half a count for tokens that never follow another, so that no probability is zero.
        continuation = np.bincount(columns, minlength=vocab_size) + 0.5
        self._continuation = torch.from_numpy((continuation / continuation.sum()).astype(np.float32))
        kinds = np.bincount(rows, minlength=vocab_size)
        backoff = np.where(totals > 0, self.discount * kinds / np.maximum(totals, 1), 1.0)
        self._backoff = torch.from_numpy(backoff.astype(np.float32))
        values = (counts - self.discount) / totals[rows]
        self._columns, self._values = torch.from_numpy(columns), torch.from_numpy(values.astype(np.float32))
        self._starts = np.searchsorted(rows, np.arange(vocab_size + 1))
        self._rows = torch.from_numpy(rows)
        frequency = totals + 0.5
        self.frequency = torch.from_numpy((frequency / frequency.sum()).astype(np.float32))

    def block(self, start: int, stop: int) -> Tensor:
        """P(y | x) for x in [start, stop): (stop - start, vocab_size) float32, each row sums to 1."""
        block = self._backoff[start:stop, None] * self._continuation
        entries = slice(int(self._starts[start]), int(self._starts[stop]))
        index = (self._rows[entries] - start) * self.vocab_size + self._columns[entries]
        block.view(-1).index_add_(0, index, self._values[entries])
        return block

    def blocks(self) -> Iterator[tuple[int, int, Tensor]]:
        """All rows as (start, stop, block), in order."""
        for start in range(0, self.vocab_size, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, self.vocab_size)
            yield start, stop, self.block(start, stop)


def next_token_vectors(
    tokens: npt.NDArray[np.integer], vocab_size: int, dimensions: int, *, steps: int = 30, seed: int = 0
) -> NextTokenVectors:
    """Input and output vectors of the given width that predict the next token as the smoothed bigram does.

    Args:
        tokens: (n,) the training stream.
        vocab_size: number of token ids; at most `MAX_VOCABULARY`.
        dimensions: the model's width.
        steps: full-batch cross-entropy steps after the decomposition.
        seed: of the random projection; the same seed and thread count give the same bits.

    Raises:
        ValueError: the vocabulary is too large, or there are fewer than two tokens.
    """
    if vocab_size > MAX_VOCABULARY:
        raise ValueError(f"next-token vectors need a vocabulary of at most {MAX_VOCABULARY}, found {vocab_size}")
    if len(tokens) < 2:
        raise ValueError("next-token vectors need at least two tokens")
    distribution = BigramDistribution(tokens, vocab_size)
    source, target = _weighted_svd(distribution, min(dimensions, vocab_size), seed)
    pad = dimensions - source.shape[1]
    source, target = F.pad(source, (0, pad)), F.pad(target, (0, pad))
    source, target, loss = _fit(distribution, source, target, steps)
    return NextTokenVectors(source, target, _entropy(distribution), loss)


def _weighted_svd(distribution: BigramDistribution, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rank-`rank` factors of the centred log probabilities, scaled so that the input rows have unit mean norm."""
    weight = distribution.frequency.sqrt()
    size = distribution.vocab_size

    def times(right: Tensor) -> Tensor:
        product = torch.empty(size, right.shape[1])
        for start, stop, block in distribution.blocks():
            product[start:stop] = _centred_log(block, weight[start:stop], weight) @ right
        return product

    def transposed_times(left: Tensor) -> Tensor:
        product = torch.zeros(size, left.shape[1])
        for start, stop, block in distribution.blocks():
            product += _centred_log(block, weight[start:stop], weight).T @ left[start:stop]
        return product

    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(size, min(rank + _OVERSAMPLING, size), generator=generator)
    basis, _ = torch.linalg.qr(times(basis))
    for _ in range(_POWER_ITERATIONS):
        basis, _ = torch.linalg.qr(transposed_times(basis))
        basis, _ = torch.linalg.qr(times(basis))
    left, values, right = torch.linalg.svd(transposed_times(basis).T, full_matrices=False)
    root = values[:rank].sqrt()
    source = (basis @ left[:, :rank]) * root / weight[:, None]
    target = right[:rank].T * root / weight[:, None]
    scale = (source.pow(2).mean(1).sqrt() * distribution.frequency).sum()
    return source / scale, target * scale


def _centred_log(block: Tensor, row_weight: Tensor, column_weight: Tensor) -> Tensor:
    """Weighted log probabilities without their row means, which the softmax does not see."""
    logs = block.log()
    logs -= logs.mean(1, keepdim=True)
    return logs.mul_(row_weight[:, None]).mul_(column_weight)


def _fit(distribution: BigramDistribution, source: Tensor, target: Tensor, steps: int) -> tuple[Tensor, Tensor, float]:
    """Full-batch Adam on the expected cross-entropy, the rate falling to zero."""
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    scales = (1.0, float(target.detach().pow(2).mean().sqrt()))
    groups = [{"params": [source]}, {"params": [target]}]
    optimizer = torch.optim.Adam(groups, lr=_LEARNING_RATE, betas=(0.9, 0.95))
    loss = math.nan
    for step in range(steps + 1):
        loss = 0.0
        for start, stop, block in distribution.blocks():
            rows = F.rms_norm(source[start:stop], (source.shape[1],), eps=_RMS_EPS)
            log_probabilities = F.log_softmax(rows @ target.T, dim=-1)
            partial = -(distribution.frequency[start:stop, None] * block * log_probabilities).sum()
            loss += partial.item()
            if step < steps:
                partial.backward()  # type: ignore[no-untyped-call]
        if step < steps:
            for group, scale in zip(optimizer.param_groups, scales, strict=True):
                group["lr"] = _LEARNING_RATE * scale * (1 - step / steps)
            optimizer.step()
            optimizer.zero_grad()
    return source.detach(), target.detach(), loss


def _entropy(distribution: BigramDistribution) -> float:
    total = 0.0
    for start, stop, block in distribution.blocks():
        total -= float((distribution.frequency[start:stop, None] * block * block.log()).sum())
    return total
