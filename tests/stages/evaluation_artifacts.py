"""Small but real upstream artifacts: real records, a real tokenizer, and models with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, Built, Identity
from zen_pipeline.corpus.records import Record, record_writer
from zen_pipeline.corpus.tokens.fertility import measure_fertility
from zen_pipeline.corpus.tokens.shards import write_index, write_split
from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer
from zen_pipeline.embeddings.words import segment
from zen_pipeline.models.folder import save_model
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.pipeline.model_specs import ModelSpec
from zen_pipeline.training.dial import Request, Speed, choose
from zen_pipeline.training.job import TrainingResult
from zen_pipeline.workspace import Workspace

CONTEXT = 96
BASE = ModelSpec("base", "language", "qwen3")
CHAT = ModelSpec("chat", "chat", "qwen3", start="base")


def store(
    workspace: Workspace,
    stage: str,
    fill: Callable[[Path], dict[str, Any] | None],
    *,
    model: str | None = None,
    skipped: str | None = None,
) -> ArtifactRef:
    """Store what `fill` writes as the artifact of a stage, for a model where it works on models."""

    def build(output: Path) -> Built:
        return Built(stage, summary=fill(output) or {}, skipped=skipped)

    parts = {"version": 1, "settings.made_by": "hand", "skipped": skipped}
    identity = Identity(stage, parts if model is None else {**parts, "model": model})
    return workspace.store.get_or_build(identity, build, inputs={}, run_id="test")


def skipped(workspace: Workspace, stage: str, reason: str, *, model: str | None = None) -> ArtifactRef:
    """A stage that had nothing to do."""
    return store(workspace, stage, lambda _: None, model=model, skipped=reason)


def api_record(number: int, split: str = "train") -> Record:
    """Documentation of one function."""
    name = f"shelf.Item{number}.take"
    more = "The item is gone afterwards; nobody else can take it. Put it back with `put` when you have seen it. " * 2
    doc = f"Take item number {number} from the shelf.\n\n{more}"
    meta = {"module": "shelf", "qualname": name, "object": "function", "signature": "(self, hand, count=1)"}
    return Record(f"api/{name}", f"shelf{number}", f"{name}(self, hand)\n\n{doc}", "shelf", "en", split, "document",
                  json.dumps(meta))  # fmt: skip


def chat_record(number: int, split: str) -> Record:
    """A short conversation."""
    messages = [
        {"role": "user", "content": f"Is the number {number} even?"},
        {"role": "assistant", "content": "It is even." if number % 2 == 0 else "It is odd."},
    ]
    text = "\n".join(m["content"] for m in messages)
    return Record(
        f"chat{number}", f"chat{number}", text, "talk", "en", split, "chat", json.dumps({"messages": messages})
    )


def documentation() -> list[Record]:
    """Records of 60 functions in three splits."""
    splits = {0: "test", 1: "valid"}
    return [api_record(n, splits.get(n % 10, "train")) for n in range(60)]


def validated(workspace: Workspace, records: list[Record]) -> ArtifactRef:
    def fill(output: Path) -> dict[str, Any]:
        with record_writer(output / "records.parquet") as writer:
            for record in records:
                writer.write(record)
        return {"records_in": len(records) + 2, "records": len(records), "set_aside": 2}

    return store(workspace, "validate", fill)


def write_sizes(folder: Path, *, budget: str = "2m") -> None:
    """What a budget comes to on a machine that trains at 1,000 tokens/s."""
    sizes = choose(Request(budget=budget, train_bytes=1_000_000, cores=1), lambda *_: Speed(1000.0, 0.01))
    (folder / "resolved.json").write_text(sizes.model_dump_json())


def tokenized(workspace: Workspace, records: list[Record]) -> ArtifactRef:
    def fill(output: Path) -> dict[str, Any]:
        texts = {
            s: [r.text for r in records if r.split == s and r.kind == "document"] for s in ("train", "valid", "test")
        }
        tokenizer = train_tokenizer(texts["train"] or [r.text for r in records], 330)
        tokenizer.save(output / "tokenizer")
        write_index(output, tokenizer, {s: write_split(output, s, texts[s], tokenizer) for s in texts})
        found = measure_fertility(tokenizer, {"en": texts["test"]}, segment) if texts["test"] else {}
        return {"vocab_size": tokenizer.vocab_size, "fertility": found}

    return store(workspace, "tokenize", fill)


def save_random_model(folder: Path, tokens: Path) -> None:
    """A tiny model with random weights beside the tokenizer of a tokens artifact."""
    names = ("tokenizer.json", "tokenizer_config.json")
    vocab_size = json.loads((tokens / "shards.json").read_text())["vocab_size"]
    config = Qwen3Config(
        vocab_size=vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=64, max_position_embeddings=CONTEXT,
    )  # fmt: skip
    save_model(Qwen3(config, seed=1), folder)
    for name in names:
        (folder / name).write_bytes((tokens / "tokenizer" / name).read_bytes())


def history(steps: int = 20) -> str:
    rows: list[Mapping[str, float]] = [{"step": s, "loss": 6.0 - s / 10} for s in range(1, steps + 1)]
    rows[-1] = {**rows[-1], "validation_loss": 4.5}
    return "".join(json.dumps(row) + "\n" for row in rows)


def training() -> str:
    """What a training process left."""
    return TrainingResult(
        name="pretrain", steps=20, tokens=20_480, supervised_tokens=20_480, parameters=50_000, seconds=9.5,
        tokens_per_second=2155.8, train_loss=4.1, peak_memory_bytes=400_000_000, peak_resident_bytes=400_000_000,
        flops=6.1e9, mfu=0.321, energy_joules=79.2, energy_source="processor estimated from 4 W for each busy core",
    ).model_dump_json()  # fmt: skip


def pretrained(workspace: Workspace, tokens: ArtifactRef) -> ArtifactRef:
    def fill(output: Path) -> None:
        save_random_model(output, tokens.path)
        (output / "history.jsonl").write_text(history())
        (output / "training.json").write_text(training())

    return store(workspace, "pretrain", fill, model="base")
