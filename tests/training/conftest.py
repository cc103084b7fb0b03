"""Real text as small token shards, and jobs on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zen_pipeline.corpus.tokens.shards import write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.training.job import Schedule, TokenData, TrainingJob


def write_shards(folder: Path, *, vocab_size: int, characters: int) -> None:
    """A tokens artifact of the language reference, which every Python installation has."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))[:characters]
    tokenizer = train_tokenizer([text], vocab_size)
    tokenizer.save(folder / "tokenizer")
    tenth = len(text) // 10
    parts = {"train": text[: 8 * tenth], "valid": text[8 * tenth : 9 * tenth], "test": text[9 * tenth :]}
    write_index(folder, tokenizer, {split: write_split(folder, split, [t], tokenizer) for split, t in parts.items()})


@pytest.fixture(scope="session")
def tokens_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokens artifact of the Python language reference, 400 ids."""
    folder = tmp_path_factory.mktemp("tokens")
    write_shards(folder, vocab_size=400, characters=120_000)
    return folder


@pytest.fixture
def make_job(tokens_folder: Path, tmp_path: Path) -> Callable[..., TrainingJob]:
    """A job of some steps on a tiny model; keyword arguments replace fields."""

    def make(**changes: Any) -> TrainingJob:
        shape = {
            "vocab_size": 400,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        }
        rates = {"learning_rate": 0.02, "embedding_learning_rate": 0.01, "weight_decay": 0.1}
        fields: dict[str, Any] = {
            "name": "pretrain",
            "model": shape,
            "data": TokenData(folder=str(tokens_folder), validation_windows=8),
            "context": 64,
            "steps": 150,
            "batch": 4,
            "micro_batch": 2,
            "schedule": Schedule(**rates, warmup=0.1, cooldown=0.5, gradient_clip=1.0),
            "precision": "bf16",
            "threads": 2,
            "workers": 2,
            "seed": 7,
            "output": str(tmp_path / "output"),
            "checkpoints": str(tmp_path / "checkpoints"),
            "tokenizer": str(tokens_folder / "tokenizer"),
            "checkpoint_every": 5,
            "validate_every": 50,
        }
        return TrainingJob.model_validate({**fields, **changes})

    return make
