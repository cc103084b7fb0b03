"""How each `pretrain.start` fares: a small model, trained briefly from each with the same seed, data and steps.

    zen embed                                # leaves the tokens and the vectors in .zen/store/tokenize and …/embed
    python benchmarks/compare_starts.py .zen/store/tokenize/* .zen/store/embed/* --steps 25 --seeds 0 1 2

A decoder of the vectors' width with two layers, so that it takes seconds; held-out loss in nats per token before the
first step and after the last. The lead of a start shrinks with every further step, so the figures compare starts and
say nothing about a whole training: `ablation.py` compares those. `--curves FILE` writes the loss of every step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from zen_pipeline.family_specs import FAMILIES
from zen_pipeline.models.starts.choice import NEXT_TOKEN_FILE, NEXT_TOKEN_RATE, Start, choose_start
from zen_pipeline.settings.models import CAUSAL_FAMILIES, Family, PretrainConfig, StartName
from zen_pipeline.training.job import Schedule, TokenData
from zen_pipeline.training.resolved import Shape
from zen_pipeline.training.rules import learning_rates_for, model_config
from zen_pipeline.training.schedule import learning_rate_factor

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.training.data import TokenWindows

LAYERS, CONTEXT, SEQUENCES = 2, 64, 8
VALIDATION_WINDOWS = 32
SCHEDULE = PretrainConfig().model_dump(include={"weight_decay", "warmup", "cooldown", "gradient_clip"})


@dataclass
class Curve:
    """Losses of one training, in nats per token: on held-out windows, and on the windows of each step before it."""

    before: float
    after: float = 0.0
    losses: list[float] = field(default_factory=list)


def starts_of(family: Family, vectors: Path) -> dict[StartName, Start]:
    """The starts that differ for a family, by name."""
    found: dict[StartName, Start] = {}
    for name in get_args(StartName):
        start = choose_start(name, family=family, layers=LAYERS, tied=FAMILIES[family].tied, vectors=vectors)
        if start not in found.values():
            found[name] = start
    return found


def compare_starts(
    tokens: Path, starts: Mapping[StartName, Start], *, family: Family, width: int, steps: int, seed: int
) -> dict[StartName, Curve]:
    """Train the small model once from each start, on a tokens artifact."""
    from zen_pipeline.models.families import new_model
    from zen_pipeline.models.starts.apply import apply_start
    from zen_pipeline.tasks.texts import vocab_size
    from zen_pipeline.training.data import TokenWindows

    data = TokenData(folder=str(tokens), validation_windows=VALIDATION_WINDOWS)
    source = TokenWindows(data, context=CONTEXT, batch=SEQUENCES, seed=seed, micro=SEQUENCES)
    shape = small_shape(width, tied=FAMILIES[family].tied)
    rate, embedding_rate = learning_rates_for(shape, continued=False)
    found = {}
    for name, start in starts.items():
        model = new_model(model_config(shape, vocab_size(tokens), family), seed=seed)
        apply_start(model, start)
        share = NEXT_TOKEN_RATE if start.next_token_vectors else 1.0
        schedule = Schedule(learning_rate=rate, embedding_learning_rate=embedding_rate * share, **SCHEDULE)
        found[name] = train(model.train(), source, schedule, steps)
    return found


def small_shape(width: int, *, tied: bool) -> Shape:
    """Two layers of a width."""
    heads = max(1, width // 64)
    while width % heads:
        heads -= 1
    return Shape(
        hidden_size=width,
        layers=LAYERS,
        heads=heads,
        kv_heads=heads,
        head_dim=max(2, width // heads // 2 * 2),
        intermediate_size=max(32, round(width * 8 / 3 / 32) * 32),
        context_length=CONTEXT,
        tie_embeddings=tied,
    )


def train(model: FamilyModel, source: TokenWindows, schedule: Schedule, steps: int) -> Curve:
    """The pipeline's optimizer and schedule in a bare loop."""
    from zen_pipeline.training.optimizer import build_optimizer
    from zen_pipeline.training.step import accumulate_gradients

    optimizer = build_optimizer(model, schedule, orthogonalize_in=torch.float32)
    curve = Curve(before=held_out_loss(model, source))
    for step in range(steps):
        optimizer.zero_grad()
        loss, _ = accumulate_gradients(model, source.batch(step), micro_batch=SEQUENCES)
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
        optimizer.set_factor(learning_rate_factor(step, steps, warmup=schedule.warmup, cooldown=schedule.cooldown))
        optimizer.step()
        curve.losses.append(float(loss))
    curve.after = held_out_loss(model, source)
    return curve


@torch.no_grad()
def held_out_loss(model: FamilyModel, source: TokenWindows) -> float:
    """Nats per token of the first validation windows."""
    from zen_pipeline.training.step import summed_loss

    batches = source.validation()
    total = sum(float(summed_loss(model, batch)) for batch in batches)
    return total / max(1, sum(batch.targets.numel() for batch in batches))


def width_of(vectors: Path) -> int | None:
    """The width of the next-token vectors; None: there are none."""
    from safetensors import safe_open

    if not (vectors / NEXT_TOKEN_FILE).is_file():
        return None
    with safe_open(vectors / NEXT_TOKEN_FILE, framework="pt") as file:
        return int(file.get_slice("input").get_shape()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="a tokens artifact")
    parser.add_argument("vectors", type=Path, help="the artifact of the embedding stage that belongs to it")
    parser.add_argument("--family", choices=CAUSAL_FAMILIES, default="qwen3")
    parser.add_argument("--steps", type=int, default=25, help="of 8 windows of 64 tokens")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--curves", type=Path, help="write the loss of every step as JSON")
    arguments = parser.parse_args()
    family: Family = arguments.family
    starts = starts_of(family, arguments.vectors)
    began = time.monotonic()
    found = [
        compare_starts(arguments.tokens, starts, family=family, width=width_of(arguments.vectors) or 192,
                       steps=arguments.steps, seed=seed)
        for seed in arguments.seeds
    ]  # fmt: skip
    print(f"| start | before the first step | after {arguments.steps} steps | standard deviation |")
    print("|---|---|---|---|")
    for name in starts:
        before = statistics.mean(curves[name].before for curves in found)
        after = [curves[name].after for curves in found]
        spread = f"{statistics.stdev(after):.4f}" if len(after) > 1 else ""
        print(f"| {name} | {before:.4f} | {statistics.mean(after):.4f} | {spread} |")
    print(f"{time.monotonic() - began:.0f} s")
    if arguments.curves:
        curves = [{name: asdict(curve) for name, curve in each.items()} for each in found]
        arguments.curves.write_text(json.dumps(curves, indent=1))


if __name__ == "__main__":
    main()
