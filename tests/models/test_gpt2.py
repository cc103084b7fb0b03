"""GPT-2 against transformers' GPT2LMHeadModel, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.models import parity
from zen_pipeline.errors import ConfigError
from zen_pipeline.inference.generate import generate
from zen_pipeline.models.families import flops_per_token, num_parameters
from zen_pipeline.models.folder import load_any, load_model, read_config, save_model
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.models.int8 import is_quantized, quantize_

transformers = pytest.importorskip("transformers")

BASE = GPT2Config(vocab_size=97, n_positions=40, n_embd=48, n_layer=3, n_head=4)
SHAPES: dict[str, dict[str, Any]] = {
    "usual": {},
    "one head": {"n_head": 1, "n_layer": 1},
    "narrow feed-forward": {"n_inner": 20, "layer_norm_epsilon": 1e-3},
    "untied": {"tie_word_embeddings": False},
    "relu": {"activation_function": "relu"},
    "exact gelu": {"activation_function": "gelu"},
}


def ours_of(changes: dict[str, Any]) -> GPT2:
    model = parity.randomized(GPT2(BASE.model_copy(update=changes)))
    assert isinstance(model, GPT2)
    return model


def theirs_of(changes: dict[str, Any]) -> Any:
    config = BASE.model_copy(update=changes)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**config.model_dump()))


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_transformers_reads_what_we_write(changes: dict[str, Any], tmp_path: Path) -> None:
    ours = ours_of(changes)
    theirs = parity.exported(ours, transformers.GPT2LMHeadModel, tmp_path)
    for size in ((1, 1), (2, 17), (3, 40)):
        tokens = parity.ids(*size, 97)
        with torch.no_grad():
            parity.assert_close(ours(tokens), theirs(tokens).logits)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("shard", ["1GB", "40KB"])
def test_we_read_what_transformers_writes(changes: dict[str, Any], shard: str, tmp_path: Path) -> None:
    theirs = theirs_of(changes)
    ours = parity.imported(theirs, GPT2, tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "40KB")
    tokens = parity.ids(2, 23, 97)
    with torch.no_grad():
        parity.assert_close(ours(tokens), theirs(tokens).logits)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_gradients_equal(changes: dict[str, Any], tmp_path: Path) -> None:
    ours = ours_of(changes)
    theirs = parity.exported(ours, transformers.GPT2LMHeadModel, tmp_path)
    tokens = parity.ids(2, 20, 97)
    parity.assert_gradients_equal(ours, theirs, ours(tokens), theirs(tokens).logits)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_seen(side: str, tmp_path: Path) -> None:
    ours = ours_of({})
    theirs = parity.exported(ours, transformers.GPT2LMHeadModel, tmp_path)
    tokens, mask = parity.ids(3, 12, 97), parity.padding(3, 12, side)
    with torch.no_grad():
        mine = ours(tokens, attention_mask=mask)
        parity.assert_close(mine, theirs(tokens, attention_mask=mask).logits, mask.bool())
        changed = torch.where(mask.bool(), tokens, (tokens + 1) % 97)
        parity.assert_close(ours(changed, attention_mask=mask), mine, mask.bool())
    assert torch.isfinite(mine).all()


def test_given_positions_are_used(tmp_path: Path) -> None:
    ours = ours_of({})
    theirs = parity.exported(ours, transformers.GPT2LMHeadModel, tmp_path)
    tokens, positions = parity.ids(1, 4, 97), torch.tensor([[3, 9, 9, 39]])
    with torch.no_grad():
        expected = theirs(tokens, position_ids=positions, attention_mask=torch.ones_like(tokens)).logits
        parity.assert_close(ours(tokens, position_ids=positions), expected)


def test_greedy_text_is_equal(tmp_path: Path) -> None:
    ours = ours_of({})
    theirs = parity.exported(ours, transformers.GPT2LMHeadModel, tmp_path)
    prompt = parity.ids(1, 5, 97)
    expected = theirs.generate(prompt, do_sample=False, max_new_tokens=35, eos_token_id=None, pad_token_id=0)
    mine = list(generate(ours, prompt[0].tolist(), max_new_tokens=35, temperature=0.0))
    assert mine == expected[0, 5:].tolist()
    assert len(set(mine)) > 3


def test_dropout_is_honoured_in_training_and_off_otherwise() -> None:
    ours = ours_of({"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2})
    tokens = parity.ids(2, 9, 97)
    with torch.no_grad():
        assert torch.equal(ours(tokens), ours_of({})(tokens))
        ours.train()
        torch.manual_seed(5)
        first = ours(tokens)
        assert not torch.equal(first, ours(tokens))
        torch.manual_seed(5)
        assert torch.equal(first, ours(tokens))


def test_a_folder_of_the_bare_model_is_read(tmp_path: Path) -> None:
    """The published folders of GPT-2 have no prefix, and hold the causal mask."""
    theirs = theirs_of({})
    parity.imported(theirs, GPT2, tmp_path)
    tensors = {n.removeprefix("transformer."): t for n, t in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {f"h.{i}.attn.bias": torch.ones(1, 1, 40, 40).tril() for i in range(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    tokens = parity.ids(2, 9, 97)
    with torch.no_grad():
        parity.assert_close(load_model(tmp_path)(tokens), theirs(tokens).logits)


def test_we_write_shards_that_transformers_reads(tmp_path: Path) -> None:
    ours = ours_of({})
    theirs = parity.exported(ours, transformers.GPT2LMHeadModel, tmp_path, max_shard_bytes=40_000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    tokens = parity.ids(2, 9, 97)
    with torch.no_grad():
        parity.assert_close(ours(tokens), theirs(tokens).logits)
        assert torch.equal(load_any(tmp_path, GPT2)(tokens), ours(tokens))


def test_int8_weights_keep_their_biases(tmp_path: Path) -> None:
    ours = ours_of({"n_inner": 64})
    tokens = parity.ids(2, 30, 97)
    with torch.no_grad():
        before = ours(tokens)
        save_model(quantize_(ours), tmp_path)
        again = load_model(tmp_path)
        assert is_quantized(again)
        assert torch.equal(again(tokens), ours(tokens))
        assert ((again(tokens) - before).norm() / before.norm()).item() < 0.05


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("add_cross_attention", True),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("activation_function", "tanh"),
        ("architectures", ["GPT2ForSequenceClassification"]),
        ("n_head", 5),
        ("n_embd", None),
        ("resid_pdrop", 1.5),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_named(field: str, value: Any, tmp_path: Path) -> None:
    save_model(ours_of({}), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=field) as raised:
        read_config(tmp_path)
    assert "config.json" in str(raised.value)


def test_sizes_are_counted_without_the_model() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    context = 32
    model, tokens = GPT2(BASE), parity.ids(1, context + 1, 97)
    assert num_parameters(BASE) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:]).backward()
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    attention = 12 * BASE.n_layer * BASE.n_embd * (context + 1) / 2
    assert sum(f for op, f in counted.items() if "mm" in op) == context * (flops_per_token(BASE, context) - attention)


def test_the_first_prediction_is_nearly_uniform() -> None:
    model, tokens = GPT2(BASE), parity.ids(4, 33, 97)
    loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.tensor(97.0).log().item(), rel=0.02)


def test_more_positions_than_the_model_has_are_refused() -> None:
    with pytest.raises(ValueError, match="41 positions"):
        GPT2(BASE)(parity.ids(1, 41, 97))
