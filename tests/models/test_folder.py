"""Model folders: ours open in transformers, theirs here, and what cannot be honoured is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.folder import load_model, read_config, save_model
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

transformers = pytest.importorskip("transformers")

IDS = torch.arange(40).reshape(2, 20)


def random_model(*, tied: bool = False, **changes: Any) -> Qwen3:
    config = Qwen3Config(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        max_position_embeddings=32,
        rope_theta=4321.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        **changes,
    )
    model = Qwen3(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(random_model(), tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(data))


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_our_folder(tmp_path: Path, tied: bool) -> None:
    ours = random_model(tied=tied, eos_token_id=[2, 0])
    save_model(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    assert theirs.dtype == torch.float32
    assert theirs.generation_config.eos_token_id == [2, 0]
    assert theirs.config.rope_parameters["rope_theta"] == 4321.0
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, ours(IDS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["1GB", "10KB"])
def test_we_open_a_folder_of_transformers(tmp_path: Path, tied: bool, shard: str) -> None:
    config = transformers.Qwen3Config(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 77.0},
    )
    theirs = transformers.Qwen3ForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "10KB")
    ours = load_model(tmp_path)
    assert not ours.training
    assert ours.config.rope_theta == 77.0
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_saving_and_loading_changes_nothing(tmp_path: Path, tied: bool) -> None:
    ours = random_model(tied=tied, bos_token_id=None, eos_token_id=[5, 6])
    save_model(ours, tmp_path)
    again = load_model(tmp_path)
    assert again.config == ours.config == read_config(tmp_path)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters(), strict=True))
    assert torch.equal(again(IDS), ours(IDS))


def test_weights_are_converted_to_the_wanted_dtype(tmp_path: Path) -> None:
    save_model(random_model().to(torch.bfloat16), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    half, full = load_model(tmp_path, dtype=torch.bfloat16), load_model(tmp_path)
    assert half(IDS).dtype == torch.bfloat16
    assert full(IDS).dtype == torch.float32
    assert full.model.rotary.cos.dtype == torch.float32


def test_a_config_in_the_older_form_is_read(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    del data["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(data | {"rope_theta": 99.0, "rope_scaling": None}))
    assert read_config(folder).rope_theta == 99.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "llama"),
        ("architectures", ["Qwen3ForSequenceClassification"]),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_parameters", {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("attention_bias", True),
        ("attention_dropout", 0.1),
        ("hidden_act", "gelu"),
        ("num_key_value_heads", 3),
        ("hidden_size", "wide"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_named(folder: Path, field: str, value: Any) -> None:
    edit(folder, **{field: value})
    with pytest.raises(ConfigError, match=field) as raised:
        load_model(folder)
    assert "config.json" in str(raised.value)


@pytest.mark.parametrize("field", ["model_type", "vocab_size", "num_key_value_heads", "head_dim"])
def test_a_missing_field_is_named(folder: Path, field: str) -> None:
    data = json.loads((folder / "config.json").read_text())
    del data[field]
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=field):
        read_config(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 41}, r"weight is \(40, 32\), but config.json asks for \(41, 32\)"),
        ({"num_hidden_layers": 3}, "model.layers.2"),
        ({"num_hidden_layers": 1}, "model.layers.1.* belongs to no layer"),
        ({"tie_word_embeddings": True}, "lm_head.weight differs"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ConfigError, match=message):
        load_model(folder)


def test_a_shared_tensor_may_be_stored_under_either_name(tmp_path: Path) -> None:
    """`safetensors.torch.save_model` keeps the first one by the alphabet."""
    from safetensors.torch import load_file
    from safetensors.torch import save_model as save_by_alphabet

    ours = random_model(tied=True)
    save_model(ours, tmp_path)
    save_by_alphabet(ours, str(tmp_path / "model.safetensors"))
    assert "model.embed_tokens.weight" not in load_file(tmp_path / "model.safetensors")
    again = load_model(tmp_path)
    assert torch.equal(again.token_embeddings.weight, ours.token_embeddings.weight)
    assert again.lm_head.weight is again.token_embeddings.weight


@pytest.mark.parametrize("family", ["Qwen3", "GPT2"])
def test_a_decoder_saved_without_its_head_is_read_where_the_head_is_the_table(tmp_path: Path, family: str) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40}
    sizes = {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48} if family == "Qwen3" else {}
    config = getattr(transformers, f"{family}Config")(
        **small, **sizes, tie_word_embeddings=True, max_position_embeddings=32
    )
    whole = getattr(transformers, f"{family}{'ForCausalLM' if family == 'Qwen3' else 'LMHeadModel'}")(config).eval()
    whole.base_model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [f"{family}Model"]
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path)(IDS), whole(IDS).logits, atol=1e-5, rtol=0)


def test_how_a_given_model_is_to_be_sampled_stays_with_it(folder: Path, tmp_path: Path) -> None:
    given = {"temperature": 0.6, "top_k": 20, "do_sample": True, "pad_token_id": 3, "eos_token_id": [5, 6]}
    (folder / "generation_config.json").write_text(json.dumps({**given, "transformers_version": "4.51.0"}))
    save_model(load_model(folder), tmp_path / "again")
    kept = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert kept == {**given, "bos_token_id": 0}
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path / "again")
    assert (theirs.temperature, theirs.top_k, theirs.pad_token_id) == (0.6, 20, 3)


def test_damaged_and_missing_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(ConfigError, match="neither"):
        load_model(folder)
    with pytest.raises(ConfigError, match="not a model folder"):
        load_model(tmp_path / "nowhere")


def test_an_index_cannot_name_files_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="weight_map"):
        load_model(folder)


DEEP: Any = 0
for _ in range(200):
    DEEP = [DEEP]


SIZES = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "head_dim")
IMPOSSIBLE = (None, [], {}, "x", -1, 10**9, 10**30, float("nan"), float("inf"), [[1]], {"a": 1}, DEEP)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in SIZES for value in IMPOSSIBLE),
        *((field, value) for field in ("architectures", "rope_parameters") for value in (1, "x", [[1]], DEEP)),
        *(("rms_norm_eps", value) for value in (float("inf"), "x", [], -1)),
    ],
)
def test_a_value_that_no_model_has_is_one_line_before_anything_is_allocated(
    folder: Path, field: str, value: Any
) -> None:
    """Such a model would have up to 10^60 weights: building one before looking would end the test."""
    edit(folder, **{field: value})
    with pytest.raises(ConfigError) as raised:
        load_model(folder)
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_sizes_are_compared_with_the_weights_before_a_model_is_built(folder: Path) -> None:
    for field, found in (("num_hidden_layers", "25 tensors"), ("vocab_size", "longer than 48")):
        data = (folder / "config.json").read_text()
        edit(folder, **{field: 10**12})
        for reader in (load_model, read_config):
            with pytest.raises(ConfigError, match=f"{field} is 1000000000000, but the weights have.* {found}"):
                reader(folder)
        (folder / "config.json").write_text(data)
    edit(folder, max_position_embeddings=10**12)
    with pytest.raises(ConfigError, match="max_position_embeddings"):
        load_model(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, number: float) -> None:
    model = random_model()
    model.lm_head.weight.data[3, 4] = number
    save_model(model, tmp_path)
    with pytest.raises(ConfigError, match=r"lm_head\.weight holds NaN or infinity"):
        load_model(tmp_path)


def test_nested_and_foreign_json_is_one_line(folder: Path) -> None:
    for name, content, message in (
        ("config.json", "[" * 200_000, "nested too deeply"),
        ("config.json", "[1]", "a JSON list, where an object is expected"),
        ("generation_config.json", '{"eos_token_id": ' + "[" * 200_000, "nested too deeply"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        with pytest.raises(ConfigError, match=message):
            load_model(folder)
        (folder / name).write_text(before)


def test_links_are_followed_inside_the_folder_and_to_the_download_caches_blobs_only(
    folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.json"
    (folder / "config.json").rename(secret)
    (folder / "config.json").symlink_to(secret)
    with pytest.raises(ConfigError, match="leads out of its folder"):
        load_model(folder)
    (folder / "config.json").unlink()
    secret.rename(folder / "other.json")
    (folder / "config.json").symlink_to("other.json")
    load_model(folder)

    snapshot = tmp_path / "models--x--y" / "snapshots" / "0123abc"
    blobs = tmp_path / "models--x--y" / "blobs"
    for path in (snapshot, blobs):
        path.mkdir(parents=True)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (folder / name).resolve().rename(blobs / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    load_model(snapshot)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("nowhere.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_model(snapshot)
