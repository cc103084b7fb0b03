"""Real text as small token shards, and jobs on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from zen_pipeline.training.job import Schedule, TokenData, TrainingJob

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_shards(folder: Path, *, vocab_size: int, characters: int) -> None:
    """tokenizer/, token_bytes.npy and {train,valid,test}.bin of the language reference."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))[:characters]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    (folder / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    pieces = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    sizes = [0 if piece in SPECIAL else len(piece) for piece in pieces]  # byte-level: one character per byte
    np.save(folder / "token_bytes.npy", np.array(sizes, np.int32))
    tenth = len(text) // 10
    for split, part in (
        ("train", text[: 8 * tenth]),
        ("valid", text[8 * tenth : 9 * tenth]),
        ("test", text[9 * tenth :]),
    ):
        np.array([0, *tokenizer.encode(part).ids], "<u2").tofile(folder / f"{split}.bin")


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
            "seed": 7,
            "output": str(tmp_path / "output"),
            "checkpoints": str(tmp_path / "checkpoints"),
            "tokenizer": str(tokens_folder / "tokenizer"),
            "checkpoint_every": 5,
            "validate_every": 50,
        }
        return TrainingJob.model_validate({**fields, **changes})

    return make
