"""Scores of documents against one plain loop over tokens."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from zen_pipeline.inference import scoring
from zen_pipeline.inference.scoring import bits_per_byte, score_documents, score_documents_in_full
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

LENGTHS = [1, 2, 9, 16, 17, 18, 24, 25, 26, 40, 3, 100]


@pytest.fixture(scope="module")
def model() -> Qwen3:
    config = Qwen3Config(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        max_position_embeddings=32,
    )
    model = Qwen3(config)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def stream() -> tuple[np.ndarray, np.ndarray]:
    """Documents of many lengths, each after an <|endoftext|>, as they lie in a shard."""
    generator = np.random.default_rng(0)
    documents = [np.concatenate([[0], generator.integers(3, 60, n - 1)]) for n in LENGTHS]
    return np.concatenate(documents).astype(np.uint16), np.cumsum([0, *LENGTHS]).astype(np.int64)


def naive(model: Qwen3, document: np.ndarray, context: int) -> tuple[float, int]:
    """Nats and hits, token by token: the window of a token is the first one that reaches it."""
    nats, hits = 0.0, 0
    for target in range(1, len(document)):
        start = 0
        while target > start + context:
            start += context // 2
        seen = torch.tensor([document[start:target].astype(np.int64).tolist()])
        with torch.no_grad():
            logits = model(seen)[0, -1]
        nats -= float(logits.log_softmax(-1)[int(document[target])])
        hits += int(logits.argmax()) == int(document[target])
        assert start == 0 or target - start >= context // 2, "half a context before it"
    return nats, hits


@pytest.mark.parametrize("context", [16, 17, 32])
def test_scores_equal_those_of_a_plain_loop(model: Qwen3, stream: tuple[np.ndarray, np.ndarray], context: int) -> None:
    tokens, offsets = stream
    scores = score_documents_in_full(model, tokens, offsets, context=context, batch=4)
    expected = [naive(model, tokens[a:b], context) for a, b in pairwise(offsets)]
    assert scores.nats.dtype == np.float64
    np.testing.assert_allclose(scores.nats, [nats for nats, _ in expected], rtol=1e-5)
    assert scores.correct.tolist() == [hits for _, hits in expected]
    assert scores.tokens.tolist() == [n - 1 for n in LENGTHS]


def test_neither_the_batch_nor_the_company_matters(model: Qwen3, stream: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, offsets = stream
    whole = score_documents(model, tokens, offsets, context=16, batch=64)
    np.testing.assert_allclose(score_documents(model, tokens, offsets, context=16, batch=1), whole, rtol=1e-5)
    for number in (3, 11):
        alone = tokens[offsets[number] : offsets[number + 1]]
        nats = score_documents(model, alone, np.array([0, len(alone)]), context=16)
        np.testing.assert_allclose(nats, whole[number : number + 1], rtol=1e-5)


def test_long_windows_are_scored_a_few_at_a_time(
    model: Qwen3, stream: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, offsets = stream
    whole = score_documents(model, tokens, offsets, context=32, batch=64)
    seen: list[int] = []
    handle = model.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))
    monkeypatch.setattr(scoring, "_TOKENS", 40)
    np.testing.assert_allclose(score_documents(model, tokens, offsets, context=32, batch=64), whole, rtol=1e-5)
    handle.remove()
    assert max(seen) <= 40
    assert max(seen) > 32  # more than one where they fit


def test_no_documents_no_scores(model: Qwen3) -> None:
    assert score_documents(model, np.zeros(0, np.uint16), np.zeros(1, np.int64), context=16).shape == (0,)


@pytest.mark.parametrize("context", [1, 33])
def test_a_context_that_the_model_does_not_have_is_refused(model: Qwen3, context: int) -> None:
    with pytest.raises(ValueError, match="context"):
        score_documents(model, np.zeros(4, np.uint16), np.array([0, 4]), context=context)


def test_bits_per_byte_of_even_odds() -> None:
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2.0)
