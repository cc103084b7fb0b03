from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from tests.models.attention import attention_weights
from zen_pipeline.models.blocks import seen_before
from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3, Qwen3Config
from zen_pipeline.models.starts.induction_heads import put_induction_heads
from zen_pipeline.models.starts.previous_token_heads import put_previous_token_heads
from zen_pipeline.training.job import Schedule
from zen_pipeline.training.optimizer import build_optimizer

VOCABULARY = 400


def untrained(heads: int = 3, kv_heads: int = 3) -> Qwen3:
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=192, num_hidden_layers=2, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=64, intermediate_size=64, max_position_embeddings=256,
    )  # fmt: skip
    model = Qwen3(config, seed=0)
    with torch.no_grad():  # a head that says something
        model.get_parameter("lm_head.weight").normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    return model


def started(model: Qwen3) -> Qwen3:
    put_induction_heads(model, put_previous_token_heads(model))
    return model


def repeated(length: int = 60) -> Tensor:
    """(1, 2 * length): tokens in random order, twice."""
    tokens = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(1))[:length]
    return torch.cat((tokens, tokens))[None]


def second_layer(model: Qwen3, tokens: Tensor) -> Tensor:
    """What the second layer attends to, (H, T, T)."""
    first, second = model.model.layers
    assert isinstance(first, DecoderLayer)
    assert isinstance(second, DecoderLayer)
    length = tokens.shape[1]
    visible = seen_before(length, 0, tokens.device)
    return attention_weights(
        model, second, first(model.token_embeddings(tokens), *model.model.rotary(0, length), visible)
    )


@torch.no_grad()
@pytest.mark.parametrize(("heads", "kv_heads", "copying"), [(3, 3, (0, 1)), (4, 2, (0, 2)), (4, 1, (0,))])
def test_heads_attend_to_what_came_after_the_same_token(heads: int, kv_heads: int, copying: tuple[int, ...]) -> None:
    weights = second_layer(started(untrained(heads, kv_heads)), repeated(60))
    for head in range(heads):
        found = weights[head].diagonal(-59)[1:]  # of the second time, on the token after the first time
        assert (found.mean() > 0.6) == (head in copying)


@torch.no_grad()
def test_what_was_read_before_is_predicted_again() -> None:
    tokens = repeated(60)
    plain, copying = untrained(), started(untrained())

    def losses(model: Qwen3) -> Tensor:
        return cross_entropy(model(tokens)[0, :-1], tokens[0, 1:], reduction="none")

    assert losses(copying)[60:].mean() < losses(plain)[60:].mean() - 1.0
    assert losses(copying)[:59].mean() < losses(plain)[:59].mean() + 1.0


@torch.no_grad()
def test_the_tables_keep_all_but_some_directions() -> None:
    model, before = started(untrained()), untrained()
    put_previous_token_heads(before)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        table, old = model.get_parameter(name), before.get_parameter(name)
        assert torch.linalg.matrix_rank(table) == 192 - 32
        assert torch.linalg.matrix_rank(table - old) == 32
        assert (table - old).norm() < 0.5 * old.norm()


@torch.no_grad()
def test_the_first_layer_still_has_its_previous_token_head() -> None:
    model = started(untrained())
    direction = put_previous_token_heads(untrained())
    own = model.model.layers[0].self_attn
    assert isinstance(own.q_proj.weight, Tensor)
    torch.testing.assert_close(normalize(own.q_proj.weight[0], dim=0).abs(), direction.abs())
    assert (normalize(model.token_embeddings.weight, dim=1) @ direction).min() > 0.04


@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 3), (4, 2), (4, 1)])
def test_every_part_of_the_heads_learns(heads: int, kv_heads: int) -> None:
    model, tokens = started(untrained(heads, kv_heads)), repeated()
    rates = {"learning_rate": 0.02, "embedding_learning_rate": 0.01, "weight_decay": 0.1}
    schedule = Schedule(**rates, warmup=0.0, cooldown=0.0, gradient_clip=1.0)
    optimizer = build_optimizer(model, schedule, orthogonalize_in=torch.float32)
    for _ in range(4):
        cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
    for layer in model.model.layers:
        assert isinstance(layer, DecoderLayer)
        own = layer.self_attn
        for weight in (own.q_proj.weight, own.k_proj.weight, own.v_proj.weight, own.o_proj.weight.mT):
            assert weight.isfinite().all()
            assert (weight != 0).any(dim=1).all()


@torch.no_grad()
@pytest.mark.parametrize(
    ("hidden", "heads", "kv_heads", "head_dim"), [(64, 8, 2, 64), (16, 12, 12, 2), (4, 1, 1, 2), (128, 2, 2, 64)]
)
def test_unusual_shapes_are_started_too(hidden: int, heads: int, kv_heads: int, head_dim: int) -> None:
    config = Qwen3Config(
        vocab_size=50, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=head_dim, intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    model = started(Qwen3(config, seed=0))
    assert model(torch.arange(50)[None]).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("tables", [torch.zeros, torch.ones])
def test_tables_that_say_nothing_give_finite_weights(tables: Callable[..., Tensor]) -> None:
    model = untrained()
    model.token_embeddings.weight.copy_(tables(VOCABULARY, 192))
    model.get_parameter("lm_head.weight").copy_(tables(VOCABULARY, 192))
    started(model)
    assert all(parameter.abs().max() < 100 for parameter in model.parameters())
    assert model(repeated()).isfinite().all()
