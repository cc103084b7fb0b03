"""The optimize stage on a tiny model that has learned a little of real text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stages.evaluation_artifacts import write_sizes
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.corpus.tokens.shards import TokenSplit, write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files, train_tokenizer
from zen_pipeline.inference.scoring import bits_per_byte, score_documents
from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import optimize
from zen_pipeline.workspace import Workspace


def reference(stage: str, folder: Path, skipped: str | None = None) -> ArtifactRef:
    return ArtifactRef(
        stage=stage, fingerprint=f"{stage}-1", digest="0" * 64, folder=str(folder), kind="test", skipped=skipped
    )


def trained(tokens: torch.Tensor, vocab_size: int) -> Qwen3:
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    model = Qwen3(config)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        starts = torch.randint(0, len(tokens) - 65, (8,), generator=generator)
        batch = torch.stack([tokens[s : s + 65] for s in starts])
        loss = torch.nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, shared_data: Callable[[str], Path]) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("artifacts")
    text = (shared_data("tinyshakespeare") / "input.txt").read_text(encoding="utf-8")[:60_000]
    parts = [text[i : i + 1000] for i in range(0, len(text), 1000)]
    tokenizer = train_tokenizer(parts, 400)
    tokenizer.save(root / "tokens" / "tokenizer")
    counts = {
        split: write_split(root / "tokens", split, texts, tokenizer)
        for split, texts in {"train": parts[:50], "valid": [], "test": parts[50:]}.items()
    }
    write_index(root / "tokens", tokenizer, counts)
    stream = torch.tensor(TokenSplit.open(root / "tokens", "train").tokens.astype("int64"))
    save_model(trained(stream, tokenizer.vocab_size), root / "model")
    tokenizer.save(root / "model")
    (root / "sizes").mkdir()
    write_sizes(root / "sizes")
    return {"tokens": root / "tokens", "model": root / "model", "sizes": root / "sizes"}


def inputs(artifacts: dict[str, Path], **skipped: str) -> dict[str, ArtifactRef]:
    folders = {"resolve": "sizes", "tokenize": "tokens", "pretrain": "model", "finetune": "model", "evaluate": "tokens"}
    return {stage: reference(stage, artifacts[name], skipped.get(stage)) for stage, name in folders.items()}


def config(**settings: Any) -> Config:
    return Config.model_validate({"optimize": {"max_test_tokens": 2000, **settings}})


def test_both_models_are_quantized_measured_and_kept(artifacts: dict[str, Path], workspace: Workspace) -> None:
    ref = optimize.run(config(), inputs(artifacts), StageContext(workspace, "run"))
    metrics = json.loads((ref.path / "metrics.json").read_text())
    assert metrics == ref.summary
    assert set(metrics) == {"base", "chat"}
    split = TokenSplit.open(artifacts["tokens"], "test")
    count = int((split.offsets[1:] <= 2000).sum())
    assert 0 < count < len(split.bytes)
    for kind, folder in {"base": artifacts["model"], "chat": artifacts["model"]}.items():
        assert metrics[kind]["chosen"] == "int8", metrics[kind]["reason"]
        assert metrics[kind]["int8"]["bytes"] < 0.5 * metrics[kind]["float"]["bytes"]
        for form, path in {"float": folder, "int8": ref.path / kind}.items():
            nats = score_documents(load_model(path), split.tokens, split.offsets[: count + 1], context=64).sum()
            bits = bits_per_byte(float(nats), int(split.bytes[:count].sum()))
            assert metrics[kind][form]["bits_per_byte"] == pytest.approx(bits, abs=1e-4)
        assert (ref.path / kind / "tokenizer.json").is_file()


def test_float_goes_on_when_int8_costs_too_much(artifacts: dict[str, Path], workspace: Workspace) -> None:
    with torch.no_grad():
        model = load_model(artifacts["model"])
        # one weight far from the others of its channel leaves the others hardly any of the 255 steps
        for layer in model.model.layers:
            layer.mlp.gate_proj.weight[:, 0] = 300.0
            layer.mlp.up_proj.weight[:, 0] = 300.0
    damaged = workspace.home / "outliers"
    save_model(model, damaged)
    copy_tokenizer_files(artifacts["model"], damaged)
    given = inputs(artifacts, finetune="no questions") | {"pretrain": reference("pretrain", damaged)}
    ref = optimize.run(config(max_bits_per_byte_loss=0.0), given, StageContext(workspace, "run"))
    assert ref.summary["base"]["chosen"] == "float"
    assert "more than the 0.0 allowed" in ref.summary["base"]["reason"]
    assert "chat" not in ref.summary
    assert not (ref.path / "base").exists()


def test_the_folder_that_was_brought_along_is_the_base(artifacts: dict[str, Path], workspace: Workspace) -> None:
    brought = Config.model_validate({"finetune": {"init_from": str(artifacts["model"])}})
    given = inputs(artifacts, pretrain="finetune.init_from is set")
    ref = optimize.run(brought, given, StageContext(workspace, "run"))
    assert set(ref.summary) == {"base", "chat"}


def test_it_says_why_it_is_skipped(artifacts: dict[str, Path], workspace: Workspace) -> None:
    context = StageContext(workspace, "run")
    off = optimize.run(config(enabled=False), inputs(artifacts), context)
    assert "optimize.enabled" in str(off.skipped)
    nothing = optimize.run(config(), inputs(artifacts, pretrain="x", finetune="y"), context)
    assert "nothing was trained" in str(nothing.skipped)


def test_an_empty_test_split_is_no_ground_to_choose(
    artifacts: dict[str, Path], workspace: Workspace, tmp_path: Path
) -> None:
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(artifacts["model"])
    write_index(tmp_path, tokenizer, {"test": write_split(tmp_path, "test", [], tokenizer)})
    given = inputs(artifacts) | {"tokenize": reference("tokenize", tmp_path)}
    ref = optimize.run(config(), given, StageContext(workspace, "run"))
    assert "test split is empty" in str(ref.skipped)
