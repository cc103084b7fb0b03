"""What is kept: int8 weights when they are smaller and as good."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from zen_pipeline.optimization.quantization import Documents, Measurement, choose, compare, decoding_speed

from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.int8 import is_quantized
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config


def measured(*, size: int = 100, bits: float = 2.0) -> Measurement:
    return Measurement(bytes=size, bits_per_byte=bits, tokens_per_second=1.0, threads=1)


@pytest.mark.parametrize(
    ("after", "chosen", "said"),
    [
        (measured(size=30, bits=2.005), "int8", "30% of the size at +0.0050"),
        (measured(size=30, bits=1.9), "int8", "-0.1000"),
        (measured(size=30, bits=2.02), "float", "more than the 0.01 allowed"),
        (measured(size=30, bits=math.nan), "float", "more than"),
        (measured(size=100, bits=2.0), "float", "no smaller"),
    ],
)
def test_int8_is_chosen_when_it_is_smaller_and_as_good(after: Measurement, chosen: str, said: str) -> None:
    found, reason = choose(measured(), after, 0.01)
    assert found == chosen
    assert said in reason


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    config = Qwen3Config(
        vocab_size=60,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=96,
        max_position_embeddings=32,
    )
    model = Qwen3(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder = tmp_path / "model"
    save_model(model, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "history.jsonl"):
        (folder / name).write_text(f"{name} of the float model")
    return folder


@pytest.fixture
def documents() -> Documents:
    tokens = np.random.default_rng(0).integers(3, 60, 200).astype(np.uint16)
    tokens[[0, 50, 150]] = 0
    return Documents(tokens, np.array([0, 50, 150, 200]), np.array([160, 330, 160]))


def test_the_int8_folder_has_the_tokenizer_and_one_weight_file(
    model_folder: Path, documents: Documents, tmp_path: Path
) -> None:
    result = compare(model_folder, tmp_path / "int8", documents, max_bits_per_byte_loss=0.05)
    assert result.chosen == "int8", result.reason
    assert sorted(p.name for p in (tmp_path / "int8").iterdir()) == [
        "config.json", "generation_config.json", "model.int8.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert (tmp_path / "int8" / "tokenizer.json").read_text() == "tokenizer.json of the float model"
    assert is_quantized(load_model(tmp_path / "int8"))
    assert result.float.bytes == (model_folder / "model.safetensors").stat().st_size
    assert result.int8.bytes == (tmp_path / "int8" / "model.int8.safetensors").stat().st_size
    assert result.float.bits_per_byte != result.int8.bits_per_byte
    assert min(result.float.tokens_per_second, result.int8.tokens_per_second) > 0


def test_nothing_is_left_when_float_is_chosen(model_folder: Path, documents: Documents, tmp_path: Path) -> None:
    result = compare(model_folder, tmp_path / "int8", documents, max_bits_per_byte_loss=-10.0)
    assert result.chosen == "float"
    assert not (tmp_path / "int8").exists()


def test_measuring_speed_leaves_the_threads_as_they_were(model_folder: Path, documents: Documents) -> None:
    before = torch.get_num_threads()
    speed, threads = decoding_speed(load_model(model_folder), documents.tokens)
    assert torch.get_num_threads() == before
    assert 1 <= threads <= before
    assert speed > 0
