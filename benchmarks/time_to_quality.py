"""How good a model each budget in time gives: bits per byte of a text that was held out, as its file stands.

    python benchmarks/time_to_quality.py FOLDER/wikitext-2 --budgets 1m 3m 5m 20m

For each budget `zen pretrain` runs in an empty workspace, with sizes that the dial chooses by itself. "Whole" is the
time of the command, from an empty folder to the end; "training" is the part of it in which the next-token vectors are
computed and the model is trained, which is what other programs' times are made of. FOLDER holds train.txt and
valid.txt; the model is measured on all of valid.txt, one document read in windows that overlap by half the context. The
n-gram models are interpolated Kneser-Ney over the same tokens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from zen_pipeline.models.base import CausalModel

_NGRAM_ORDER = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with train.txt and valid.txt")
    parser.add_argument("--budgets", nargs="+", default=["1m", "5m", "20m"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="settings, such as pretrain.steps=200")
    parser.add_argument("--keep", type=Path, help="leave the workspaces here")
    arguments = parser.parse_args()
    print("| budget | seed | whole, s | training, s | parameters | steps x tokens | passes | valid bits per byte |")
    print("|---|---|---|---|---|---|---|---|")
    shown = None
    for budget in arguments.budgets:
        for seed in arguments.seeds:
            with _workspace(arguments.keep, f"{budget}-{seed}") as folder:
                found = _run(folder, arguments.data, budget, [f"seed={seed}", *arguments.overrides])
                print(
                    f"| {budget} | {seed} | {found['whole']:.0f} | {found['training']:.0f} | "
                    f"{found['parameters'] / 1e6:.1f} M | {found['steps']:,} x {found['batch_tokens']:,} | "
                    f"{found['epochs']:.1f} | {found['bits_per_byte']:.3f} |",
                    flush=True,
                )
                shown = shown or _ngrams(found["tokens"], arguments.data / "valid.txt")
    print(f"\nvalid.txt under n-gram models of the training tokens: {shown}")


@contextmanager
def _workspace(keep: Path | None, name: str) -> Iterator[Path]:
    """An empty folder, removed afterwards unless it is to be kept."""
    if keep is not None:
        (keep / name).mkdir(parents=True)
        yield keep / name
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _run(folder: Path, data: Path, budget: str, overrides: list[str]) -> dict[str, Any]:
    """One run of the command, and what its model is worth."""
    command = [sys.executable, "-m", "zen_pipeline", "pretrain", "--data", str(data.resolve()), "--budget", budget]
    command += ["--json", *(word for setting in overrides for word in ("--set", setting))]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    whole = time.monotonic() - began
    if done.returncode:
        sys.exit(done.stderr)
    stages = {stage["name"]: stage for stage in json.loads(done.stdout)["stages"]}
    resolved = json.loads((Path(stages["resolve"]["artifact"]) / "resolved.json").read_text())
    vectors = _summary(stages["embed"])["next_token"].get("seconds", 0.0) if "embed" in stages else 0.0
    return {
        "whole": whole,
        "training": stages["pretrain"]["seconds"] + vectors,
        "tokens": Path(stages["tokenize"]["artifact"]),
        "parameters": resolved["parameters"],
        "steps": resolved["steps"],
        "batch_tokens": resolved["batch_tokens"],
        "epochs": resolved["estimates"]["epochs"],
        "bits_per_byte": _model_bits(Path(stages["pretrain"]["artifact"]), data / "valid.txt"),
    }


def _summary(stage: dict[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((Path(stage["artifact"]) / "manifest.json").read_text())["summary"]
    return summary


def encoded(folder: Path, text: Path) -> tuple[np.ndarray, int]:
    """The ids of a whole file behind a start token, and its bytes."""
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    ids = [tokenizer.start_id, *tokenizer.encode(text.read_text(encoding="utf-8"))]
    return np.array(ids, np.int64), text.stat().st_size


def _model_bits(folder: Path, text: Path) -> float:
    from zen_pipeline.models.folder import load_model

    return held_out(load_model(folder).eval(), *encoded(folder, text))


def held_out(model: CausalModel, ids: np.ndarray, size: int) -> float:
    """Bits per byte of one document of `size` bytes."""
    from zen_pipeline.inference.scoring import bits_per_byte, score_documents

    nats = score_documents(model, ids, np.array([0, len(ids)]), context=model.config.max_position_embeddings)
    return bits_per_byte(float(nats.sum()), size)


def _ngrams(tokens: Path, text: Path) -> str:
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.evaluation.kneser_ney import KneserNey
    from zen_pipeline.evaluation.language_model import ngram_name
    from zen_pipeline.inference.scoring import bits_per_byte

    train = TokenSplit.open(tokens, "train")
    vocabulary = int(json.loads((tokens / "shards.json").read_text())["vocab_size"])
    model = KneserNey.fit(train.tokens, train.offsets, vocab_size=vocabulary, order=_NGRAM_ORDER)
    ids, size = encoded(tokens / "tokenizer", text)
    nats = model.nats(ids, np.array([0, len(ids)])).sum(axis=1)
    figures = (f"{ngram_name(k)} {bits_per_byte(float(nats[k - 1]), size):.3f}" for k in range(2, _NGRAM_ORDER + 1))
    return ", ".join(figures) + f" (vocabulary {vocabulary})"


if __name__ == "__main__":
    main()
