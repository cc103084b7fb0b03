"""The choice between forms of a model: other weights when they are smaller and as good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.int8 import is_quantized
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.optimization import FORMS, form_of, load_form
from zen_pipeline.optimization.forms import FLOAT, Form, Measurement, choose_form


def measured(*, size: int = 100, loss: float = 2.0) -> Measurement:
    return Measurement(bytes=size, loss=loss, tokens_per_second=1.0, threads=1)


class Copy(Form):
    """A form that writes its own name."""

    def __init__(self, name: str) -> None:
        vars(self)["name"] = name

    def write(self, source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        (target / "weights").write_text(self.name)

    def holds(self, folder: Path) -> bool:
        return (folder / "weights").read_text() == self.name


@pytest.mark.parametrize(
    ("after", "chosen", "said"),
    [
        ({"int8": measured(size=30, loss=2.005)}, "int8", "30% of the size at +0.0050"),
        ({"int8": measured(size=30, loss=1.9)}, "int8", "-0.1000"),
        ({"int8": measured(size=30, loss=2.02)}, FLOAT, "more than the 0.01 allowed"),
        ({"int8": measured(size=30, loss=math.nan)}, FLOAT, "more than"),
        ({"int8": measured(size=100, loss=2.0)}, FLOAT, "no smaller"),
        ({"int8": measured(size=30), "int4": measured(size=20)}, "int4", "20%"),
        ({"int8": measured(size=30), "int4": measured(size=20, loss=3.0)}, "int8", "30%"),
    ],
)
def test_the_smallest_form_that_is_as_good_is_chosen_and_kept_alone(
    after: Mapping[str, Measurement], chosen: str, said: str, tmp_path: Path
) -> None:
    found = choose_form(
        tmp_path / "model",
        tmp_path / "forms",
        {name: Copy(name) for name in after},
        lambda folder: after.get(folder.name, measured()),
        max_loss=0.01,
        unit="bits_per_byte",
    )
    assert found.chosen == chosen
    assert said in found.reason
    assert set(found.forms) == {FLOAT, *after}
    assert [p.name for p in (tmp_path / "forms").iterdir()] == [n for n in after if n == chosen]


def test_an_int8_folder_has_the_tokenizer_and_one_weight_file(tmp_path: Path) -> None:
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
    save_model(Qwen3(config, seed=3), tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "history.jsonl"):
        (tmp_path / "model" / name).write_text(f"{name} of the float model")
    load_form("int8").write(tmp_path / "model", tmp_path / "int8")
    assert sorted(p.name for p in (tmp_path / "int8").iterdir()) == [
        "config.json", "generation_config.json", "model.int8.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert (tmp_path / "int8" / "tokenizer.json").read_text() == "tokenizer.json of the float model"
    assert is_quantized(load_model(tmp_path / "int8"))
    assert [form_of(tmp_path / name) for name in ("model", "int8")] == [FLOAT, "int8"]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_found_by_its_name(name: str) -> None:
    assert load_form(name).name == name
