"""Model folders in Hugging Face's format: config.json, generation_config.json, model.safetensors (or shards).

Int8 weights go into a file of another name, because transformers 5.23 only warns about a quantization method that it
does not know and then reads the integers as weights; so it says that it finds no model.safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from zen_pipeline.errors import ConfigError
from zen_pipeline.models.base import CausalModel, FamilyModel
from zen_pipeline.models.bert import Bert, BertConfig
from zen_pipeline.models.int8 import Int8Linear, is_quantized, replace_linear_
from zen_pipeline.models.registry import AnyConfig, config_class, model_class

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
INT8_WEIGHTS = "model.int8.safetensors"
WEIGHT_FILES = "model*.safetensors"  # all of the above that hold tensors
MAX_SHARD_BYTES = 5 << 30

QUANTIZATION = {"quant_method": "zen_int8", "bits": 8}

M = TypeVar("M", bound=FamilyModel)
B = TypeVar("B", bound=Bert)


# --- reading ----------------------------------------------------------------------------------------------------------


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> CausalModel:
    """The decoder of a Hugging Face folder, in evaluation mode; arguments and errors as for `load_any`."""
    return load_any(folder, CausalModel, dtype=dtype, device=device)


def load_any(
    folder: Path, kind: type[M], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> M:
    """The model of a Hugging Face folder, in evaluation mode.

    Args:
        folder: with config.json and safetensors, in one file or in shards with an index.
        kind: what the caller can use: `FamilyModel` for any, `CausalModel` for decoders, or one model class.
        dtype: of the float weights in memory, whatever the file holds; int8 weights stay int8.
        device: where they go.

    Raises:
        ConfigError: not a model folder, another family, a setting that cannot be honoured, weights that do not fit
            the config, or a model of another kind.
    """
    data = read_json(folder / CONFIG)
    found, config = model_class(data, folder / CONFIG), _config_of(data, folder)
    if not issubclass(found, kind):
        raise ConfigError(f"{folder} holds a {found.architecture}, where {kind.wanted()} is needed")
    model = _empty(found, config, dtype, int8=data.get("quantization_config") is not None)
    model = model.to_empty(device=device)
    model.tie_weights()
    model.fill_buffers(device)
    fill_weights(model, folder)
    return model.eval()


def load_encoder(folder: Path, kind: type[B], *, num_labels: int = 2, seed: int = 0) -> B:
    """A model with the encoder of a BERT folder and a new head: the start of fine-tuning, in float32.

    Args:
        folder: a BERT model with any head, or without one.
        kind: the model with the wanted head.
        num_labels: classes of a classifier.
        seed: of the head's weights.

    Raises:
        ConfigError: as for `load_any`, or the folder holds another family.
    """
    config = _config_of(read_json(folder / CONFIG), folder)
    if not isinstance(config, BertConfig):
        raise ConfigError(f"{folder} holds a {config.model_type} model, where a bert model is needed")
    model = kind(config.model_copy(update={"num_labels": num_labels}), seed=seed)
    fill_weights(model, folder, keep=lambda name: not name.startswith("bert.") or ".pooler." in name)
    return model.eval()


def _empty(kind: type[M], config: AnyConfig, dtype: torch.dtype, *, int8: bool) -> M:
    """A model without memory, whose linear layers are as the file's."""
    with torch.device("meta"):
        model = kind(config, seed=None).to(dtype)
        if int8:
            replace_linear_(model, lambda x: Int8Linear(x.in_features, x.out_features, bias=x.bias is not None))
    return model


def read_config(folder: Path) -> AnyConfig:
    """The shape of the model in a folder, without its weights.

    Raises:
        ConfigError: as for `load_any`.
    """
    data = read_json(folder / CONFIG)
    model_class(data, folder / CONFIG)
    return _config_of(data, folder)


