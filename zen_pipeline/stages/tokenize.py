"""Tokenize: byte-level BPE of the training split, and every split as a stream of token ids."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import Built
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError, DataError
from zen_pipeline.files import file_digest
from zen_pipeline.judging.judge_tensors import judge_tokens
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.models_made import pretrained
from zen_pipeline.pipeline.stage import Inputs, Stage, StageContext, always
from zen_pipeline.tasks import load_task
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zen_pipeline.corpus.records import Kind
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

STAGE_VERSION = 5
REPORT = "tokenizer_report.json"
_TRAINED_ON = "trained_on.json"

log = get_logger(__name__)


def build(config: Config, inputs: Inputs, output: Path, context: StageContext) -> Built:
    """Fill `output` with the tokenizer, its report, and the token files of each split.

    All of it is written in the work folder first: a killed run goes on there.

    Raises:
        DataError: the training split is shorter than one context.
    """
    from zen_pipeline.corpus.tokens.shards import write_index, write_shards

    records = inputs["validate"].path / "records.parquet"
    sizes = json.loads((inputs["resolve"].path / "resolved.json").read_text())
    kind = _kind(records, _wanted(config))
    vocab_size = config.tokenize.vocab_size or int(sizes["vocab_size"])
    tokenizer = _tokenizer(config, records, kind, vocab_size, context.work)
    splits = write_shards(records, context.work / "tokens", tokenizer, kind=kind)
    if empty := [name for name in ("train", "test") if not splits[name]["documents"]]:
        raise DataError(
            f"no {kind or 'record'} is in the {' and the '.join(empty)} split, so the language model could not be "
            "trained and measured: add some (three at least), or name files train.* and test.*"
        )
    context_length = int(sizes["model"]["context_length"])
    if splits["train"]["tokens"] <= context_length:
        raise DataError(
            f"the training split has {splits['train']['tokens']} tokens, fewer than one context of "
            f"{context_length + 1}: add text, or set pretrain.model.context_length lower"
        )
    report = _report(context.work, tokenizer, records, kind)
    shutil.move(context.work / "tokenizer", output / "tokenizer")
    for path in (context.work / "tokens").iterdir():
        if path.suffix in (".bin", ".npy"):
            shutil.move(path, output / path.name)
    (output / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    write_index(output, tokenizer, splits)
    return Built(
        kind="tokens", summary=_summary(tokenizer, splits, report, kind, given=_given_folder(config) is not None)
    )


def _tokenizer(config: Config, records: Path, kind: str | None, vocab_size: int, work: Path) -> Tokenizer:
    """The tokenizer in the work folder: left by an earlier, killed run, brought along, or trained now."""
    from zen_pipeline.corpus.texts import draw_texts, text_bytes
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer, copy_tokenizer_files, train_tokenizer

    folder, half_done = work / "tokenizer", work / "tokenizer.part"
    if folder.is_dir():
        return Tokenizer.load(folder)
    shutil.rmtree(half_done, ignore_errors=True)
    half_done.mkdir()
    given = _given_folder(config)
    if given is not None:
        copy_tokenizer_files(given, half_done)
        trained_on: dict[str, Any] = {}
    else:
        size = text_bytes(records, kind=kind, split="train")
        share = min(1.0, config.tokenize.train_bytes / max(size, 1))
        if share < 1.0:
            log.info("tokenizer: trained on a sample of %.0f of %.0f MB", share * size / 1e6, size / 1e6)
        train_tokenizer(draw_texts(records, share, kind=kind, split="train"), vocab_size).save(half_done)
        trained_on = {"train_bytes": size, "share": round(share, 6)}
    (work / _TRAINED_ON).write_text(json.dumps(trained_on), encoding="utf-8")
    os.replace(half_done, folder)
    return Tokenizer.load(folder)


def _report(work: Path, tokenizer: Tokenizer, records: Path, kind: str | None) -> dict[str, Any]:
    """What the tokenizer was trained on, and what each language costs in held-out text."""
    from zen_pipeline.corpus.tokens.fertility import held_out_sample, measure_fertility
    from zen_pipeline.embeddings.words import segment

    return {
        "vocab_size": tokenizer.vocab_size,
        "trained_on": json.loads((work / _TRAINED_ON).read_text(encoding="utf-8")),
        "languages": measure_fertility(tokenizer, held_out_sample(records, kind=kind), segment),
    }


def _summary(
    tokenizer: Tokenizer, splits: dict[str, dict[str, Any]], report: dict[str, Any], kind: str | None, *, given: bool
) -> dict[str, Any]:
    summary: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "text": kind, "given": given}
    for name, counts in splits.items():
        summary[name] = {k: counts[k] for k in ("documents", "tokens", "bytes")}
    summary["bytes_per_token"] = round(splits["train"]["bytes"] / splits["train"]["tokens"], 3)
    shown = ("tokens_per_word", "tokens_per_byte", "characters_per_token")
    summary["fertility"] = {name: {k: found[k] for k in shown} for name, found in report["languages"].items()}
    return summary


def _kind(records: Path, wanted: Sequence[Kind]) -> Kind | None:
    """The kind of the records that the tokens are made of: the first wanted one that there is, else the usual one."""
    from zen_pipeline.corpus.records import base_kind, read_records

    found = (kind for kind in wanted if next(read_records(records, kind=kind), None) is not None)
    return next(found, base_kind(records))


def _given_folder(config: Config) -> Path | None:
    named = config.pretrain.init_from or (config.finetune.init_from if config.finetune.enabled else None)
    return Path(named) if named else None


def _settings(config: Config) -> dict[str, Any]:
    own = {**config.tokenize.identity(), "given": _given_folder(config) is not None}
    return {**own, "wanted": list(_wanted(config))}


def _wanted(config: Config) -> tuple[Kind, ...]:
    """Kinds of records that the pretrained models read rather than the usual one."""
    given = _given_folder(config)
    if given is not None and not (given / "config.json").is_file():
        return ()  # only a tokenizer
    kinds = (load_task(model.task).text for model in pretrained(config))
    return tuple(kind for kind in kinds if kind is not None)


def _sources(config: Config, _workspace: Workspace) -> dict[str, Any]:
    """The digest of the tokenizer that is brought along, in place of its path."""
    from zen_pipeline.corpus.tokens.tokenizer import TOKENIZER, tokenizer_files

    folder = _given_folder(config)
    if folder is None:
        return {}
    files = tokenizer_files(folder)
    if TOKENIZER not in files:
        raise ConfigError(f"init_from: {folder} has no {TOKENIZER}: name a folder with a saved fast tokenizer")
    return {name: file_digest(path) for name, path in files.items()}


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
