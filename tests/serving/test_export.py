"""Exported models: transformers and llama.cpp's file format hold what our own folder holds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zen_pipeline.corpus.tokens.tokenizer import Tokenizer, train_tokenizer
from zen_pipeline.errors import ConfigError
from zen_pipeline.inference.generate import generate
from zen_pipeline.inference.scoring import bits_per_byte, score_documents
from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.gpt2 import GPT2, GPT2Config
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.serving import registry
from zen_pipeline.tasks.chat_markup import write_template
from zen_pipeline.workspace import Workspace

TEXTS = ["The with statement wraps the execution of a block.", "A lambda expression makes an anonymous function, 42."]
QWEN3 = Qwen3Config(
    vocab_size=310,  # ten more than the tokenizer has
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    max_position_embeddings=64,
    rope_theta=4321.0,
    eos_token_id=[0, 2],
)
GPT_2 = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=4, n_inner=40)
MODELS: dict[str, Any] = {
    "qwen3": (Qwen3, QWEN3),
    "qwen3, tied": (Qwen3, QWEN3.model_copy(update={"tie_word_embeddings": True})),
    "gpt2": (GPT2, GPT_2),
    "gpt2, untied": (GPT2, GPT_2.model_copy(update={"tie_word_embeddings": False})),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model with random weights and a tokenizer that was trained on text."""
    return fill(tmp_path / "model", *request.param)


def fill(folder: Path, kind: Any, config: Any) -> Path:
    model = kind(config)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        gain = parameter.ndim == 1 and name.endswith("weight")
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + gain)
    save_model(model, folder)
    from pydoc_data.topics import topics

    train_tokenizer([topics["with"], topics["lambda"]], 300).save(folder)
    write_template(folder)
    return folder


def test_transformers_writes_the_same_text_and_finds_the_same_bits_per_byte(folder: Path, workspace: Workspace) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target = registry.export(str(folder), workspace.home / "out", workspace=workspace)
    theirs = AutoModelForCausalLM.from_pretrained(target).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(target)
    ours, tokenizer = load_model(folder), Tokenizer.load(folder)

    prompt = [tokenizer.start_id, *tokenizer.encode("The with")]
    said = list(generate(ours, prompt, max_new_tokens=30, temperature=0.0))
    ids = torch.tensor([prompt])
    settings = {"do_sample": False, "max_new_tokens": 30, "eos_token_id": None, "pad_token_id": 0}
    expected = theirs.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    assert said == expected[0, len(prompt) :].tolist()
    assert tokenizer.decode(said) == their_tokenizer.decode(said, skip_special_tokens=True)
    assert len(set(said)) > 3

    documents = [[tokenizer.start_id, *their_tokenizer(text, add_special_tokens=False).input_ids] for text in TEXTS]
    offsets = np.cumsum([0, *map(len, documents)])
    nats = score_documents(ours, np.concatenate(documents), offsets, context=64).sum()
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(theirs(torch.tensor([d])).logits[0, :-1], torch.tensor(d[1:]))
            for d in documents
        ]
    total = sum(float(loss) * (len(d) - 1) for loss, d in zip(losses, documents, strict=True))
    size = sum(len(text.encode()) for text in TEXTS)
    assert bits_per_byte(float(nats), size) == pytest.approx(total / (math.log(2) * size), rel=1e-5)


def fields(reader: Any) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items()}


def test_every_tensor_and_size_is_in_the_gguf_file(folder: Path, workspace: Workspace) -> None:
    gguf = pytest.importorskip("gguf")
    target = registry.export(str(folder), workspace.home / "out", format="gguf", workspace=workspace)
    reader = gguf.GGUFReader(target / "model.gguf")
    model = load_model(folder)
    config = model.config
    state = {n: t for n, t in model.state_dict().items() if n not in model.tied()}

    architecture = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    expected = {names.get_name(n, try_suffixes=(".weight", ".bias")): t for n, t in state.items()}
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert set(found) == set(expected)
    for name, tensor in found.items():
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert tensor.shape.tolist() == list(expected[name].shape)[::-1]  # ggml counts dimensions from the fastest
        np.testing.assert_array_equal(tensor.data, expected[name].numpy())

    held, keys = fields(reader), gguf.Keys
    sizes = {
        keys.LLM.CONTEXT_LENGTH: config.max_position_embeddings,
        keys.LLM.EMBEDDING_LENGTH: config.hidden_size,
        keys.LLM.BLOCK_COUNT: config.num_hidden_layers,
        keys.LLM.FEED_FORWARD_LENGTH: config.intermediate_size,
        keys.Attention.HEAD_COUNT: config.num_attention_heads,
        keys.LLM.VOCAB_SIZE: config.vocab_size,
    }
    if config.model_type == "qwen3":
        sizes |= {
            keys.Attention.HEAD_COUNT_KV: 2,
            keys.Attention.KEY_LENGTH: 8,
            keys.Attention.VALUE_LENGTH: 8,
            keys.Attention.LAYERNORM_RMS_EPS: pytest.approx(1e-6),
            keys.Rope.FREQ_BASE: pytest.approx(4321.0),
        }
    else:
        sizes |= {keys.Attention.LAYERNORM_EPS: pytest.approx(1e-5)}
    assert held[keys.General.ARCHITECTURE] == config.model_type
    for key, value in sizes.items():
        assert held[key.format(arch=config.model_type)] == value, key


