from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.embeddings.next_token import next_token_vectors
from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import FamilyModel
from zen_pipeline.models.folder import save_model
from zen_pipeline.training.initial import initial_model
from zen_pipeline.training.job import TrainingJob

MakeJob = Callable[..., TrainingJob]


def embeddings(job: TrainingJob) -> torch.Tensor:
    return initial_model(job).model.embed_tokens.weight.detach()


@pytest.fixture
def vectors(tmp_path: Path) -> Callable[[int], str]:
    def write(dimensions: int) -> str:
        values = torch.randn(400, dimensions, generator=torch.Generator().manual_seed(0)) * 3 + 1
        values[10:20] = 0
        save_file({"vectors": values}, tmp_path / "token_vectors.safetensors")
        return str(tmp_path / "token_vectors.safetensors")

    return write


@pytest.mark.parametrize("dimensions", [8, 32, 100])
def test_token_vectors_replace_embeddings_at_the_same_scale(
    make_job: MakeJob, vectors: Callable[[int], str], dimensions: int
) -> None:
    plain, filled = embeddings(make_job()), embeddings(make_job(token_vectors=vectors(dimensions)))
    assert torch.equal(filled[10:20], plain[10:20])  # tokens without a vector
    width = min(dimensions, 32)
    assert not torch.equal(filled[20:, :width], plain[20:, :width])
    assert torch.equal(filled[:, width:], plain[:, width:])
    assert float(filled[:, :width].std()) == pytest.approx(float(plain[:, :width].std()), rel=0.05)


def test_projected_vectors_keep_who_is_near_whom(make_job: MakeJob, vectors: Callable[[int], str]) -> None:
    path = vectors(100)
    low = torch.randn(400, 5, generator=torch.Generator().manual_seed(1)) @ torch.randn(5, 100)
    save_file({"vectors": low}, path)
    filled = embeddings(make_job(token_vectors=path))
    before = torch.cdist(low, low).flatten()
    after = torch.cdist(filled, filled).flatten()
    assert float(torch.corrcoef(torch.stack([before, after]))[0, 1]) > 0.999


def test_vectors_of_another_vocabulary_are_refused(make_job: MakeJob, tmp_path: Path) -> None:
    save_file({"vectors": torch.ones(7, 3)}, tmp_path / "v.safetensors")
    with pytest.raises(ConfigError, match="holds 7 token vectors, but the model's vocabulary has 400"):
        initial_model(make_job(token_vectors=str(tmp_path / "v.safetensors")))


def test_a_folder_gives_its_weights_and_refuses_longer_sequences(make_job: MakeJob, tmp_path: Path) -> None:
    original = initial_model(make_job(seed=3))
    save_model(original, tmp_path / "model")
    loaded = initial_model(make_job(model=None, init_from=str(tmp_path / "model")))
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(ConfigError, match="sequences of 65 tokens are longer than the model's 64 positions"):
        initial_model(make_job(model=None, init_from=str(tmp_path / "model"), context=65))


def test_the_seed_decides_the_weights(make_job: MakeJob) -> None:
    assert torch.equal(embeddings(make_job(seed=1)), embeddings(make_job(seed=1)))
    assert not torch.equal(embeddings(make_job(seed=1)), embeddings(make_job(seed=2)))


def test_heads_that_look_back_are_put_in_behind_the_token_tables(
    make_job: MakeJob, vectors: Callable[[int], str]
) -> None:
    plain, started = (
        initial_model(make_job(token_vectors=vectors(16), position_heads=heads)).model for heads in (False, True)
    )
    first, second = started.layers[0].self_attn, started.layers[1].self_attn
    assert (first.q_norm.weight > 1).all()
    assert (second.q_norm.weight == 1).all()
    read = torch.linalg.svd(first.k_proj.weight).Vh[0]  # the direction that queries and keys read
    rows = torch.nn.functional.normalize(started.embed_tokens.weight, dim=1) @ read
    assert rows.abs().min() > 0.04
    assert rows.sign().unique().numel() == 1
    assert not (plain.embed_tokens.weight @ read > 0).all()


def test_heads_that_copy_are_put_in_behind_next_token_vectors(
    make_job: MakeJob, tokens_folder: Path, tmp_path: Path
) -> None:
    made = next_token_vectors(TokenSplit.open(tokens_folder, "train").tokens, 400, 32)
    path = str(tmp_path / "next_token.safetensors")
    save_file({"input": made.input, "output": made.output}, path)
    plain, copying = (
        initial_model(make_job(next_token_vectors=path, position_heads=True, induction_heads=heads))
        for heads in (False, True)
    )
    tokens = torch.from_numpy(TokenSplit.open(tokens_folder, "valid").tokens[:640].astype("int64")).view(10, 64)

    def loss(model: FamilyModel) -> float:
        with torch.no_grad():
            return float(cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()))

    assert loss(plain) < math.log(400) - 1
    assert loss(copying) != loss(plain)
    assert loss(copying) < loss(plain) + 1
    with pytest.raises(ValueError, match="induction_heads need position_heads, next_token_vectors"):
        make_job(induction_heads=True, position_heads=True)
