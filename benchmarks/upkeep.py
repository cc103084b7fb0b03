"""What share of the training time checkpoints and samples take: short real trainings of two sizes.

    python benchmarks/upkeep.py --saves 3

Text is that of Python's own language reference. The shares are those of the settings' defaults: one save after every
100 steps, samples after every 200; they do not depend on how often this script saves.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.kill import VOCABULARY, write_tokens
from zen_pipeline.training.job import Schedule, TokenData, TrainingJob, TrainingResult
from zen_pipeline.training.launcher import launch

SIZES = {"3 M": (192, 4, 2048), "30 M": (512, 8, 8192)}  # width, layers, vocabulary
CONTEXT, SEQUENCES = 256, 8  # the 2,048 tokens a step that the dial gives to short trainings
SAVE_EVERY, SAMPLE_EVERY = 100, 200


def make_job(tokens: Path, work: Path, size: str, saves: int) -> TrainingJob:
    """A training of a few steps that saves after each of the last ones."""
    width, layers, vocabulary = SIZES[size]
    shape = {
        "vocab_size": max(VOCABULARY, vocabulary),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "head_dim": 64,
        "intermediate_size": width * 8 // 3 // 32 * 32,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
    }
    rates = {"learning_rate": 0.01, "embedding_learning_rate": 0.005, "weight_decay": 0.1, "gradient_clip": 1.0}
    return TrainingJob(
        name=size,
        model=shape,
        data=TokenData(folder=str(tokens), validation_windows=1),
        context=CONTEXT,
        steps=3 * saves,
        batch=SEQUENCES,
        micro_batch=SEQUENCES,
        schedule=Schedule(**rates, warmup=0.1, cooldown=0.5),
        precision="bf16",
        threads=2,
        output=str(work / "output"),
        checkpoints=str(work / "checkpoints"),
        tokenizer=str(tokens / "tokenizer"),
        checkpoint_every=3,
        validate_every=3 * saves,
    )


def main() -> None:
    """Train both, print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--saves", type=int, default=3)
    options.add_argument("--folder", type=Path, help="where the checkpoints go; default: the temporary folder")
    given = options.parse_args()
    print("| parameters | seconds a step | seconds a save | size | share | seconds for samples | share |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            work = Path(name)
            write_tokens(work / "tokens")
            job = make_job(work / "tokens", work, size, given.saves)
            result: TrainingResult = launch(job, work=work)
            written = max((work / "checkpoints").glob("step-*.ckpt")).stat().st_size
        step, save = result.seconds / result.steps, result.checkpoint_seconds / given.saves
        costs = {"saves": save / (SAVE_EVERY * step), "samples": result.sample_seconds / (SAMPLE_EVERY * step)}
        print(
            f"| {result.parameters / 1e6:.1f} M | {step:.3f} | {save:.3f} | {written / 1e6:.0f} MB | "
            f"{costs['saves']:.2%} | {result.sample_seconds:.3f} | {costs['samples']:.2%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
