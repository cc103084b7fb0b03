"""Where the time of a training step goes: gradients, clipping, optimizer, and PyTorch's operations in them.

    python benchmarks/step.py [--families qwen3] [--precisions bf16 fp32] [--threads 1] [--rounds 3] [--against DIR]
        [--layers 4 --width 192 --heads 3 --vocabulary 4096 --context 256 --batch 16 --micro-batch 8] [--operations N]
        [--ways ours plain compiled]

Random tokens, no data and no Lightning. Each round is a process of its own, in the environment that we start trainings
with, and does seven steps; the fastest of all counts. With `--against` a checkout in another folder takes turns with
this one, and the last column is how much faster this one's step is. `--operations` shows the N that took longest.

`--ways` compares three ways to compute: `ours`, `plain` without the functions of `models/fused.py`, and `compiled`, the
plain one through `torch.compile`, which needs a C++ compiler; "first" is the time of the first step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from peers import SCHEDULE, SEED, Case

STEPS = 7
PARTS = ("gradients", "clipping", "optimizer")
WAYS = ("ours", "plain", "compiled")


def child(case: Case, operations: int, way: str) -> None:
    """Print the shortest times in seconds as a line of JSON, or the operations."""
    import torch

    from zen_pipeline.models import fused
    from zen_pipeline.models.families import new_model
    from zen_pipeline.training import step
    from zen_pipeline.training.measure import random_batch
    from zen_pipeline.training.optimizer import build_optimizer
    from zen_pipeline.training.worker import make_deterministic

    torch.set_num_threads(case.threads)
    make_deterministic()
    device = torch.device("cpu")
    model, batch = (
        new_model(case.config(), seed=SEED).train(),
        random_batch(case.config(), case.batch, case.context, device),
    )
    if way != "ours":
        fused.pays = lambda _: False  # type: ignore[assignment]
    if way == "compiled":
        step.summed_loss = torch.compile(step.summed_loss)
    dtype = step.orthogonalization_dtype(case.precision, device)  # type: ignore[arg-type]
    optimizer = build_optimizer(model, SCHEDULE, orthogonalize_in=dtype)

    def gradients() -> None:
        optimizer.zero_grad()
        with case.autocast:
            step.accumulate_gradients(model, batch, micro_batch=case.micro_batch)

    def clipping() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    best = dict.fromkeys(PARTS, float("inf"))
    started, first = time.perf_counter(), 0.0
    for _ in range(STEPS):
        for name, work in zip(PARTS, (gradients, clipping, optimizer.step), strict=True):
            began = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - began)
        first = first or time.perf_counter() - started
    if operations:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for work in (gradients, clipping, optimizer.step):
                work()
        averages = profile.key_averages()
        total = sum(each.self_cpu_time_total for each in averages)
        for each in sorted(averages, key=lambda each: -each.self_cpu_time_total)[:operations]:
            print(
                f"{100 * each.self_cpu_time_total / total:5.1f} %  {each.count:5d} calls  {each.key}", file=sys.stderr
            )
    print(json.dumps({**best, "first": first}))


def measured(case: Case, folder: Path, operations: int, way: str) -> dict[str, float]:
    """One process that uses the package in `folder`."""
    from zen_pipeline.training.launcher import child_environment

    environment = {**child_environment(case.threads), "PYTHONPATH": str(folder)}
    command = [sys.executable, __file__, "--child", json.dumps(case), "--operations", str(operations), "--ways", way]
    lines = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(lines.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--families", nargs="+", default=["qwen3"])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["ours"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--operations", type=int, default=0)
    parser.add_argument("--gelu", choices=("gelu", "gelu_new"), default="gelu", help="of GPT-2")
    sizes = {"layers": 4, "width": 192, "heads": 3, "vocabulary": 4096, "context": 256, "batch": 16, "micro_batch": 8}
    for name, value in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    arguments = parser.parse_args()
    if arguments.child:
        child(Case(*json.loads(arguments.child)), arguments.operations, arguments.ways[0])
        return
    here = Path(__file__).resolve().parents[1]
    folders = [here] if arguments.against is None else [arguments.against.resolve(), here]
    entries = [(folder, way) for way in arguments.ways for folder in folders]
    shape = {name: getattr(arguments, name) for name in sizes}
    names = " | ".join(f"{part}, ms" for part in PARTS)
    print(
        f"| model | precision | threads | checkout, way | tokens/s | {names} | first, s | faster by |\n{'|---' * 10}|"
    )
    for family in arguments.families:
        for precision in arguments.precisions:
            for threads in arguments.threads:
                rest = {
                    "tokens": "",
                    "steps": STEPS,
                    "threads": threads,
                    "tracked": False,
                    "nanogpt": "",
                    "gelu": arguments.gelu,
                }
                print_rows(
                    Case("", family, precision, **shape, **rest), entries, arguments.rounds, arguments.operations
                )


def print_rows(case: Case, entries: list[tuple[Path, str]], rounds: int, operations: int) -> None:
    best = {entry: dict.fromkeys((*PARTS, "first"), float("inf")) for entry in entries}
    for number in range(rounds):
        for folder, way in entries:
            found = measured(case, folder, operations if number == 0 else 0, way)
            best[folder, way] = {part: min(known, found[part]) for part, known in best[folder, way].items()}
    base = sum(best[entries[0]][part] for part in PARTS)
    for (folder, way), parts in best.items():
        seconds = sum(parts[part] for part in PARTS)
        times = " | ".join(f"{1000 * parts[part]:.0f}" for part in PARTS)
        name, tokens = f"{os.path.relpath(folder)}, {way}", case.batch * case.context / seconds
        start = f"{case.family}, {case.layers} x {case.width} | {case.precision} | {case.threads}"
        print(
            f"| {start} | {name} | {tokens:,.0f} | {times} | {parts['first']:.1f} | {base / seconds:.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
