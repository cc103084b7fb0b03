"""Model folders in Hugging Face's format: config.json, generation_config.json, model.safetensors (or shards).

Int8 weights go into a file of another name, because transformers 5.23 only warns about a quantization method that it
does not know and then reads the integers as weights; so it says that it finds no model.safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.int8 import Int8Linear, is_quantized, replace_linear_
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
INT8_WEIGHTS = "model.int8.safetensors"
WEIGHT_FILES = "model*.safetensors"  # all of the above that hold tensors

_HEAD = "lm_head.weight"
_SHAPE = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
)

# What transformers can do with this family and this implementation does not: the only values that are accepted.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "architectures": (["Qwen3ForCausalLM"], None),
    "attention_bias": (False,),
    "attention_dropout": (0, 0.0),
    "hidden_act": ("silu",),
    "use_sliding_window": (False,),
}

QUANTIZATION = {"quant_method": "zen_int8", "bits": 8}


# --- reading ----------------------------------------------------------------------------------------------------------


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Qwen3:
    """The model of a Hugging Face folder, in evaluation mode.

    Args:
        folder: with config.json and safetensors, in one file or in shards with an index.
        dtype: of the float weights in memory, whatever the file holds; int8 weights stay int8.
        device: where they go.

    Raises:
        ConfigError: not a model folder, another family, a setting that cannot be honoured, or weights that do not
            fit the config.
    """
    data = read_json(folder / CONFIG)
    config = _config_of(data, folder)
    with torch.device("meta"):
        model = Qwen3(config, seed=None).to(dtype)
        if data.get("quantization_config") is not None:
            replace_linear_(model, lambda linear: Int8Linear(linear.in_features, linear.out_features))
    model = model.to_empty(device=device)
    model.tie_weights()
    model.model.rotary.fill(device)
    fill_weights(model, folder)
    return model.eval()


def read_config(folder: Path) -> Qwen3Config:
    """The shape of the model in a folder, without its weights.

    Raises:
        ConfigError: as for `load_model`.
    """
    return _config_of(read_json(folder / CONFIG), folder)


def _config_of(data: Mapping[str, Any], folder: Path) -> Qwen3Config:
    path = folder / CONFIG
    _refuse_unsupported(data, path)
    fields: dict[str, Any] = {name: data[name] for name in _SHAPE if name in data}
    fields |= {name: data[name] for name in ("rms_norm_eps", "tie_word_embeddings") if name in data}
    fields["rope_theta"] = _rope_theta(data, path)
    # generation_config.json wins: chat models name several end tokens there and one in config.json
    generation = read_json(folder / GENERATION_CONFIG) if (folder / GENERATION_CONFIG).is_file() else {}
    for name in ("bos_token_id", "eos_token_id"):
        fields[name] = data.get(name) if generation.get(name) is None else generation[name]
    try:
        return Qwen3Config.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the shape"
        raise ConfigError(f"{path}: {where}: {first['msg']}") from None


def _refuse_unsupported(data: Mapping[str, Any], path: Path) -> None:
    if (family := data.get("model_type")) != "qwen3":
        raise ConfigError(f"{path}: model_type is {family!r}, but only 'qwen3' can be read: name a Qwen3 folder")
    for name, accepted in _ONLY.items():
        if name in data and data[name] not in accepted:
            raise ConfigError(f"{path}: {name} is {data[name]!r}, but only {accepted[0]!r} is supported")
    if any(kind != "full_attention" for kind in data.get("layer_types") or ()):
        raise ConfigError(f"{path}: layer_types asks for sliding windows, but only 'full_attention' is supported")
    if data.get("quantization_config") not in (None, QUANTIZATION):
        raise ConfigError(
            f"{path}: quantization_config is {data['quantization_config']!r}, but only float weights and this "
            "project's own int8 weights can be read: name the folder of the original model"
        )


def _rope_theta(data: Mapping[str, Any], path: Path) -> float:
    """The base of the rotary angles, which transformers 5 keeps in `rope_parameters` and version 4 at the top."""
    found = data.get("rope_theta", 10_000.0)
    for name in ("rope_scaling", "rope_parameters"):
        rope = data.get(name) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default" or set(rope) - {"rope_type", "type", "rope_theta"}:
            raise ConfigError(f"{path}: {name} is {rope!r}, but only the default rotary positions are supported")
        found = rope.get("rope_theta", found)
    return float(found)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ConfigError: the file is missing or holds something else.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path.parent} is not a model folder: {path.name} cannot be read ({error})") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} does not hold a JSON object")
    return data


@torch.no_grad()
def fill_weights(model: Qwen3, folder: Path) -> None:
    """Copy the folder's tensors into the model, converted to its dtypes.

    Raises:
        ConfigError: a tensor is missing, unknown, or of another shape.
    """
    wanted = model.state_dict()
    missing = set(wanted)
    tied, head = model.config.tie_word_embeddings, None
    files = [folder / INT8_WEIGHTS] if is_quantized(model) else _weight_files(folder)
    for name, path, tensor in _tensors(files):
        target = wanted.get(name)
        if target is None:
            raise ConfigError(f"{path}: the tensor {name} belongs to no layer of the model in {CONFIG}")
        if target.shape != tensor.shape:
            raise ConfigError(
                f"{path}: the tensor {name} is {tuple(tensor.shape)}, but {CONFIG} asks for {tuple(target.shape)}"
            )
        if tied and name == _HEAD:  # the same memory as the embeddings, which come later in the file
            head = tensor.to(target)
            continue
        target.copy_(tensor)
        missing.discard(name)
    if tied:
        missing.discard(_HEAD)
        if head is not None and not torch.equal(head, wanted[_HEAD]):
            raise ConfigError(f"{folder}: lm_head.weight differs from the embeddings, but tie_word_embeddings is true")
    if missing:
        raise ConfigError(f"{folder}: the weights lack {len(missing)} tensors, among them {min(missing)}")


def _tensors(files: Iterable[Path]) -> Iterator[tuple[str, Path, Tensor]]:
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    yield name, path, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path} cannot be read as safetensors: {error}") from None


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise ConfigError(f"{folder} has neither {WEIGHTS} nor {INDEX}: only safetensors weights are read")
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) and Path(s).name == s for s in shards.values()):
        raise ConfigError(f"{folder / INDEX}: weight_map must name a file of this folder for every tensor")
    return [folder / name for name in sorted(set(shards.values()))]


# --- writing ----------------------------------------------------------------------------------------------------------


def save_model(model: Qwen3, folder: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors, as `Qwen3ForCausalLM.save_pretrained` would.

    A model with int8 layers goes into model.int8.safetensors instead (`….weight` int8 and `….weight_scale`), and
    config.json gets a `quantization_config` of our own.

    Args:
        model: its weights are written in the dtype that they have.
        folder: made when it is missing; other files in it are left alone.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors[_HEAD]
    dtype = str(model.model.embed_tokens.weight.dtype).removeprefix("torch.")
    config = to_hugging_face(model.config, dtype)
    if quantized := is_quantized(model):
        config["quantization_config"] = QUANTIZATION
    save_file(tensors, folder / (INT8_WEIGHTS if quantized else WEIGHTS), metadata={"format": "pt"})
    _write_json(folder / CONFIG, config)
    tokens = {"bos_token_id": model.config.bos_token_id, "eos_token_id": model.config.eos_token_id}
    _write_json(folder / GENERATION_CONFIG, {"_from_model_config": True, **tokens})


def to_hugging_face(config: Qwen3Config, dtype: str) -> dict[str, Any]:
    """The content of config.json; `rope_theta` stands in both places, for readers of transformers 4's form."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **config.model_dump(mode="json"),
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "use_cache": True,
        "dtype": dtype,
    }


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
