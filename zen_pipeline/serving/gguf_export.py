"""A model as one GGUF file, which llama.cpp, Ollama and others open.

Tensors are float32, as they are; `llama-quantize` makes smaller ones of them. Names come from the `gguf` package, which
llama.cpp's own converter uses. Rotary positions of qwen3 turn dimension i together with i + D/2 here and there (what
llama.cpp calls NEOX), so nothing is permuted; GPT-2's matrices are (out, in) in the file, as they are in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zen_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.models.gpt2 import GPT2Config
    from zen_pipeline.models.qwen3 import Qwen3Config

FILE = "model.gguf"

# How text is cut before merging, by the pattern in tokenizer.json, in llama.cpp's names (llama-vocab.cpp).
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CUTS = {_QWEN2: "qwen2", _GPT2: "gpt-2"}
_LAYER_PARTS = (".weight", ".bias")


def write_gguf(folder: Path, target: Path, *, name: str) -> Path:
    """Write the model of a Hugging Face folder as `target/model.gguf`; return the file.

    Args:
        folder: a qwen3 or gpt2 model with float weights, and its tokenizer.
        target: an existing folder.
        name: the model's name in the file.

    Raises:
        ConfigError: the `gguf` package is not installed, or llama.cpp has no counterpart for something in the model or
            its tokenizer; the message names it.
    """
    try:
        import gguf
    except ModuleNotFoundError:
        raise ConfigError("the format gguf needs the package gguf: pip install 'zen-pipeline[gguf]'") from None
    from zen_pipeline.models.folder import load_model

    model = load_model(folder)
    architecture = model.config.model_type
    writer = gguf.GGUFWriter(None, architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_shape(writer, model, folder)
    _add_tokenizer(writer, folder, model)
    for tensor_name, values in gguf_tensors(model).items():
        writer.add_tensor(tensor_name, values)
    path = target / FILE
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return path


def gguf_tensors(model: CausalModel) -> dict[str, np.ndarray]:
    """The float32 tensors of a model by their names in GGUF, as torch shapes them.

    Raises:
        ConfigError: llama.cpp has no name for a tensor.
    """
    import gguf

    architecture = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[model.config.model_type]
    names = gguf.get_tensor_name_map(architecture, model.config.num_hidden_layers)
    tied = model.tied()
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name in tied:  # llama.cpp takes the token table for a head that is missing
            continue
        found = names.get_name(name, try_suffixes=_LAYER_PARTS)
        if found is None:
            raise ConfigError(f"llama.cpp has no place for the tensor {name} of a {model.config.model_type} model")
        tensors[found] = tensor.float().numpy()
    return tensors


def _add_shape(writer: Any, model: CausalModel, folder: Path) -> None:
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    _FAMILIES[config.model_type](writer, config, folder)


def _add_qwen3(writer: Any, config: Qwen3Config, folder: Path) -> None:
    if any(config.sliding_layers):
        raise ConfigError(f"{folder}: layer_types asks for sliding windows, which llama.cpp's qwen3 does not have")
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)


def _add_gpt2(writer: Any, config: GPT2Config, folder: Path) -> None:
    if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"):
        found = config.activation_function
        raise ConfigError(f"{folder}: activation_function is {found!r}, but llama.cpp's gpt2 has 'gelu_new' only")
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


_FAMILIES: Mapping[str, Callable[[Any, Any, Path], None]] = {"qwen3": _add_qwen3, "gpt2": _add_gpt2}


# --- the tokenizer ----------------------------------------------------------------------------------------------------


def _add_tokenizer(writer: Any, folder: Path, model: CausalModel) -> None:
    import gguf

    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
    from zen_pipeline.tasks.chat_markup import CHAT_TEMPLATE, folder_template

    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    start, stops, vocab_size = Tokenizer.load(folder).start_id, model.config.eos_token_id, model.config.vocab_size
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    kinds = [gguf.TokenType.UNUSED] * vocab_size
    for text, index in data["model"]["vocab"].items():
        tokens[index], kinds[index] = text, gguf.TokenType.NORMAL
    for added in data.get("added_tokens", ()):
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")  # what llama.cpp calls every byte-level BPE
    writer.add_tokenizer_pre(name_of_cut(data, folder))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]])
    writer.add_bos_token_id(start)
    # a chat model ends at one of two tokens; the other one, which starts a text, llama.cpp knows as such
    writer.add_eos_token_id(max(stops) if isinstance(stops, list) else start if stops is None else stops)
    template = folder_template(folder)
    # every document and every prompt of ours began with it; a template of somebody else writes what it needs by itself
    writer.add_add_bos_token(template in (None, CHAT_TEMPLATE))
    if template is not None:
        writer.add_chat_template(template)


def name_of_cut(data: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name for the way in which a tokenizer.json cuts text before merging.

    Raises:
        ConfigError: llama.cpp has no name for it, or the tokenizer changes the text first.
    """
    steps = data.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps]) if steps.get("type") == "Sequence" else [steps]
    patterns = [step["pattern"].get("Regex") for step in steps if step.get("type") == "Split"]
    patterns += [_GPT2 for step in steps if step.get("type") == "ByteLevel" and step.get("use_regex", True)]
    name = _CUTS.get(patterns[0]) if len(patterns) == 1 else None
    if name is None or data.get("normalizer") not in (None, {"type": "NFC"}):
        raise ConfigError(
            f"{folder / 'tokenizer.json'}: llama.cpp has no name for this way of cutting text into words: train the "
            "model with this project's own tokenizer"
        )
    return name
