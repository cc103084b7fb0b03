"""Next-token vectors start a model at the quality of the smoothed bigram."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zen_pipeline.models.starts.next_token import MAX_VOCABULARY, BigramDistribution, next_token_vectors


def markov_stream(vocab_size: int, length: int, seed: int = 0) -> np.ndarray:
    """Tokens of a random sparse first-order chain."""
    rng = np.random.default_rng(seed)
    successors = rng.integers(0, vocab_size, size=(vocab_size, 4))
    tokens = [0]
    for choice in rng.choice(4, p=[0.6, 0.25, 0.1, 0.05], size=length - 1):
        tokens.append(int(successors[tokens[-1], choice]))
    return np.array(tokens, dtype=np.uint16)


def test_every_row_is_a_distribution_and_equals_the_formula() -> None:
    tokens = markov_stream(50, 2000)
    distribution = BigramDistribution(tokens, 60)  # ten ids never occur
    probabilities = torch.cat([block for _, _, block in distribution.blocks()])
    assert torch.allclose(probabilities.sum(1), torch.ones(60), atol=1e-5)
    assert (probabilities > 0).all()

    counts = np.zeros((60, 60))
    np.add.at(counts, (tokens[:-1].astype(int), tokens[1:].astype(int)), 1)
    continuation = (counts > 0).sum(0) + 0.5
    continuation = continuation / continuation.sum()
    discount = (counts == 1).sum() / ((counts == 1).sum() + 2 * (counts == 2).sum())
    x = int(tokens[5])
    expected = np.maximum(counts[x] - discount, 0) / counts[x].sum()
    expected += discount * (counts[x] > 0).sum() / counts[x].sum() * continuation
    assert np.allclose(probabilities[x].numpy(), expected, atol=1e-6)


def test_full_width_reaches_the_bigram_and_narrow_does_not_fall_far_behind() -> None:
    tokens = markov_stream(64, 20_000)
    full = next_token_vectors(tokens, 64, 64, steps=60)
    narrow = next_token_vectors(tokens, 64, 16, steps=60)
    assert full.input.shape == full.output.shape == (64, 64)
    assert full.loss - full.bigram_loss < 0.02
    assert full.loss <= narrow.loss < np.log(64) - 0.5


def test_more_steps_come_nearer() -> None:
    tokens = markov_stream(64, 20_000)
    losses = [next_token_vectors(tokens, 64, 32, steps=steps).loss for steps in (0, 10, 40)]
    assert losses[0] > losses[1] > losses[2]


def test_wider_than_the_vocabulary_is_padded() -> None:
    vectors = next_token_vectors(markov_stream(20, 500), 20, 32, steps=5)
    assert vectors.input.shape == (20, 32)
    assert torch.isfinite(vectors.input).all()
    assert torch.isfinite(vectors.output).all()


def test_the_same_seed_gives_the_same_bits() -> None:
    tokens = markov_stream(64, 5000)
    first, second = (next_token_vectors(tokens, 64, 16, steps=5, seed=3) for _ in range(2))
    assert torch.equal(first.input, second.input)
    assert torch.equal(first.output, second.output)


def test_a_vocabulary_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        next_token_vectors(np.zeros(10, dtype=np.int64), MAX_VOCABULARY + 1, 8)
