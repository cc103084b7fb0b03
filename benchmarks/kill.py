"""Kill a small pretraining again and again, start it again, and compare its weights with those of an undisturbed run.

    python benchmarks/kill.py --kills 100

Kills are SIGKILLs of the training process, aimed in turn at a step (any moment), a save (its temporary file has just
appeared) and a validation (the step before it has just been written down). The text is that of Python's own language
reference. Exit code 1 when a bit differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from zen_pipeline.corpus.shards import write_index, write_split
from zen_pipeline.corpus.tokenizer import train_tokenizer
from zen_pipeline.training.callbacks import HISTORY
from zen_pipeline.training.job import Schedule, TokenData, TrainingJob, TrainingResult
from zen_pipeline.training.launcher import child_environment, launch

AIMS = ("step", "save", "validation")
VOCABULARY = 512
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "intermediate_size": 384,
    "max_position_embeddings": 128,
}


class Kill(NamedTuple):
    """What was hit: `step` steps were in the history; `saving`: a half-written checkpoint was left behind."""

    aim: str
    step: int
    saving: bool


def write_tokens(folder: Path) -> None:
    """Token shards of the language reference."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))[:300_000]
    tokenizer = train_tokenizer([text], VOCABULARY)
    tokenizer.save(folder / "tokenizer")
    cut = len(text) * 9 // 10
    parts = {"train": text[:cut], "valid": text[cut:], "test": text[:1000]}
    write_index(folder, tokenizer, {split: write_split(folder, split, [t], tokenizer) for split, t in parts.items()})


def make_job(tokens: Path, work: Path, steps: int) -> TrainingJob:
    """A pretraining that saves and validates often."""
    rates = {"learning_rate": 0.02, "embedding_learning_rate": 0.01, "weight_decay": 0.1, "gradient_clip": 1.0}
    return TrainingJob(
        name="pretrain",
        model=SHAPE,
        data=TokenData(folder=str(tokens), validation_windows=240),
        context=128,
        steps=steps,
        batch=8,
        micro_batch=4,
        schedule=Schedule(**rates, warmup=0.1, cooldown=0.5),
        precision="bf16",
        threads=1,
        output=str(work / "output"),
        checkpoints=str(work / "checkpoints"),
        checkpoint_every=7,
        validate_every=20,
    )


def steps_done(folder: Path) -> int:
    """The last whole line of the history."""
    try:
        lines = (folder / HISTORY).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    whole = [line for line in lines if line.endswith("\n")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


def kill_once(job: TrainingJob, work: Path, aim: str, least: int, draw: random.Random) -> Kill | None:
    """Start the job and kill it some steps after `least`; None when it ended before."""
    folder = Path(job.checkpoints)
    job.save(work / "job.json")
    command = [sys.executable, "-m", "zen_pipeline.training.worker", str(work / "job.json"), str(work / "result.json")]
    with (work / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=child_environment(job.threads))
    while process.poll() is None and steps_done(folder) <= least:
        time.sleep(0.01)
    time.sleep(draw.uniform(0.0, 0.5))
    while process.poll() is None:
        if aim == "step" or (aim == "save" and list(folder.glob(".step-*.tmp"))):
            break
        if aim == "validation" and (steps_done(folder) + 1) % job.validate_every == 0:
            time.sleep(draw.uniform(0.05, 0.3))  # one step, and into the validation
            break
        time.sleep(0.0005)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return None if ended else Kill(aim, steps_done(folder), bool(list(folder.glob(".step-*.tmp"))))


def main() -> None:
    """Run the kills, print a table, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    given = options.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_tokens(work / "tokens")
        job = make_job(work / "tokens", work, steps=30 + 30 * given.kills)
        changes = {"output": str(work / "whole"), "checkpoints": str(work / "whole-checkpoints")}
        launch(job.model_copy(update=changes), work=work / "whole-work")

        kills: list[Kill] = []
        print("| kill | aimed at | steps in the history | half-written checkpoint |\n|---|---|---|---|", flush=True)
        while len(kills) < given.kills:
            done = kills[-1].step if kills else 0
            hit = kill_once(job, work, AIMS[len(kills) % len(AIMS)], done + draw.randint(1, 12), draw)
            if hit is None:
                break
            kills.append(hit)
            print(f"| {len(kills)} | {hit.aim} | {hit.step} | {'yes' if hit.saving else 'no'} |", flush=True)
        result: TrainingResult = launch(job, work=work)
        names = [Path(folder) / "model.safetensors" for folder in (job.output, work / "whole")]
        equal = names[0].read_bytes() == names[1].read_bytes()
    print(f"\n{len(kills)} kills in {job.steps} steps, {len(result.resumed_from)} of them followed by a checkpoint;")
    print("the final weights are " + ("those of the undisturbed run, bit for bit" if equal else "OTHERS: a bug"))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
