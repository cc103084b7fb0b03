"""Generation: the cache changes nothing, sampling is repeatable, and the end is where it is said to be."""

from __future__ import annotations

import pytest
import torch

from zen_pipeline.inference.cache import KVCache
from zen_pipeline.inference.generate import generate, repeats, sample
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

CONFIG = Qwen3Config(
    vocab_size=60,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    max_position_embeddings=48,
)
PROMPT = [0, 5, 9, 33]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest) -> Qwen3:
    model = Qwen3(CONFIG.model_copy(update={"tie_word_embeddings": request.param}))
    generator = torch.Generator().manual_seed(6)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model.eval()


def greedy(model: Qwen3, **changes: object) -> list[int]:
    arguments: dict[str, object] = {"max_new_tokens": 30, "temperature": 0.0} | changes
    return list(generate(model, PROMPT, **arguments))  # type: ignore[arg-type]


def test_greedy_with_the_cache_equals_greedy_without(model: Qwen3) -> None:
    ids = list(PROMPT)
    with torch.no_grad():
        for _ in range(30):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert greedy(model) == ids[len(PROMPT) :]
    assert len(set(ids)) > 5, "a model that repeats one token proves nothing"


def test_greedy_equals_that_of_transformers(model: Qwen3) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(**model.config.model_dump(exclude={"rope_theta", "eos_token_id"}))
    theirs = transformers.Qwen3ForCausalLM(config).eval()
    theirs.load_state_dict(model.state_dict())
    answer = theirs.generate(torch.tensor([PROMPT]), max_new_tokens=30, do_sample=False)
    assert greedy(model) == answer[0, len(PROMPT) :].tolist()


def test_a_prompt_may_enter_the_cache_in_parts(model: Qwen3) -> None:
    ids = torch.arange(24).reshape(2, 12)
    cache = KVCache(model, batch=2, capacity=12)
    with torch.no_grad():
        parts = [model(part, cache=cache) for part in (ids[:, :5], ids[:, 5:6], ids[:, 6:])]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), rtol=0, atol=1e-5)
    assert cache.length == 12
    with pytest.raises(ValueError, match="cache was made for 12"), torch.no_grad():
        model(ids[:, :1], cache=cache)


def test_it_ends_where_the_context_ends(model: Qwen3) -> None:
    assert len(greedy(model, max_new_tokens=1000)) == CONFIG.max_position_embeddings - len(PROMPT)
    assert greedy(model, max_new_tokens=0) == []


def test_it_ends_before_a_stop_token(model: Qwen3) -> None:
    tokens = greedy(model)
    stop = tokens[7]
    assert greedy(model, stop_ids={stop}) == tokens[: tokens.index(stop)]


def test_tokens_come_one_at_a_time(model: Qwen3) -> None:
    stream = generate(model, PROMPT, max_new_tokens=30, temperature=0.0)
    first = next(stream)
    assert not torch.is_inference_mode_enabled(), "the mode must not leak to who reads the stream"
    assert [first, *stream] == greedy(model)


def test_the_seed_alone_decides_what_is_sampled(model: Qwen3) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = greedy(model, temperature=1.0, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert greedy(model, temperature=1.0, seed=3) == first
    assert greedy(model, temperature=1.0, seed=4) != first


def test_one_choice_left_is_greedy(model: Qwen3) -> None:
    assert greedy(model, temperature=1.0, top_k=1) == greedy(model)
    assert greedy(model, temperature=1.0, top_p=0.0) == greedy(model)


def draws(probabilities: list[float], number: int = 4000, **arguments: float) -> list[float]:
    """How often each token is drawn."""
    logits = torch.tensor(probabilities).log()
    generator = torch.Generator().manual_seed(0)
    options = {"temperature": 1.0} | arguments
    found = torch.tensor([sample(logits, generator, **options) for _ in range(number)])  # type: ignore[arg-type]
    return (torch.bincount(found, minlength=len(probabilities)) / number).tolist()


def test_samples_follow_the_distribution() -> None:
    near = 0.03  # four standard errors of a share of 0.3 in 4,000 draws
    assert draws([0.1, 0.2, 0.4, 0.3]) == pytest.approx([0.1, 0.2, 0.4, 0.3], abs=near)
    assert draws([0.1, 0.2, 0.4, 0.3], top_k=2) == pytest.approx([0, 0, 4 / 7, 3 / 7], abs=near)
    assert draws([0.1, 0.2, 0.4, 0.3], top_p=0.5) == pytest.approx([0, 0, 4 / 7, 3 / 7], abs=near)
    assert draws([0.1, 0.2, 0.4, 0.3], top_p=0.39) == [0, 0, 1, 0]
    squared = torch.tensor([0.01, 0.04, 0.16, 0.09])
    assert draws([0.1, 0.2, 0.4, 0.3], temperature=0.5) == pytest.approx((squared / squared.sum()).tolist(), abs=near)


@pytest.mark.parametrize(
    ("prompt", "changes", "message"),
    [
        ([], {}, "empty"),
        ([1] * 49, {}, "at most 48"),
        (PROMPT, {"temperature": -1.0}, "temperature"),
        (PROMPT, {"top_k": -1}, "top_k"),
        (PROMPT, {"top_p": 1.5}, "top_p"),
    ],
)
def test_bad_arguments_are_refused(model: Qwen3, prompt: list[int], changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(generate(model, prompt, max_new_tokens=1, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([7] * 39, False),
        ([7] * 40, True),
        ([1, 2, 3, *([5, 6, 7, 8] * 10)], True),
        ([*range(32)] * 4, True),
        ([*range(33)] * 5, False),
        ([*([5, 6] * 19), 5, 9], False),
        (list(range(500)), False),
    ],
)
def test_a_text_goes_round_in_a_circle_when_its_end_is_one_short_piece_again_and_again(
    ids: list[int], expected: bool
) -> None:
    assert repeats(ids) is expected
