"""Model folders in Hugging Face's format: config.json, generation_config.json, model.safetensors (or shards).

Int8 weights go into a file of another name, because transformers 5.23 only warns about a quantization method that it
does not know and then reads the integers as weights; so it says that it finds no model.safetensors.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from zen_pipeline.errors import ConfigError, first_line
from zen_pipeline.files import own_file, read_json_object
from zen_pipeline.models.base import CausalModel, FamilyConfig, FamilyModel
from zen_pipeline.models.bert import Bert, BertConfig
from zen_pipeline.models.families import config_class, model_class
from zen_pipeline.models.int8 import Int8Linear, is_quantized, replace_linear_

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
    data = _read_config(folder)
    found, config = model_class(data, folder / CONFIG), _config_of(data, folder)
    if not issubclass(found, kind):
        raise ConfigError(f"{folder} holds a {found.architecture}, where {kind.wanted()} is needed")
    model = _empty(found, config, folder, dtype, int8=data.get("quantization_config") is not None)
    check_weights(model, folder)
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
    config = _config_of(_read_config(folder), folder)
    if not isinstance(config, BertConfig):
        raise ConfigError(f"{folder} holds a {config.model_type} model, where a bert model is needed")
    config = config.model_copy(update={"num_labels": num_labels})

    def keep(name: str) -> bool:
        return not name.startswith("bert.") or ".pooler." in name

    check_weights(_empty(kind, config, folder, torch.float32, int8=False), folder, keep=keep)
    model = kind(config, seed=seed)
    fill_weights(model, folder, keep=keep)
    return model.eval()


def _empty(kind: type[M], config: FamilyConfig, folder: Path, dtype: torch.dtype, *, int8: bool) -> M:
    """A model without memory, whose linear layers are as the file's."""
    try:
        with torch.device("meta"):
            model = kind(config, seed=None).to(dtype)
            if int8:
                replace_linear_(model, lambda x: Int8Linear(x.in_features, x.out_features, bias=x.bias is not None))
    except (RuntimeError, OverflowError, AssertionError) as error:
        raise ConfigError(f"{folder / CONFIG}: no model has these sizes: {first_line(error)}") from None
    return model


def read_config(folder: Path) -> FamilyConfig:
    """The shape of the model in a folder, without its weights.

    Raises:
        ConfigError: as for `load_any`.
    """
    data = _read_config(folder)
    model_class(data, folder / CONFIG)
    return _config_of(data, folder)


_SIZES = ("size", "dim", "inner", "embd", "model", "heads", "head")  # last words of the fields that are sizes
_LAYERS = ("layers", "layer")


def _check_sizes(config: FamilyConfig, folder: Path, *, int8: bool) -> None:
    """Refuse sizes that the weights cannot have, before anything is built of them.

    Raises:
        ConfigError: there are more layers than tensors, or a size is larger than any side of a tensor.
    """
    shapes = [shape for _, _, shape in _headers(_weight_files(folder, int8=int8)) if 0 not in shape]
    longest = max((max(shape, default=1) for shape in shapes), default=0)
    limits = dict.fromkeys(_LAYERS, (len(shapes), "have {} tensors"))
    limits |= dict.fromkeys(_SIZES, (longest, "have no tensor longer than {}"))
    for name, value in config.model_dump().items():
        most, what = limits.get(name.rpartition("_")[2], (math.inf, ""))
        if isinstance(value, int) and value > most:
            raise ConfigError(f"{folder / CONFIG}: {name} is {value}, but the weights {what.format(most)}")


def _read_config(folder: Path) -> dict[str, Any]:
    if own_file(folder, CONFIG) is None:
        raise ConfigError(f"{folder} is not a model folder: there is no {CONFIG} in it")
    return read_json_object(folder / CONFIG)


def _config_of(data: Mapping[str, Any], folder: Path) -> FamilyConfig:
    kind = config_class(data, folder / CONFIG)
    if (quantization := data.get("quantization_config")) not in (None, QUANTIZATION):
        raise ConfigError(
            f"{folder / CONFIG}: quantization_config is {reprlib.repr(quantization)}, but only float weights "
            "and this project's own int8 weights can be read: name the folder of the original model"
        )
    generation = read_json_object(path) if (path := own_file(folder, GENERATION_CONFIG)) is not None else {}
    try:
        config = kind.from_hugging_face(data, generation, folder / CONFIG)
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
        raise ConfigError(f"{folder / CONFIG} holds a value of the wrong type: {error}") from None
    _check_sizes(config, folder, int8=data.get("quantization_config") is not None)
    return config


