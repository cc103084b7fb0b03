"""Tokenize: byte-level BPE of the training split, and every split as a stream of token ids."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.files import file_digest
from zen_pipeline.stages.base import Inputs, Stage, StageContext, always
from zen_pipeline.stages.judge_tensors import judge_tokens
from zen_pipeline.workspace import Workspace

STAGE_VERSION = 2
SPLITS = ("train", "valid", "test")


def build(config: Config, inputs: Inputs, output: Path, _context: StageContext) -> Built:
    """Fill `output` with the tokenizer and the token files of each split."""
    from zen_pipeline.corpus.records import base_kind
    from zen_pipeline.corpus.shards import write_index, write_split
    from zen_pipeline.corpus.tokenizer import TOKENIZER_FILES, Tokenizer, train_tokenizer

    records = inputs["validate"].path / "records.parquet"
    sizes = json.loads((inputs["resolve"].path / "resolved.json").read_text())
    kind = base_kind(records)
    given = _given_folder(config)
    if given is not None:
        tokenizer = Tokenizer.load(given)
        (output / "tokenizer").mkdir()
        for name in TOKENIZER_FILES:
            if (given / name).is_file():
                shutil.copy(given / name, output / "tokenizer" / name)
    else:
        vocab_size = config.tokenize.vocab_size or int(sizes["vocab_size"])
        tokenizer = train_tokenizer(_texts(records, kind, "train"), vocab_size)
        tokenizer.save(output / "tokenizer")

    splits = {name: write_split(output, name, _texts(records, kind, name), tokenizer) for name in SPLITS}
    context_length = int(sizes["model"]["context_length"])
    if splits["train"]["tokens"] <= context_length:
        raise DataError(
            f"the training split has {splits['train']['tokens']} tokens, fewer than one context of "
            f"{context_length + 1}: add text, or set pretrain.model.context_length lower"
        )
    write_index(output, tokenizer, splits)
    summary: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "text": kind, "given": given is not None}
    for name, counts in splits.items():
        summary[name] = {k: counts[k] for k in ("documents", "tokens", "bytes")}
    summary["bytes_per_token"] = round(splits["train"]["bytes"] / splits["train"]["tokens"], 3)
    return Built(kind="tokens", summary=summary)


def _texts(records: Path, kind: Any, split: str) -> Iterator[str]:
    from zen_pipeline.corpus.records import read_records

    return (record.text for record in read_records(records, kind=kind, split=split))


def _given_folder(config: Config) -> Path | None:
    named = config.pretrain.init_from or (config.finetune.init_from if config.finetune.enabled else None)
    return Path(named) if named else None


def _settings(config: Config) -> dict[str, Any]:
    return {**config.tokenize.identity(), "given": _given_folder(config) is not None}


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    """The digest of the tokenizer that is brought along, in place of its path."""
    from zen_pipeline.corpus.tokenizer import TOKENIZER_FILES

    folder = _given_folder(config)
    if folder is None:
        return {}
    if not (folder / TOKENIZER_FILES[0]).is_file():
        raise ConfigError(f"init_from: {folder} has no {TOKENIZER_FILES[0]}: name a folder with a saved fast tokenizer")
    return {name: file_digest(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}


STAGE = Stage(
    name="tokenize",
    version=STAGE_VERSION,
    needs=always("validate", "resolve"),
    build=build,
    settings=_settings,
    sources=_sources,
    libraries=("tokenizers",),
    judge=judge_tokens,
)
run = STAGE.run
