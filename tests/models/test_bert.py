"""BERT with its three heads against transformers, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models import parity
from zen_pipeline.errors import ConfigError
from zen_pipeline.models.bert import (
    Bert,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
)
from zen_pipeline.models.families import flops_per_token, num_parameters
from zen_pipeline.models.folder import load_any, load_encoder, load_model, read_config, save_model

transformers = pytest.importorskip("transformers")

BASE = BertConfig(
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=80,
    max_position_embeddings=40,
)
HEADS = [BertForMaskedLM, BertForQuestionAnswering, BertForSequenceClassification]
CASES: dict[str, tuple[type[Bert], dict[str, Any]]] = {
    "masked LM": (BertForMaskedLM, {}),
    "masked LM, untied": (BertForMaskedLM, {"tie_word_embeddings": False}),
    "masked LM, relu": (BertForMaskedLM, {"hidden_act": "relu", "num_attention_heads": 1, "layer_norm_eps": 1e-5}),
    "questions": (BertForQuestionAnswering, {"type_vocab_size": 3}),
    "two classes": (BertForSequenceClassification, {}),
    "five classes": (BertForSequenceClassification, {"num_labels": 5, "num_hidden_layers": 1}),
}


def ours_of(kind: type[Bert], changes: dict[str, Any]) -> Bert:
    model = parity.randomized(kind(BASE.model_copy(update=changes)))
    assert isinstance(model, kind)
    return model


def theirs_of(kind: type[Bert], changes: dict[str, Any]) -> Any:
    config = BASE.model_copy(update=changes)
    return getattr(transformers, kind.architecture)(transformers.BertConfig(**config.model_dump()))


def inputs(batch: int, length: int, side: str | None = None) -> dict[str, torch.Tensor]:
    mask = torch.ones(batch, length, dtype=torch.int64) if side is None else parity.padding(batch, length, side)
    segments = (torch.arange(length) >= length // 2).long().expand(batch, length)
    return {"input_ids": parity.ids(batch, length, 97), "attention_mask": mask, "token_type_ids": segments}


def outputs(theirs: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    found = theirs(**given)
    return found.logits if "logits" in found else torch.stack((found.start_logits, found.end_logits), dim=-1)


@pytest.mark.parametrize(("kind", "changes"), CASES.values(), ids=CASES)
def test_transformers_reads_what_we_write(kind: type[Bert], changes: dict[str, Any], tmp_path: Path) -> None:
    ours = ours_of(kind, changes)
    theirs = parity.exported(ours, getattr(transformers, kind.architecture), tmp_path)
    for given in (inputs(1, 1), inputs(2, 17), inputs(3, 40, "right"), inputs(3, 12, "left")):
        real = given["attention_mask"].bool() if kind is not BertForSequenceClassification else None
        with torch.no_grad():
            parity.assert_close(ours(**given), outputs(theirs, given), real)


@pytest.mark.parametrize(("kind", "changes"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("shard", ["1GB", "30KB"])
def test_we_read_what_transformers_writes(
    kind: type[Bert], changes: dict[str, Any], shard: str, tmp_path: Path
) -> None:
    theirs = theirs_of(kind, changes)
    ours = parity.imported(theirs, kind, tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "30KB")
    given = inputs(2, 23)
    with torch.no_grad():
        parity.assert_close(ours(**given), outputs(theirs, given))


@pytest.mark.parametrize(("kind", "changes"), CASES.values(), ids=CASES)
def test_gradients_equal(kind: type[Bert], changes: dict[str, Any], tmp_path: Path) -> None:
    ours = ours_of(kind, changes)
    theirs = parity.exported(ours, getattr(transformers, kind.architecture), tmp_path)
    given = inputs(2, 20)
    parity.assert_gradients_equal(ours, theirs, ours(**given), outputs(theirs, given))


def test_a_fresh_head_is_put_on_a_trained_encoder(tmp_path: Path) -> None:
    trained = ours_of(BertForMaskedLM, {})
    save_model(trained, tmp_path)
    for kind in (BertForQuestionAnswering, BertForSequenceClassification):
        model = load_encoder(tmp_path, kind, num_labels=3, seed=1)
        tokens = parity.ids(2, 9, 97)
        with torch.no_grad():
            assert torch.equal(model.hidden_states(tokens), trained.hidden_states(tokens))
            assert model(tokens).shape == ((2, 9, 2) if kind is BertForQuestionAnswering else (2, 3))
        assert torch.equal(
            torch.cat([p.flatten() for p in model.parameters()]),
            torch.cat([p.flatten() for p in load_encoder(tmp_path, kind, num_labels=3, seed=1).parameters()]),
        )


def test_a_fresh_head_is_put_on_an_encoder_that_has_none(tmp_path: Path) -> None:
    """Published embedding models are saved like this."""
    theirs = transformers.BertModel(transformers.BertConfig(**BASE.model_dump())).eval()
    theirs.save_pretrained(tmp_path)
    assert "embeddings.word_embeddings.weight" in load_file(tmp_path / "model.safetensors")
    tokens = parity.ids(2, 9, 97)
    with torch.no_grad():
        found = load_encoder(tmp_path, BertForQuestionAnswering).hidden_states(tokens)
        parity.assert_close(found, theirs(tokens).last_hidden_state)
    with pytest.raises(ConfigError, match="architectures is"):
        load_any(tmp_path, BertForMaskedLM)


def test_names_of_before_2019_and_a_second_head_are_read(tmp_path: Path) -> None:
    """The published bert-base folders call gain and bias gamma and beta, and were saved with both pretraining heads."""
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**BASE.model_dump()))
    ours = parity.imported(theirs, BertForMaskedLM, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
           for n, t in tensors.items()}  # fmt: skip
    assert any("gamma" in name for name in old)
    save_file(old | {"bert.embeddings.position_ids": torch.arange(40)[None]}, tmp_path / "model.safetensors")
    tokens = parity.ids(2, 9, 97)
    with torch.no_grad():
        again = load_any(tmp_path, BertForMaskedLM)(tokens)
        assert torch.equal(again, ours(tokens))
        parity.assert_close(again, theirs(tokens).prediction_logits)


def test_an_encoder_is_refused_where_text_is_to_be_continued(tmp_path: Path) -> None:
    save_model(ours_of(BertForMaskedLM, {}), tmp_path)
    with pytest.raises(ConfigError, match="BertForMaskedLM, where a model that continues text is needed"):
        load_model(tmp_path)
    with pytest.raises(ConfigError, match="where a BertForQuestionAnswering is needed"):
        load_any(tmp_path, BertForQuestionAnswering)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "tanh"),
        ("architectures", ["BertForTokenClassification"]),
        ("num_attention_heads", 5),
        ("intermediate_size", "wide"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_named(field: str, value: Any, tmp_path: Path) -> None:
    save_model(ours_of(BertForMaskedLM, {}), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=field):
        read_config(tmp_path)


def test_sizes_are_counted_without_the_model() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    context = 40
    model, tokens = BertForMaskedLM(BASE), parity.ids(1, context, 97)
    assert num_parameters(BASE) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model.logits(model.hidden_states(tokens)[:, :6]).sum().backward()  # 15 % of 40
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    attention = 12 * BASE.num_hidden_layers * BASE.hidden_size * context
    expected = context * (flops_per_token(BASE, context) - attention)
    assert sum(f for op, f in counted.items() if "mm" in op) == pytest.approx(expected)


@pytest.mark.parametrize("kind", HEADS)
def test_initialization_depends_on_the_seed_alone(kind: type[Bert]) -> None:
    torch.manual_seed(1)
    first = kind(BASE, seed=7).state_dict()
    torch.manual_seed(2)
    second = kind(BASE, seed=7).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(first[name], kind(BASE, seed=8).state_dict()[name])
