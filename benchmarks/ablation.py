"""Train the same base model under several settings and seeds, and print their test bits per byte as a table.

    python benchmarks/ablation.py --seeds 0 1 2 -- start=auto start=next_token start=random
    python benchmarks/ablation.py --steps 200 -- learning_rate=0.01 learning_rate=0.02 learning_rate=0.04

Each setting is one of the section `pretrain`, several joined by a comma. Sizes and steps are fixed, so the figures do
not depend on how fast the machine is; what has been trained before is taken from the workspace's store.
"""

from __future__ import annotations

import argparse
import json
import statistics

from zen_pipeline.config import load_config
from zen_pipeline.logs import show_on_stderr
from zen_pipeline.pipeline.runner import run_pipeline
from zen_pipeline.workspace import Workspace

# The shape that the dial chose for `--budget 4m` on two cores.
FIXED = [
    "pretrain.model={hidden_size: 192, layers: 4, heads: 3, kv_heads: 3, context_length: 256}",
    "pretrain.batch_tokens=2048",
    "pretrain.micro_batch=8",
    "pretrain.precision=fp32",
    "tokenize.vocab_size=4096",
    "embed.enabled=false",
    "finetune.enabled=false",
]


def bits_per_byte(workspace: Workspace, setting: str, seed: int, steps: int) -> tuple[float, float]:
    """Test bits per byte of one training, and the bigram's on the same tokens."""
    own = [f"pretrain.{part}" for part in setting.split(",")]
    overrides = [*FIXED, f"pretrain.steps={steps}", f"seed={seed}", *own]
    record = run_pipeline(load_config(overrides=overrides), workspace, until="evaluate")
    [evaluated] = [s for s in record.stages if s.step == "evaluate-base"]
    with open(f"{evaluated.artifact}/manifest.json") as file:
        summary = json.load(file)["summary"]
    return summary["bits_per_byte"], summary["baselines"]["bigram"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="+", help="such as start=random or learning_rate=0.01,warmup=0.1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    show_on_stderr()
    workspace = Workspace.find_or_create()
    print(f"{arguments.steps} steps of 2,048 tokens, test bits per byte")
    print("| setting | " + " | ".join(f"seed {s}" for s in arguments.seeds) + " | mean | standard deviation |")
    print("|---|" + "---|" * (len(arguments.seeds) + 2))
    bigram = float("nan")
    for setting in arguments.settings:
        found = []
        for seed in arguments.seeds:
            figure, bigram = bits_per_byte(workspace, setting, seed, arguments.steps)
            found.append(figure)
        spread = f"{statistics.stdev(found):.4f}" if len(found) > 1 else ""
        cells = " | ".join(f"{f:.4f}" for f in found)
        print(f"| {setting} | {cells} | {statistics.mean(found):.4f} | {spread} |", flush=True)
    print(f"Kneser-Ney bigram on the same tokens: {bigram:.4f}")


if __name__ == "__main__":
    main()