def _config_of(data: Mapping[str, Any], folder: Path) -> AnyConfig:
    path = folder / CONFIG
    kind = config_class(data, path)
    if data.get("quantization_config") not in (None, QUANTIZATION):
        raise ConfigError(
            f"{path}: quantization_config is {data['quantization_config']!r}, but only float weights and this "
            "project's own int8 weights can be read: name the folder of the original model"
        )
    generation = read_json(folder / GENERATION_CONFIG) if (folder / GENERATION_CONFIG).is_file() else {}
    return kind.from_hugging_face(data, generation, path)


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
def fill_weights(model: FamilyModel, folder: Path, *, keep: Callable[[str], bool] = lambda _: False) -> None:
    """Copy the folder's tensors into the model, converted to its dtypes.

    Args:
        model: filled in place.
        folder: that holds the tensors.
        keep: names whose present values stay, whatever the folder holds.

    Raises:
        ConfigError: a tensor is missing, unknown, or of another shape.
    """
    wanted, tied = model.state_dict(), model.tied()
    missing = {name for name in wanted if name not in tied and not keep(name)}
    second: dict[str, Tensor] = {}  # the same memory as a tensor that may come later in the file
    files = [folder / INT8_WEIGHTS] if is_quantized(model) else _weight_files(folder)
    for stored, path, tensor in _tensors(files):
        name = model.name_of(stored)
        if name is None or keep(name):
            continue
        target = wanted.get(name)
        if target is None:
            raise ConfigError(f"{path}: the tensor {stored} belongs to no layer of the model in {CONFIG}")
        if model.is_transposed(name):
            tensor = tensor.T
        if target.shape != tensor.shape:
            raise ConfigError(
                f"{path}: the tensor {name} is {tuple(tensor.shape)}, but {CONFIG} asks for {tuple(target.shape)}"
            )
        if name in tied:
            second[name] = tensor.to(target)
            continue
        target.copy_(tensor)
        missing.discard(name)
    for name, tensor in second.items():
        if tied[name] in missing:  # a file may hold what is shared under either name
            wanted[name].copy_(tensor)
            missing.discard(tied[name])
    if missing:
        raise ConfigError(f"{folder}: the weights lack {len(missing)} tensors, among them {min(missing)}")
    for name, tensor in second.items():
        if not torch.equal(tensor, wanted[name]):
            where = tied[name].rpartition(".")[0]
            raise ConfigError(f"{folder}: {name} differs from {where}, but tie_word_embeddings is true")


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


def save_model(
    model: FamilyModel,
    folder: Path,
    *,
    weights: Mapping[str, Tensor] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write config.json, generation_config.json and the weights, as transformers' `save_pretrained` would.

    A model with int8 layers goes into model.int8.safetensors instead (`….weight` int8 and `….weight_scale`), and
    config.json gets a `quantization_config` of our own.

    Args:
        model: its weights are written in the dtype that they have.
        folder: made when it is missing; other files in it are left alone.
        weights: the state dict, where the model itself holds a part of each weight; default: the model's.
        max_shard_bytes: float weights of more than this are written as several files with an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = str(model.token_embeddings.weight.dtype).removeprefix("torch.")
    config = {"architectures": [model.architecture], **model.config.to_hugging_face(), "dtype": dtype}
    state = model.state_dict() if weights is None else weights
    tensors = {name: tensor for name, tensor in state.items() if name not in model.tied()}
    tensors = {n: (t.T if model.is_transposed(n) else t).detach().cpu().contiguous() for n, t in tensors.items()}
    if is_quantized(model):
        config["quantization_config"] = QUANTIZATION
        _save_tensors(tensors, folder / INT8_WEIGHTS)
    else:
        _save_shards(tensors, folder, max_shard_bytes)
    _write_json(folder / CONFIG, config)
    if (generation := model.config.generation_settings()) is not None:
        _write_json(folder / GENERATION_CONFIG, generation)


def _save_shards(tensors: dict[str, Tensor], folder: Path, limit: int) -> None:
    """One file, or as many as needed, none larger than `limit` bytes unless it holds one tensor."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    if len(shards) == 1:
        _save_tensors(tensors, folder / WEIGHTS)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _save_tensors(shard, folder / file)
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path, metadata={"format": "pt"})


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
