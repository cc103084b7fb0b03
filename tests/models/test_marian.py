"""The encoder-decoder against transformers' MarianMTModel, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models import parity
from zen_pipeline.errors import ConfigError
from zen_pipeline.inference.translate import translate
from zen_pipeline.models.families import flops_per_token, num_parameters
from zen_pipeline.models.folder import load_any, read_config, save_model
from zen_pipeline.models.marian import Marian, MarianConfig

transformers = pytest.importorskip("transformers")

BASE = MarianConfig(
    vocab_size=97,
    max_position_embeddings=40,
    d_model=48,
    encoder_layers=2,
    encoder_attention_heads=4,
    encoder_ffn_dim=80,
    decoder_layers=2,
    decoder_attention_heads=4,
    decoder_ffn_dim=80,
    pad_token_id=96,
    decoder_start_token_id=96,
)
SHAPES: dict[str, dict[str, Any]] = {
    "usual": {},
    "scaled, swish": {"scale_embedding": True, "activation_function": "swish"},
    "uneven sides": {
        "encoder_layers": 3,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 6,
        "decoder_ffn_dim": 30,
        "activation_function": "relu",
    },
    "two vocabularies": {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 103},
    "two vocabularies, untied": {
        "share_encoder_decoder_embeddings": False,
        "decoder_vocab_size": 103,
        "tie_word_embeddings": False,
    },
}


def ours_of(changes: dict[str, Any]) -> Marian:
    model = parity.randomized(Marian(BASE.model_copy(update=changes)))
    assert isinstance(model, Marian)
    model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(7))
    return model


SOURCES = [parity.ids(1, length, 96, first=1)[0].roll(length).tolist() for length in (3, 9, 5, 12, 2, 7)]


def reversing(changes: dict[str, Any]) -> Marian:
    """A model that has been taught to write a few sources backwards, so that its translations differ and end."""
    ours = ours_of(changes)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
    for _ in range(400):
        losses = []
        for source in SOURCES:
            target = [*reversed(source), BASE.eos_token_id]
            given = torch.tensor([[BASE.decoder_start_token_id, *target[:-1]]])
            loss = nn.functional.cross_entropy(ours(torch.tensor([source]), given)[0], torch.tensor(target))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if max(losses) < 0.05:
            return ours
    raise AssertionError(f"not learned after 400 rounds: losses {losses}")


def theirs_of(changes: dict[str, Any]) -> Any:
    config = BASE.model_copy(update=changes)
    return transformers.MarianMTModel(transformers.MarianConfig(**config.model_dump()))


def inputs(source: tuple[int, int], target: int, side: str | None = None) -> dict[str, Tensor]:
    mask = torch.ones(source, dtype=torch.int64) if side is None else parity.padding(*source, side)
    return {
        "input_ids": parity.ids(*source, 96),
        "attention_mask": mask,
        "decoder_input_ids": parity.ids(source[0], target, 96),
    }


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_transformers_reads_what_we_write(changes: dict[str, Any], tmp_path: Path) -> None:
    ours = ours_of(changes)
    theirs = parity.exported(ours, transformers.MarianMTModel, tmp_path)
    for given in (inputs((1, 1), 1), inputs((2, 17), 9), inputs((3, 40), 40, "right"), inputs((3, 9), 12, "left")):
        with torch.no_grad():
            parity.assert_close(ours(**given), theirs(**given).logits)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("shard", ["1GB", "50KB"])
def test_we_read_what_transformers_writes(changes: dict[str, Any], shard: str, tmp_path: Path) -> None:
    theirs = theirs_of(changes)
    ours = parity.imported(theirs, Marian, tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "50KB")
    given = inputs((2, 23), 7)
    with torch.no_grad():
        parity.assert_close(ours(**given), theirs(**given).logits)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_gradients_equal(changes: dict[str, Any], tmp_path: Path) -> None:
    ours = ours_of(changes)
    theirs = parity.exported(ours, transformers.MarianMTModel, tmp_path)
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_("embed_positions" not in name)  # sines, which transformers neither saves nor freezes
    given = inputs((2, 20), 11, "right")
    parity.assert_gradients_equal(ours, theirs, ours(**given), theirs(**given).logits)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_the_target_is_not_seen(side: str, tmp_path: Path) -> None:
    ours = ours_of({})
    theirs = parity.exported(ours, transformers.MarianMTModel, tmp_path)
    given = {**inputs((3, 9), 12), "decoder_attention_mask": parity.padding(3, 12, side)}
    with torch.no_grad():
        real = given["decoder_attention_mask"].bool()
        parity.assert_close(ours(**given), theirs(**given).logits, real)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_greedy_translations_are_equal(changes: dict[str, Any], tmp_path: Path) -> None:
    ours = reversing(changes)
    theirs = parity.exported(ours, transformers.MarianMTModel, tmp_path)
    theirs.generation_config.forced_eos_token_id = None
    mine = translate(ours, SOURCES, max_new_tokens=20)
    for source, translation in zip(SOURCES, mine, strict=True):
        expected = theirs.generate(torch.tensor([source]), do_sample=False, max_new_tokens=20)[0, 1:].tolist()
        assert [*translation, BASE.eos_token_id][:20] == expected
    assert sum(translation == source[::-1] for translation, source in zip(mine, SOURCES, strict=True)) >= 3


def test_translations_do_not_depend_on_their_neighbours() -> None:
    ours = reversing({})
    together = translate(ours, SOURCES, max_new_tokens=8)
    assert together == [translate(ours, [source], max_new_tokens=8)[0] for source in SOURCES]
    assert max(map(len, together)) == 8
    with pytest.raises(ValueError, match="at most 40"):
        translate(ours, [list(range(41))], max_new_tokens=5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder_layerdrop", 0.1),
        ("is_encoder_decoder", False),
        ("activation_function", "tanh"),
        ("decoder_vocab_size", 98),
        ("tie_word_embeddings", False),
        ("decoder_attention_heads", 5),
        ("d_model", 47),
        ("pad_token_id", None),
        ("normalize_before", True),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_named(field: str, value: Any, tmp_path: Path) -> None:
    save_model(ours_of({}), tmp_path)
    (tmp_path / "generation_config.json").unlink()  # it would name the padding token too
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=field):
        read_config(tmp_path)


def test_sizes_are_counted_without_the_model() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    context = 32
    model, given = Marian(BASE), inputs((1, context), context)
    assert num_parameters(BASE) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(**given).sum().backward()
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    attention = 12 * BASE.d_model * (BASE.encoder_layers * context + BASE.decoder_layers * (context * 1.5 + 0.5))
    assert sum(f for op, f in counted.items() if "mm" in op) == context * (flops_per_token(BASE, context) - attention)


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    ours = ours_of({})
    save_model(ours, tmp_path)
    again = load_any(tmp_path, Marian)
    assert again.config == ours.config
    given = inputs((2, 5), 4)
    assert torch.equal(again(**given), ours(**given))
    assert again.lm_head.weight is again.model.decoder.embed_tokens.weight
