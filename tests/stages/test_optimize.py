"""The optimize stage on a tiny model that has learned a little of real text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stages import evaluation_artifacts as made
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.corpus.records import Record
from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files
from zen_pipeline.inference.scoring import bits_per_byte, score_documents
from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.stages import optimize
from zen_pipeline.workspace import Workspace


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
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def inputs(workspace: Workspace, shared_data: Callable[[str], Path]) -> dict[str, ArtifactRef]:
    text = (shared_data("tinyshakespeare") / "input.txt").read_text(encoding="utf-8")[:60_000]
    parts = [text[i : i + 1000] for i in range(0, len(text), 1000)]
    records = [
        Record(f"part{n}", f"part{n}", part, "plays", "en", "train" if n < 50 else "test", "document", "{}")
        for n, part in enumerate(parts)
    ]
    tokens = made.tokenized(workspace, records)

    def model(output: Path) -> None:
        stream = torch.tensor(TokenSplit.open(tokens.path, "train").tokens.astype("int64"))
        save_model(trained(stream, tokens.summary["vocab_size"]), output)
        copy_tokenizer_files(tokens.path / "tokenizer", output)

    return {
        "validate": made.validated(workspace, records),
        "resolve": made.store(workspace, "resolve", made.write_sizes),
        "tokenize": tokens,
        "pretrain-base": made.store(workspace, "pretrain", model, model="base"),
        "finetune-chat": made.skipped(workspace, "finetune", "no questions", model="chat"),
    }


def config(**settings: Any) -> Config:
    return Config.model_validate({"optimize": {"max_test_tokens": 2000, **settings}})


def test_a_model_is_quantized_measured_and_kept(inputs: dict[str, ArtifactRef], workspace: Workspace) -> None:
    ref = optimize.STAGE.run(config(), inputs, StageContext(workspace, "run"), made.BASE)
    metrics = json.loads((ref.path / "metrics.json").read_text())
    assert metrics == ref.summary
    split = TokenSplit.open(inputs["tokenize"].path, "test")
    count = int((split.offsets[1:] <= 2000).sum())
    assert 0 < count < len(split.bytes)
    assert metrics["chosen"] == "int8", metrics["reason"]
    assert metrics["forms"]["int8"]["bytes"] < 0.5 * metrics["forms"]["float"]["bytes"]
    for form, path in {"float": inputs["pretrain-base"].path, "int8": ref.path / "int8"}.items():
        nats = score_documents(load_model(path), split.tokens, split.offsets[: count + 1], context=64).sum()
        bits = bits_per_byte(float(nats), int(split.bytes[:count].sum()))
        assert metrics["forms"][form]["loss"] == pytest.approx(bits, abs=1e-4)
        assert metrics["forms"][form]["tokens_per_second"] > 0
    assert (ref.path / "int8" / "tokenizer.json").is_file()


def test_float_goes_on_when_int8_costs_too_much(inputs: dict[str, ArtifactRef], workspace: Workspace) -> None:
    def damaged(output: Path) -> None:
        with torch.no_grad():
            model = load_model(inputs["pretrain-base"].path)
            # one weight far from the others of its channel leaves the others hardly any of the 255 steps
            for layer in model.model.layers:
                layer.mlp.gate_proj.weight[:, 0] = 20.0
                layer.mlp.up_proj.weight[:, 0] = 20.0
        save_model(model, output)
        copy_tokenizer_files(inputs["pretrain-base"].path, output)

    given = inputs | {"pretrain-base": made.store(workspace, "outliers", damaged, model="base")}
    ref = optimize.STAGE.run(config(max_loss=0.0), given, StageContext(workspace, "run"), made.BASE)
    assert ref.summary["chosen"] == "float"
    assert "more than the 0.0 allowed" in ref.summary["reason"]
    assert [path.name for path in ref.path.iterdir() if path.is_dir()] == []


def test_it_says_why_it_is_skipped(inputs: dict[str, ArtifactRef], workspace: Workspace) -> None:
    context = StageContext(workspace, "run")
    off = optimize.STAGE.run(config(enabled=False), inputs, context, made.BASE)
    assert "optimize.enabled" in str(off.skipped)
    nothing = optimize.STAGE.run(config(), inputs, context, made.CHAT)
    assert "no questions" in str(nothing.skipped)
