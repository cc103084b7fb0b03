from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.attention import attention_weights
from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3, Qwen3Config
from zen_pipeline.models.starts.previous_token_heads import put_previous_token_heads


def started(heads: int, kv_heads: int, head_dim: int = 64) -> Qwen3:
    config = Qwen3Config(
        vocab_size=500, hidden_size=96, num_hidden_layers=2, num_attention_heads=heads, num_key_value_heads=kv_heads,
        head_dim=head_dim, intermediate_size=64, max_position_embeddings=256,
    )  # fmt: skip
    model = Qwen3(config, seed=0)
    put_previous_token_heads(model)
    return model


def first_layer(model: Qwen3, tokens: Tensor) -> Tensor:
    """What the first layer attends to, (H, T, T)."""
    layer = model.model.layers[0]
    assert isinstance(layer, DecoderLayer)
    return attention_weights(model, layer, model.token_embeddings(tokens[None]))


@torch.no_grad()
@pytest.mark.parametrize(("heads", "kv_heads", "count"), [(3, 3, 3), (6, 2, 4), (6, 6, 4), (1, 1, 1)])
def test_each_of_the_first_heads_attends_to_its_distance(heads: int, kv_heads: int, count: int) -> None:
    tokens = torch.randint(0, 500, (256,), generator=torch.Generator().manual_seed(1))
    weights = first_layer(started(heads, kv_heads), tokens)
    for head in range(count):
        assert weights[head].diagonal(-(head + 1)).min() > 0.9
    assert all(weights[head].diagonal(-(head + 1)).mean() < 0.2 for head in range(count, heads))


@torch.no_grad()
def test_small_heads_attend_there_more_than_anywhere_else() -> None:
    tokens = torch.randint(0, 500, (256,), generator=torch.Generator().manual_seed(1))
    weights = first_layer(started(4, 4, head_dim=16), tokens)
    for head in range(4):
        rows = torch.arange(head + 1, 256)
        assert torch.equal(weights[head][rows].argmax(dim=1), rows - head - 1)


@torch.no_grad()
def test_the_first_prediction_and_most_token_vectors_stay() -> None:
    model, before = started(3, 3), Qwen3(started(3, 3).config, seed=0)
    table, old = model.token_embeddings.weight, before.token_embeddings.weight
    moved = (table != old).any(dim=1)
    assert 0 < moved.sum() < len(table)
    tokens = torch.arange(500)[~moved][None, :32]
    torch.testing.assert_close(model(tokens), before(tokens), rtol=0, atol=1e-6)
    assert torch.nn.functional.cosine_similarity(table, old).min() > 0.85


def test_the_heads_can_learn() -> None:
    model = started(3, 3)
    torch.nn.init.normal_(model.get_parameter("model.layers.0.self_attn.o_proj.weight"), std=0.05)
    tokens = torch.randint(0, 500, (2, 65), generator=torch.Generator().manual_seed(1))
    logits = model(tokens[:, :-1])
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name in ("q_proj", "k_proj", "q_norm", "k_norm"):
        gradient = model.get_parameter(f"model.layers.0.self_attn.{name}.weight").grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.norm() > 0
