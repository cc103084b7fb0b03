"""Int8 linear layers: near the float ones, equal after saving, and read by nobody who would misread them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.int8 import Int8Linear, is_quantized, quantize_, quantize_channels
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

CONFIG = Qwen3Config(
    vocab_size=60,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=40,  # no multiple of 16: down_proj must not reach the kernel
    max_position_embeddings=32,
)
IDS = torch.arange(60).reshape(3, 20)


def random_model(*, tied: bool = False) -> Qwen3:
    model = Qwen3(CONFIG.model_copy(update={"tie_word_embeddings": tied}))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def test_each_weight_is_off_by_half_a_step_of_its_channel_at_most() -> None:
    weight = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 3, 50)[:, None]
    weight[7] = 0.0
    quantized, scale = quantize_channels(weight)
    error = (quantized.float() * scale.float()[:, None] - weight).abs()
    assert quantized.dtype == torch.int8
    assert (error <= 0.5 * scale.float()[:, None] * (1 + 1e-6)).all()
    assert quantized.abs().amax(dim=1).min() == 0  # the channel of zeros
    assert quantized.abs().amax() == 127


@pytest.mark.parametrize("in_features", [16, 40, 100, 192])
@pytest.mark.parametrize("rows", [1, 3, 8, 9, 50])
def test_every_path_multiplies_with_the_stored_weights(in_features: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    linear = torch.nn.Linear(in_features, 33, bias=False)
    layer = Int8Linear.of(linear)
    x = torch.randn(rows, in_features, generator=generator)
    stored = layer.weight.float() * layer.weight_scale.float()[:, None]
    # bfloat16 activations round by 2^-9, and so does the kernel's result
    torch.testing.assert_close(layer(x[None])[0], x @ stored.T, rtol=2e-2, atol=2e-2)
    assert layer(x).dtype == torch.float32


@pytest.mark.parametrize("tied", [True, False])
def test_a_quantized_model_predicts_nearly_the_same(tied: bool) -> None:
    model = random_model(tied=tied)
    with torch.no_grad():
        before = model(IDS).log_softmax(-1)
        assert is_quantized(quantize_(model))
        after = model(IDS).log_softmax(-1)
    divergence = (before.exp() * (before - after)).sum(-1).mean()
    assert 0 < divergence < 1e-3
    assert isinstance(model.lm_head, Int8Linear) != tied


@pytest.mark.parametrize("tied", [True, False])
def test_it_is_smaller_and_equal_after_saving_and_loading(tmp_path: Path, tied: bool) -> None:
    model = random_model(tied=tied)
    save_model(model, tmp_path / "float")
    save_model(quantize_(model), tmp_path / "int8")
    again = load_model(tmp_path / "int8")
    with torch.no_grad():
        for ids in (IDS, IDS[:1, :4]):  # unpacked weights, and the kernel
            assert torch.equal(again(ids), model(ids))
    sizes = [next((tmp_path / form).glob("*.safetensors")).stat().st_size for form in ("float", "int8")]
    assert sizes[1] < 0.5 * sizes[0]
    assert load_model(tmp_path / "int8", dtype=torch.bfloat16)(IDS).dtype == torch.bfloat16


def test_transformers_refuses_it_instead_of_reading_integers_as_weights(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_model(quantize_(random_model()), tmp_path)
    for loader in (transformers.AutoModelForCausalLM, transformers.Qwen3ForCausalLM):
        with pytest.raises(OSError, match=r"no file named model\.safetensors"):
            loader.from_pretrained(tmp_path)
