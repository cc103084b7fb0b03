"""Tokens per second and memory of pretraining: ours, transformers' Trainer, LitGPT and nanoGPT, on one model and batch.

    python benchmarks/pretraining.py [--families gpt2 qwen3] [--precisions default bf16] [--rounds 3] [--only PROGRAM …]
        [--layers 6 --width 384 --heads 6 --vocabulary 4096 --context 256] [--batch 32 --micro-batch 8 --steps 24]
        [--threads N] [--workers N] [--nanogpt DIR] [--nothing-tracked]

Trainer needs `accelerate`. LitGPT pins other versions than ours, so it gets an environment of its own that sees our
packages: `python -m venv DIR`, a .pth file there with the path of our site-packages, then
`DIR/bin/pip install --no-deps litgpt accelerate`, and the benchmark is run by DIR/bin/python.

In every round each program runs once, in a fresh process; its best round counts, since others who use the machine only
disturb. Speed is taken from the end of the first step to the end of the last, by one clock for all.

- `ours`: the training process of a pipeline run under Lightning, with its MLflow log, a checkpoint every 100 steps, and
  the validation that belongs to so many steps (128 windows per 200 steps); `ours, steps` are its steps alone.
- `bare`: the same model, data, and optimizer in a plain loop; `bare-adamw`: with torch's AdamW for all weights.
- `transformers`, `litgpt`, `nanogpt` (a folder with its model.py): the same shape and windows of the same tokens, each
  with its own optimizer (AdamW) and settings, no dropout, gradients clipped at 1. What is not installed is left out.
  GPT-2 has nanoGPT's exact GELU here; with `--gelu gelu_new` ours and transformers' have the approximation of GPT-2.

Precision `default` is how they come: float32, an environment of their own. `fp32` and `bf16` (autocast) give all the
same precision and the environment that we start trainings with. All have the same number of threads: inside every
operation for the others; ours are divided among `--workers` micro-batches at a time, as the dial chooses. The batch is
what the dial chooses for a model of the default size.

FLOPs of a token: 6 per weight of a matrix product, the head's included and the embedding look-up not, and
12 · layers · width · (context + 1) / 2 for attention. The peaks are those of `zen_pipeline.machine.speed`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from peers import SCHEDULE, SEED, Case

from zen_pipeline.training.job import TokenData, TrainingJob

CORES = os.cpu_count() or 1
EVERYTHING = ("ours", "bare", "bare-adamw", "transformers", "litgpt", "nanogpt")
FAMILIES = {"gpt2": (*EVERYTHING[:4], "nanogpt"), "qwen3": EVERYTHING[:5]}
OURS = EVERYTHING[:3]


class Run(NamedTuple):
    """What one process reached: seconds between the first and the last step, those until the first, peak bytes."""

    seconds: float
    start: float
    memory: int


def job_of(case: Case, work: Path) -> TrainingJob:
    """What a pipeline run would be given."""
    windows = max(1, round(128 * case.steps / 200))
    uri, run = None, None
    if case.tracked:
        from mlflow import MlflowClient

        uri = f"sqlite:///{work / 'mlflow.db'}"
        client = MlflowClient(tracking_uri=uri)
        experiment = client.create_experiment("benchmark", artifact_location=str(work / "artifacts"))
        run = client.create_run(experiment).info.run_id
    return TrainingJob(
        name="pretrain",
        family=case.family,  # type: ignore[arg-type]
        model=case.fields(),
        data=TokenData(folder=case.tokens, validation_windows=windows),
        context=case.context,
        steps=case.steps,
        batch=case.batch,
        micro_batch=case.micro_batch,
        schedule=SCHEDULE,
        precision="bf16" if case.precision == "bf16" else "fp32",
        threads=case.threads,
        workers=case.workers,
        seed=SEED,
        output=str(work / "output"),
        checkpoints=str(work / "checkpoints"),
        tokenizer=str(Path(case.tokens) / "tokenizer"),
        validate_every=case.steps,
        tracking_uri=uri,
        tracking_run_id=run,
    )


def measure(case: Case, work: Path) -> dict[str, Run]:
    """Run one program; ours gives two rows."""
    if case.program != "ours":
        return {case.program: timed(watch(case, peer_command(case), work))}
    from zen_pipeline.training.job import TrainingResult

    job, result = job_of(case, work), work / "result.json"
    job.save(work / "job.json")
    command = [sys.executable, "-m", "zen_pipeline.training.worker", str(work / "job.json"), str(result)]
    whole = timed(watch(case, [*command, str(os.getpid())], work))
    whole = whole._replace(memory=TrainingResult.model_validate_json(result.read_bytes()).peak_memory_bytes or 0)
    lines = (work / "checkpoints" / "history.jsonl").read_text().splitlines()[1:]
    seconds = sum(line["tokens"] / line["tokens_per_second"] for line in map(json.loads, lines))
    return {"ours": whole, "ours, steps": whole._replace(seconds=seconds)}


def peer_command(case: Case) -> list[str]:
    """What runs a case that is not the whole training process."""
    return [sys.executable, str(Path(__file__).with_name("peers.py")), json.dumps(case)]


def watch(case: Case, command: list[str], work: Path) -> list[dict[str, float]]:
    """Run a process: the lines of JSON that it writes, each with the seconds `at` which it came.

    Raises:
        RuntimeError: it failed; the message holds what it wrote.
    """
    from zen_pipeline.training.launcher import child_environment

    environment = dict(os.environ) if case.precision == "default" else child_environment(case.threads)
    said: list[dict[str, float]] = []
    began = time.perf_counter()
    with (work / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"'):  # Trainer prints a dictionary of Python's
                said.append({**json.loads(line), "at": time.perf_counter() - began})  # noqa: PERF401
        if process.wait():
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read()[-3000:]}")
    return said


def timed(said: list[dict[str, float]]) -> Run:
    """The times of the steps; our process shows the first, the last, and some between."""
    at = [line["at"] for line in said if "step" in line and line.get("event", "progress") == "progress"]
    return Run(at[-1] - at[0], at[0], int(said[-1].get("memory", 0)))


def write_tokens(folder: Path, vocabulary: int) -> None:
    """Python's language reference, which every installation has, as a tokens artifact."""
    from pydoc_data.topics import topics

    from zen_pipeline.corpus.tokens.shards import write_index, write_split
    from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer

    texts = [topics[name] for name in sorted(topics)]
    tokenizer = train_tokenizer(texts, vocabulary)
    tokenizer.save(folder / "tokenizer")
    splits = {"train": texts[10:], "valid": texts[:8], "test": texts[8:10]}
    write_index(folder, tokenizer, {name: write_split(folder, name, part, tokenizer) for name, part in splits.items()})


