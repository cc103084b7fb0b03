"""A start puts its parts into a new model, and says what it does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.models.qwen3 import DecoderLayer, Qwen3, Qwen3Config
from zen_pipeline.models.starts.apply import apply_start
from zen_pipeline.models.starts.choice import Start
from zen_pipeline.models.starts.next_token import next_token_vectors

VOCABULARY, WIDTH = 400, 32


def started(start: Start, *, layers: int = 2, tied: bool = False) -> Qwen3:
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, intermediate_size=64, max_position_embeddings=64, tie_word_embeddings=tied,
    )  # fmt: skip
    model = Qwen3(config, seed=7)
    apply_start(model, start)
    return model


def embeddings(start: Start) -> torch.Tensor:
    return started(start).token_embeddings.weight.detach()


@pytest.fixture
def words(tmp_path: Path) -> Callable[[int], Start]:
    """A start from word vectors of some width, of which ten tokens have none."""

    def write(dimensions: int) -> Start:
        values = torch.randn(VOCABULARY, dimensions, generator=torch.Generator().manual_seed(0)) * 3 + 1
        values[10:20] = 0
        save_file({"vectors": values}, tmp_path / "token_vectors.safetensors")
        return Start(token_vectors=str(tmp_path / "token_vectors.safetensors"))

    return write


@pytest.fixture(scope="module")
def stream() -> torch.Tensor:
    """The bytes of some pages of the language reference, (50_000,) int64."""
    from pydoc_data.topics import topics

    return torch.tensor(list("\n".join(topics[name] for name in sorted(topics)).encode()[:50_000]))


@pytest.fixture(scope="module")
def next_token_file(stream: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = next_token_vectors(stream.numpy(), VOCABULARY, WIDTH)
    path = tmp_path_factory.mktemp("vectors") / "next_token.safetensors"
    save_file({"input": made.input, "output": made.output}, path)
    return str(path)


def test_nothing_is_put_in_by_default() -> None:
    plain = Qwen3(started(Start()).config, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), started(Start()).parameters(), strict=True))


@pytest.mark.parametrize("dimensions", [8, 32, 100])
def test_token_vectors_replace_embeddings_at_the_same_scale(words: Callable[[int], Start], dimensions: int) -> None:
    plain, filled = embeddings(Start()), embeddings(words(dimensions))
    assert torch.equal(filled[10:20], plain[10:20])  # tokens without a vector
    width = min(dimensions, WIDTH)
    assert not torch.equal(filled[20:, :width], plain[20:, :width])
    assert torch.equal(filled[:, width:], plain[:, width:])
    assert float(filled[:, :width].std()) == pytest.approx(float(plain[:, :width].std()), rel=0.05)


def test_projected_vectors_keep_their_neighbours(tmp_path: Path) -> None:
    low = torch.randn(VOCABULARY, 5, generator=torch.Generator().manual_seed(1)) @ torch.randn(5, 100)
    save_file({"vectors": low}, tmp_path / "v.safetensors")
    filled = embeddings(Start(token_vectors=str(tmp_path / "v.safetensors")))
    before = torch.cdist(low, low).flatten()
    after = torch.cdist(filled, filled).flatten()
    assert float(torch.corrcoef(torch.stack([before, after]))[0, 1]) > 0.999


def test_vectors_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    save_file({"vectors": torch.ones(7, 3)}, tmp_path / "v.safetensors")
    with pytest.raises(ConfigError, match="holds 7 token vectors, but the model's vocabulary has 400"):
        started(Start(token_vectors=str(tmp_path / "v.safetensors")))


def test_previous_token_heads_are_put_in_behind_the_token_tables(words: Callable[[int], Start]) -> None:
    tables = words(16)
    plain, with_heads = started(tables), started(tables.model_copy(update={"previous_token_heads": True}))
    first, second = with_heads.model.layers
    assert isinstance(first, DecoderLayer)
    assert isinstance(second, DecoderLayer)
    assert (first.self_attn.q_norm.weight > 1).all()
    assert (second.self_attn.q_norm.weight == 1).all()
    read = torch.linalg.svd(first.self_attn.k_proj.weight).Vh[0]  # the direction that queries and keys read
    rows = normalize(with_heads.token_embeddings.weight, dim=1) @ read
    assert rows.abs().min() > 0.04
    assert rows.sign().unique().numel() == 1
    assert not (plain.token_embeddings.weight @ read > 0).all()


@torch.no_grad()
def test_next_token_vectors_predict_at_once_and_induction_heads_cost_little_of_it(
    next_token_file: str, stream: torch.Tensor
) -> None:
    tokens = stream[:640].view(10, 64)

    def loss(**parts: bool) -> float:
        model = started(Start(next_token_vectors=next_token_file, **parts))
        return float(cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()))

    tables, heads = loss(), loss(previous_token_heads=True)
    copying = loss(previous_token_heads=True, induction_heads=True)
    assert tables < math.log(VOCABULARY) - 1
    assert heads == pytest.approx(tables, abs=0.1)
    assert copying != heads
    assert copying < heads + 1


def test_parts_that_do_not_fit_the_model_are_refused(next_token_file: str, tmp_path: Path) -> None:
    tables, heads = Start(next_token_vectors=next_token_file), Start(previous_token_heads=True)
    with pytest.raises(ConfigError, match="need an untied head"):
        started(tables, tied=True)
    narrow = tmp_path / "narrow.safetensors"
    save_file({name: torch.ones(VOCABULARY, 8) for name in ("input", "output")}, narrow)
    with pytest.raises(ConfigError, match=r"input vectors of shape \(400, 8\), but the model's are \(400, 32\)"):
        started(Start(next_token_vectors=str(narrow)))
    with pytest.raises(ConfigError, match="two layers"):
        started(Start(next_token_vectors=next_token_file, previous_token_heads=True, induction_heads=True), layers=1)
    gpt2 = GPT2(GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=WIDTH, n_layer=1, n_head=2))
    for start in (tables, heads):
        with pytest.raises(ConfigError, match="qwen3 family, not gpt2"):
            apply_start(gpt2, start)


def test_parts_that_need_each_other_come_together(next_token_file: str) -> None:
    with pytest.raises(ValidationError, match="induction_heads need previous_token_heads and next_token_vectors"):
        Start(previous_token_heads=True, induction_heads=True)
    with pytest.raises(ValidationError, match="not from both"):
        Start(token_vectors=next_token_file, next_token_vectors=next_token_file)