def check_weights(model: FamilyModel, folder: Path, *, keep: Callable[[str], bool] = lambda _: False) -> None:
    """Compare the names and shapes of the folder's tensors with the model's; no tensor is read.

    Args:
        model: may be on the meta device.
        folder: that holds the tensors.
        keep: names whose present values stay, whatever the folder holds.

    Raises:
        ConfigError: a tensor is missing, unknown, or of another shape.
    """
    wanted, tied = model.state_dict(), model.tied()
    missing = {name for name in wanted if name not in tied and not keep(name)}
    for stored, path, shape in _headers(_weight_files(folder, int8=is_quantized(model))):
        name = model.name_of(stored)
        if name is None or keep(name):
            continue
        if name not in wanted:
            raise ConfigError(f"{path}: the tensor {stored} belongs to no layer of the model in {CONFIG}")
        shape = shape[::-1] if model.is_transposed(name) else shape
        if wanted[name].shape != shape:
            raise ConfigError(
                f"{path}: the tensor {name} is {shape}, but {CONFIG} asks for {tuple(wanted[name].shape)}"
            )
        missing.discard(tied.get(name, name))  # a file may hold what is shared under either name
    if missing:
        raise ConfigError(f"{folder}: the weights lack {len(missing)} tensors, among them {min(missing)}")


@torch.no_grad()
def fill_weights(model: FamilyModel, folder: Path, *, keep: Callable[[str], bool] = lambda _: False) -> None:
    """Copy the folder's tensors into the model, converted to its dtypes; arguments as for `check_weights`.

    Raises:
        ConfigError: a tensor cannot be read or holds NaN or infinity, or tensors differ that are one in the model.
    """
    wanted, tied = model.state_dict(), model.tied()
    filled: set[str] = set()
    second: dict[str, Tensor] = {}  # the same memory as a tensor that may come later in the file
    for stored, path, tensor in _tensors(_weight_files(folder, int8=is_quantized(model))):
        name = model.name_of(stored)
        if name is None or keep(name):
            continue
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ConfigError(f"{path}: the tensor {stored} holds NaN or infinity: the model is damaged")
        if model.is_transposed(name):
            tensor = tensor.T
        if name in tied:
            second[name] = tensor.to(wanted[name])
        else:
            wanted[name].copy_(tensor)
            filled.add(name)
    for name, tensor in second.items():
        if tied[name] not in filled:
            wanted[name].copy_(tensor)
            filled.add(tied[name])
    for name, tensor in second.items():
        if not torch.equal(tensor, wanted[name]):
            where = tied[name].rpartition(".")[0]
            raise ConfigError(f"{folder}: {name} differs from {where}, but tie_word_embeddings is true")


def _headers(files: Iterable[Path]) -> Iterator[tuple[str, Path, tuple[int, ...]]]:
    """Name, file and shape of each tensor, none of which is read."""
    for name, path, file in _opened(files):
        yield name, path, tuple(file.get_slice(name).get_shape())


def _tensors(files: Iterable[Path]) -> Iterator[tuple[str, Path, Tensor]]:
    for name, path, file in _opened(files):
        yield name, path, file.get_tensor(name)


def _opened(files: Iterable[Path]) -> Iterator[tuple[str, Path, Any]]:
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    yield name, path, file
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path} cannot be read as safetensors: {error}") from None


def _weight_files(folder: Path, *, int8: bool) -> list[Path]:
    names = [INT8_WEIGHTS] if int8 else [WEIGHTS]
    if not int8 and own_file(folder, WEIGHTS) is None:
        names = _shards(folder)
    files = [own_file(folder, name) for name in names]
    if None in files:
        raise ConfigError(f"{folder} has no {names[files.index(None)]}")
    return [file for file in files if file is not None]


def _shards(folder: Path) -> list[str]:
    if own_file(folder, INDEX) is None:
        raise ConfigError(f"{folder} has neither {WEIGHTS} nor {INDEX}: only safetensors weights are read")
    shards = read_json_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) and Path(s).name == s for s in shards.values()):
        raise ConfigError(f"{folder / INDEX}: weight_map must name a file of this folder for every tensor")
    return sorted(set(shards.values()))


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