def cases(arguments: argparse.Namespace, tokens: str) -> Iterator[Case]:
    """Everything that one round runs, in turn."""
    there = {"transformers": find_spec("accelerate"), "litgpt": find_spec("litgpt"), "nanogpt": arguments.nanogpt}
    names = [name for name in Case._fields if name not in ("program", "family", "precision", "tokens", "tracked")]
    sizes = {name: getattr(arguments, name) for name in names}
    for family in arguments.families:
        for precision in arguments.precisions:
            for program in FAMILIES[family]:
                if program not in arguments.only or (program not in OURS and not there[program]):
                    continue
                if program not in OURS or precision != "default":
                    tracked = not arguments.nothing_tracked
                    yield Case(program, family, precision, tokens, **sizes, tracked=tracked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--precisions", nargs="+", choices=("default", "fp32", "bf16"), default=["default", "bf16"])
    parser.add_argument("--only", nargs="+", choices=EVERYTHING, default=list(EVERYTHING))
    parser.add_argument("--nanogpt", metavar="DIR", default="")
    parser.add_argument("--nothing-tracked", action="store_true", help="ours without MLflow")
    parser.add_argument("--rounds", type=int, default=3)
    sizes = {"layers": 6, "width": 384, "heads": 6, "vocabulary": 4096, "context": 256, "batch": 32, "micro-batch": 8}
    for name, value in {**sizes, "steps": 24, "threads": CORES, "workers": CORES}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--gelu", choices=("gelu", "gelu_new"), default="gelu")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        print_table(arguments, Path(folder))


def print_table(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure and print."""
    from zen_pipeline.models.families import flops_per_token, num_parameters

    write_tokens(folder / "tokens", arguments.vocabulary)
    best: dict[tuple[Case, str], Run] = {}
    peak = {"fp32": 0.0, "bf16": 0.0}
    for _ in range(arguments.rounds):
        for number, case in enumerate(cases(arguments, str(folder / "tokens"))):
            with TemporaryDirectory(dir=folder) as work:
                if number == 0:
                    found = watch(case, peer_command(case._replace(program="peak")), Path(work))[0]
                    peak = {name: max(known, found[name]) for name, known in peak.items()}
                for row, run in measure(case, Path(work)).items():
                    best[case, row] = min(run, best.get((case, row), run))
    step = f"{arguments.steps} steps of {arguments.batch} x {arguments.context} tokens"
    peaks = f"{peak['bf16']:.0f} GFLOP/s in bf16, {peak['fp32']:.0f} in fp32"
    print(f"{step}, best of {arguments.rounds} rounds, {arguments.threads} threads; peak {peaks}\n")
    columns = "tokens/s | GFLOP/s | of bf16 peak | of fp32 peak | memory, MB | first step after | ours is faster by"
    print(f"| model | precision | program | {columns} |")
    print("|---" * 10 + "|")
    speeds = {key: (key[0].steps - 1) * key[0].batch * key[0].context / run.seconds for key, run in best.items()}
    ours = {case.family: speeds[case, row] for case, row in best if row == "ours" and case.precision == "bf16"}
    ours |= {f"{case.family} {case.precision}": speeds[case, row] for case, row in best if row == "ours"}
    for (case, row), run in best.items():
        tokens = speeds[case, row]
        gflops = tokens * flops_per_token(case.config(), case.context) / 1e9
        shares = f"{100 * gflops / peak['bf16']:.0f} % | {100 * gflops / peak['fp32']:.0f} %"
        model = f"{case.family}, {num_parameters(case.config()) / 1e6:.1f} M"
        reference = ours.get(f"{case.family} {case.precision}", ours.get(case.family))
        ratio = f"{reference / tokens:.2f}" if reference else ""
        rest = f"{tokens:,.0f} | {gflops:.0f} | {shares} | {run.memory / 1e6:,.0f} | {run.start:.1f} s | {ratio}"
        print(f"| {model} | {case.precision} | {row} | {rest} |", flush=True)


if __name__ == "__main__":
    main()
