"""The decoder against transformers' Qwen3ForCausalLM, in float32."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from zen_pipeline.models.families import flops_per_token, num_parameters
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config, init_weights

transformers = pytest.importorskip("transformers")

BASE = Qwen3Config(
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    intermediate_size=80,
    max_position_embeddings=64,
    rope_theta=5000.0,
    rms_norm_eps=1e-5,
)
SHAPES = {
    "grouped": {},
    "tied": {"tie_word_embeddings": True},
    "one head each": {"num_key_value_heads": 4},
    "multi-query, wide heads": {"num_key_value_heads": 1, "head_dim": 32},
    "three to one": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": 1},
}


def pair(changes: dict[str, object]) -> tuple[Qwen3, nn.Module]:
    """Our model and theirs with the same random weights, gains included."""
    config = BASE.model_copy(update=changes)
    theirs_config = transformers.Qwen3Config(
        **config.model_dump(exclude={"rope_theta"}),
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
    )
    theirs = transformers.Qwen3ForCausalLM(theirs_config).eval()
    ours = Qwen3(config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in ours.named_parameters():
        # gains around one: with small ones attention is nearly even, and positions hardly matter
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2 + ("norm" in name)
    ours.tie_weights()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, BASE.vocab_size, (batch, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("size", [(1, 1), (2, 17), (3, 64)])
def test_logits_equal_those_of_transformers(changes: dict[str, object], size: tuple[int, int]) -> None:
    ours, theirs = pair(changes)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens(*size)), theirs(tokens(*size)).logits, rtol=0, atol=1e-5)


def test_logits_equal_at_given_positions() -> None:
    ours, theirs = pair({})
    ids, positions = tokens(2, 9), torch.tensor([[3, 5, 7, 9, 20, 21, 22, 40, 63], list(range(9))])
    with torch.no_grad():
        mine = ours(ids, position_ids=positions)
        # a mask of ones: without it, positions that jump are read as packed documents
        expected = theirs(ids, position_ids=positions, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5)
        assert (mine[1] - ours(ids)[1]).abs().max() == 0
        assert (mine[0] - ours(ids)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_gradients_equal_those_of_transformers(changes: dict[str, object]) -> None:
    ours, theirs = pair(changes)
    ids = tokens(2, 20)
    for logits in (ours(ids[:, :-1]), theirs(ids[:, :-1]).logits):
        nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    expected = dict(theirs.named_parameters())
    assert set(expected) == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_parameters_are_counted_without_the_model(changes: dict[str, object]) -> None:
    config = BASE.model_copy(update=changes)
    assert num_parameters(config) == sum(p.numel() for p in Qwen3(config).parameters())


def test_flops_are_those_of_the_matrix_products() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model, context = Qwen3(BASE), 32
    ids = tokens(1, context + 1)
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]).backward()
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    linear = sum(flops for op, flops in counted.items() if "mm" in op)
    attention = 12 * BASE.num_hidden_layers * BASE.num_attention_heads * BASE.head_dim * (context + 1) / 2
    assert linear == context * (flops_per_token(BASE, context) - attention)


def test_initialization_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = Qwen3(BASE, seed=7).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = Qwen3(BASE, seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = Qwen3(BASE, seed=8).state_dict()
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_initialization_sets_every_weight() -> None:
    model = Qwen3(BASE, seed=None)
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    init_weights(model, 0)
    layer = model.model.layers[0]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert layer.self_attn.o_proj.weight.abs().max() == 0
    assert layer.mlp.down_proj.weight.abs().max() == 0
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(48**-0.5, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_the_first_prediction_is_nearly_uniform(tied: bool) -> None:
    model = Qwen3(BASE.model_copy(update={"tie_word_embeddings": tied}))
    ids = tokens(4, 33)
    loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.tensor(97.0).log().item(), rel=0.02)


def test_bf16_autocast_stays_near_float32_and_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    ours, _ = pair({})
    recwarn.clear()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = ours(tokens(2, 17))
    with torch.no_grad():
        full = ours(tokens(2, 17))
    assert mixed.dtype == torch.bfloat16
    assert ((mixed.float() - full).norm() / full.norm()).item() < 0.02
    assert not [str(w.message) for w in recwarn]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"head_dim": 7}, "head_dim"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hiden_size": 8}, "hiden_size"),
    ],
)
def test_an_impossible_shape_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Qwen3Config.model_validate(BASE.model_dump() | changes)


def test_more_positions_than_the_model_has_are_refused() -> None:
    with pytest.raises(ValueError, match="65 positions"):
        Qwen3(BASE)(tokens(1, 65))
