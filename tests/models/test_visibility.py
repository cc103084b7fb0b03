"""Who sees whom: packed documents, padding, sliding windows and the cache; and recomputed activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models import parity
from zen_pipeline.errors import ConfigError
from zen_pipeline.inference.cache import KVCache
from zen_pipeline.inference.generate import generate
from zen_pipeline.models.base import CausalModel, FamilyModel
from zen_pipeline.models.bert import BertConfig, BertForMaskedLM
from zen_pipeline.models.blocks import document_positions
from zen_pipeline.models.folder import load_model, read_config, save_model
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.models.marian import Marian, MarianConfig
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

transformers = pytest.importorskip("transformers")

QWEN3 = Qwen3Config(
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    intermediate_size=80,
    max_position_embeddings=64,
)
GPT_2 = GPT2Config(vocab_size=97, n_positions=64, n_embd=48, n_layer=3, n_head=4)
SLIDING = {"sliding_window": 5, "sliding_layers": (True, False, True)}
MARIAN = MarianConfig(
    **{f"{side}_{name}": value for side in ("encoder", "decoder")
       for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 32))},
    vocab_size=97, d_model=16, max_position_embeddings=20, pad_token_id=96, decoder_start_token_id=96, dropout=0.2,
)  # fmt: skip


def decoder(family: str) -> CausalModel:
    model = Qwen3(QWEN3) if family == "qwen3" else GPT2(GPT_2)
    randomized = parity.randomized(model)
    assert isinstance(randomized, CausalModel)
    return randomized


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_packed_documents_are_read_as_if_alone(family: str) -> None:
    model = decoder(family)
    lengths = [[7, 1, 12], [3, 17]]
    documents = torch.stack([torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in lengths])
    tokens = parity.ids(2, 20, 97)
    packed = model(tokens, documents=documents)
    for row, sizes in enumerate(lengths):
        parts = tokens[row].split(sizes)
        alone = torch.cat([model(part[None])[0] for part in parts])
        parity.assert_close(packed[row], alone)
    assert (packed - model(tokens)).abs().max() > 1e-2  # without the masks it would be another answer


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_gradients_of_packed_documents_are_the_sum_of_theirs(family: str) -> None:
    model = decoder(family)
    tokens, documents = parity.ids(1, 20, 97), torch.tensor([[0] * 8 + [1] * 12])
    model(tokens, documents=documents).square().sum().backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for part in tokens.split([8, 12], dim=1):
        model(part).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-4, atol=1e-3, msg=name)


def test_positions_are_counted_from_the_start_of_each_document() -> None:
    documents = torch.tensor([[4, 4, 4, 1, 1, 9], [0, 1, 2, 2, 2, 2]])
    assert document_positions(documents).tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 0, 1, 2, 3]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_qwen3_does_not_see_padding(side: str, tmp_path: Path) -> None:
    ours = decoder("qwen3")
    theirs = parity.exported(ours, transformers.Qwen3ForCausalLM, tmp_path)
    tokens, mask = parity.ids(3, 12, 97), parity.padding(3, 12, side)
    with torch.no_grad():
        mine = ours(tokens, attention_mask=mask)
        parity.assert_close(mine, theirs(tokens, attention_mask=mask).logits, mask.bool())
    assert torch.isfinite(mine).all()


@pytest.mark.parametrize("length", [3, 5, 6, 30])
def test_sliding_windows_equal_those_of_transformers(length: int, tmp_path: Path) -> None:
    ours = parity.randomized(Qwen3(QWEN3.model_copy(update=SLIDING)))
    theirs = parity.exported(ours, transformers.Qwen3ForCausalLM, tmp_path / "a")
    assert theirs.config.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
    assert read_config(tmp_path / "a") == ours.config
    tokens = parity.ids(2, length, 97)
    with torch.no_grad():
        parity.assert_close(ours(tokens), theirs(tokens).logits)
    theirs.save_pretrained(tmp_path / "b")
    with torch.no_grad():
        parity.assert_close(load_model(tmp_path / "b")(tokens), theirs(tokens).logits)


def test_text_is_generated_through_sliding_windows(tmp_path: Path) -> None:
    ours = parity.randomized(Qwen3(QWEN3.model_copy(update=SLIDING)))
    assert isinstance(ours, Qwen3)
    theirs = parity.exported(ours, transformers.Qwen3ForCausalLM, tmp_path)
    prompt = parity.ids(1, 9, 97)
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": None, "pad_token_id": 0}
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    assert list(generate(ours, prompt[0].tolist(), max_new_tokens=20, temperature=0.0)) == expected[0, 9:].tolist()


def test_windows_that_cannot_be_honoured_are_refused(tmp_path: Path) -> None:
    import json

    save_model(Qwen3(QWEN3.model_copy(update=SLIDING)), tmp_path)
    path = tmp_path / "config.json"
    good = json.loads(path.read_text())
    for changes, named in (
        ({"sliding_window": None}, "sliding_window"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types"),
    ):
        path.write_text(json.dumps(good | changes))
        with pytest.raises(ConfigError, match=named):
            read_config(tmp_path)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_the_cache_changes_nothing(family: str) -> None:
    model = decoder(family)
    tokens = parity.ids(2, 20, 97)
    with torch.no_grad():
        cache = KVCache(model, 2, 20)
        parts = [model(part, cache=cache) for part in tokens.split([6, 1, 5, 8], dim=1)]
        parity.assert_close(torch.cat(parts, dim=1), model(tokens))


RECOMPUTED: dict[str, tuple[FamilyModel, dict[str, torch.Tensor]]] = {
    "qwen3": (Qwen3(QWEN3), {"input_ids": parity.ids(2, 12, 97)}),
    "gpt2": (GPT2(GPT_2.model_copy(update={"attn_pdrop": 0.2})), {"input_ids": parity.ids(2, 12, 97)}),
    "bert": (
        BertForMaskedLM(
            BertConfig(vocab_size=97, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                       max_position_embeddings=20, hidden_dropout_prob=0.2)
        ),
        {"input_ids": parity.ids(2, 12, 97)},
    ),
    "marian": (Marian(MARIAN), {"input_ids": parity.ids(2, 12, 96), "decoder_input_ids": parity.ids(2, 9, 96)}),
}  # fmt: skip


@pytest.mark.parametrize(("model", "given"), RECOMPUTED.values(), ids=RECOMPUTED)
def test_recomputed_activations_give_the_same_gradients(model: FamilyModel, given: dict[str, torch.Tensor]) -> None:
    model.train()
    found, kept = [], []
    for on in (False, True):
        model.recompute_activations(on)
        model.zero_grad()
        torch.manual_seed(3)
        sizes: list[int] = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(**given).square().sum()
        loss.backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        kept.append(sum(sizes))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name
    assert kept[1] < 0.7 * kept[0]