def test_the_tokenizer_is_in_the_gguf_file(folder: Path, workspace: Workspace) -> None:
    gguf = pytest.importorskip("gguf")
    target = registry.export(str(folder), workspace.home / "out", format="gguf", workspace=workspace)
    held, keys = fields(gguf.GGUFReader(target / "model.gguf")), gguf.Keys.Tokenizer
    data = json.loads((folder / "tokenizer.json").read_text())
    vocab_size = load_model(folder).config.vocab_size
    tokens = held[keys.LIST]
    assert (held[keys.MODEL], held[keys.PRE]) == ("gpt2", "qwen2")
    assert {text: tokens[index] for text, index in data["model"]["vocab"].items()} == {
        t: t for t in data["model"]["vocab"]
    }
    assert len(tokens) == len(held[keys.TOKEN_TYPE]) == vocab_size
    assert tokens[300:] == [f"[PAD{index}]" for index in range(300, vocab_size)]
    kinds = {text: held[keys.TOKEN_TYPE][tokens.index(text)] for text in ("<|endoftext|>", "<|im_end|>", "a", "Ġ")}
    assert kinds == {"<|endoftext|>": 3, "<|im_end|>": 3, "a": 1, "Ġ": 1}
    assert held[keys.MERGES] == [" ".join(m) for m in data["model"]["merges"]]
    assert (held[keys.BOS_ID], held[keys.ADD_BOS]) == (0, True)
    assert held[keys.EOS_ID] == (2 if "qwen3" in json.loads((folder / "config.json").read_text())["model_type"] else 0)
    assert "<|im_start|>" in held[keys.CHAT_TEMPLATE]


def test_a_template_of_somebody_else_decides_alone_how_a_chat_begins(tmp_path: Path, workspace: Workspace) -> None:
    gguf = pytest.importorskip("gguf")
    folder = fill(tmp_path / "model", *MODELS["qwen3"])
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    target = registry.export(str(folder), workspace.home / "out", format="gguf", workspace=workspace)
    held, keys = fields(gguf.GGUFReader(target / "model.gguf")), gguf.Keys.Tokenizer
    assert (held[keys.CHAT_TEMPLATE], held[keys.ADD_BOS]) == (template, False)


def test_llama_cpp_writes_the_same_text(folder: Path, workspace: Workspace) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is compiled for minutes: install it by hand")
    target = registry.export(str(folder), workspace.home / "out", format="gguf", workspace=workspace)
    ours, tokenizer = load_model(folder), Tokenizer.load(folder)
    settings = {"n_ctx": 64, "n_threads": 1, "logits_all": True, "verbose": False}
    cache = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}  # float16 otherwise
    theirs = llama_cpp.Llama(str(target / "model.gguf"), **settings, **cache)
    prompt = theirs.tokenize(b"The with statement (42 times)", add_bos=True)
    assert prompt == [tokenizer.start_id, *tokenizer.encode("The with statement (42 times)")]
    theirs.eval(prompt)
    with torch.no_grad():
        expected = ours(torch.tensor([prompt]))[0].numpy()
    np.testing.assert_allclose(theirs.scores[: len(prompt)], expected, atol=2e-3)  # its products are not float32's
    said = list(generate(ours, prompt, max_new_tokens=20, temperature=0.0))
    stream = theirs.generate(prompt, temp=0.0, repeat_penalty=1.0)
    assert [next(stream) for _ in said] == said


def test_what_llama_cpp_cannot_do_is_named(tmp_path: Path, workspace: Workspace) -> None:
    pytest.importorskip("gguf")
    relu = fill(tmp_path / "relu", GPT2, GPT_2.model_copy(update={"activation_function": "relu"}))
    with pytest.raises(ConfigError, match="activation_function"):
        registry.export(str(relu), tmp_path / "a", format="gguf", workspace=workspace)
    windows = {"sliding_window": 8, "sliding_layers": (True, False)}
    sliding = fill(tmp_path / "sliding", Qwen3, QWEN3.model_copy(update=windows))
    with pytest.raises(ConfigError, match="layer_types"):
        registry.export(str(sliding), tmp_path / "b", format="gguf", workspace=workspace)
    odd = fill(tmp_path / "odd", GPT2, GPT_2)
    data = json.loads((odd / "tokenizer.json").read_text())
    data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\w+|\W"}
    (odd / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="no name for this way of cutting"):
        registry.export(str(odd), tmp_path / "c", format="gguf", workspace=workspace)


def test_a_folder_with_links_that_lead_out_of_it_is_not_exported(tmp_path: Path, workspace: Workspace) -> None:
    folder = fill(tmp_path / "model", GPT2, GPT_2)
    for name in ("added_tokens.json", "chat_template.jinja", "generation_config.json"):
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("/etc/hostname")
        with pytest.raises(ConfigError, match=rf"{name} is a link that leads out"):
            registry.export(str(folder), tmp_path / "out", workspace=workspace)
        assert not list((tmp_path / "out").glob("*"))
        (folder / name).unlink()
        if before is not None:
            (folder / name).write_bytes(before)
    registry.export(str(folder), tmp_path / "out", workspace=workspace)
