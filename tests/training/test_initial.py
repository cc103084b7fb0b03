from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.folder import save_model
from zen_pipeline.models.starts.choice import Start
from zen_pipeline.training.initial import initial_model
from zen_pipeline.training.job import TrainingJob

MakeJob = Callable[..., TrainingJob]


def embeddings(job: TrainingJob) -> torch.Tensor:
    return initial_model(job).token_embeddings.weight.detach()


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


def test_a_new_model_gets_the_start_of_its_job(make_job: MakeJob, tmp_path: Path) -> None:
    tables = {name: torch.full((400, 32), value) for name, value in (("input", 1.0), ("output", 2.0))}
    save_file(tables, tmp_path / "next_token.safetensors")
    job = make_job(start=Start(next_token_vectors=str(tmp_path / "next_token.safetensors")))
    assert torch.equal(embeddings(TrainingJob.model_validate_json(job.model_dump_json())), tables["input"])
    assert job.identity != make_job().identity
