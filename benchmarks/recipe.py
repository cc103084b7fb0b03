"""Which settings make a model of one size best: bits per byte of a held-out text, after equal tokens, in a bare loop.

    python benchmarks/time_to_quality.py FOLDER/wikitext-2 --budgets 3m --keep DIR
    python benchmarks/recipe.py DIR/3m-0/.zen/store/tokenize/* FOLDER/wikitext-2/valid.txt --seeds 0 1 2 -- \\
        batch_tokens=2048 batch_tokens=4096 batch_tokens=4096,embedding_rate=1.0

The first command leaves the tokens that the second trains on. Each setting is one or more of `Recipe`, joined by a
comma. The model is the pipeline's own, started as it starts one, with its optimizer, its schedule and its way to
compute, in bf16 where products are faster in it; what is left out is Lightning, validation and checkpoints. One line
for each setting, a column for each seed.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import torch
from time_to_quality import encoded, held_out

from zen_pipeline.training.job import Precision, Schedule, TokenData
from zen_pipeline.training.measure import matmul_flops
from zen_pipeline.training.resolved import Case, Request
from zen_pipeline.training.rules import learning_rates_for, micro_batch_for, model_config, shape_for

if TYPE_CHECKING:
    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.models.starts.next_token import NextTokenVectors


@dataclass(frozen=True)
class Recipe:
    """What is varied; the defaults are the dial's for three minutes on two cores.

    Attributes:
        tokens: trained on.
        width: of the model; layers, heads and the rest follow as the dial has them.
        context: tokens of a window.
        batch_tokens: of a step.
        rate: of the matrices, as a multiple of the dial's.
        next_token: the tables start from next-token vectors.
        embedding_rate: of the tables, as a multiple of the dial's for tables that start at random; default: 0.3 for
            next-token vectors, else 1.
        previous_token_heads: the first layer starts with them.
        induction_heads: the second layer starts with them; only with previous-token heads and next-token vectors.
        weight_decay, warmup, cooldown: as in `pretrain`.
    """

    tokens: int = 1_000_000
    width: int = 192
    context: int = 256
    batch_tokens: int = 4096
    rate: float = 1.0
    next_token: bool = True
    embedding_rate: float | None = None
    previous_token_heads: bool = True
    induction_heads: bool = True
    weight_decay: float = 0.1
    warmup: float = 0.02
    cooldown: float = 0.5


def parse(setting: str) -> Recipe:
    """`batch_tokens=2048,rate=0.5` as a recipe."""
    given = dict(part.split("=") for part in setting.split(",") if part != "default")
    kinds = {name: float if value is None else type(value) for name, value in asdict(Recipe()).items()}
    return replace(Recipe(), **{name: kinds[name](float(value)) for name, value in given.items()})


def train(recipe: Recipe, folder: Path, seed: int, cores: int, precision: Precision) -> CausalModel:
    """A trained model."""
    from zen_pipeline.models.families import new_model
    from zen_pipeline.models.starts.choice import NEXT_TOKEN_RATE
    from zen_pipeline.models.starts.induction_heads import put_induction_heads
    from zen_pipeline.models.starts.previous_token_heads import put_previous_token_heads
    from zen_pipeline.tasks.texts import vocab_size
    from zen_pipeline.training.data import TokenWindows
    from zen_pipeline.training.optimizer import build_optimizer
    from zen_pipeline.training.replicas import Replicas
    from zen_pipeline.training.schedule import learning_rate_factor
    from zen_pipeline.training.step import orthogonalization_dtype

    request = Request(budget="3m", train_bytes=1 << 30, cores=cores)
    shape = shape_for(recipe.width, request, 1e9).model_copy(update={"context_length": recipe.context})
    model = cast("CausalModel", new_model(model_config(shape, vocab_size(folder)), seed=seed).train())
    if recipe.next_token:
        vectors = start_vectors(folder, recipe.width)
        with torch.no_grad():
            model.get_parameter("model.embed_tokens.weight").copy_(vectors.input)
            model.get_parameter("lm_head.weight").copy_(vectors.output)
    if recipe.previous_token_heads:
        direction = put_previous_token_heads(model)
        if recipe.next_token and recipe.induction_heads:
            put_induction_heads(model, direction)
    rate, embedding_rate = learning_rates_for(shape, continued=False)
    share = recipe.embedding_rate or (NEXT_TOKEN_RATE if recipe.next_token else 1.0)
    schedule = Schedule(
        learning_rate=rate * recipe.rate,
        embedding_learning_rate=embedding_rate * share,
        weight_decay=recipe.weight_decay,
        warmup=recipe.warmup,
        cooldown=recipe.cooldown,
        gradient_clip=1.0,
    )
    optimizer = build_optimizer(
        model, schedule, orthogonalize_in=orthogonalization_dtype(precision, torch.device("cpu"))
    )
    batch = recipe.batch_tokens // recipe.context
    case, micro = micro_batch_for(request, Case(precision, cores, cores), batch, recipe.context)
    windows = TokenWindows(TokenData(folder=str(folder)), context=recipe.context, batch=batch, seed=seed, micro=micro)
    replicas = Replicas(model, workers=case.workers, threads=cores, bf16=precision == "bf16")
    steps = recipe.tokens // recipe.batch_tokens
    for step in range(steps):
        optimizer.zero_grad()
        replicas.accumulate_gradients(windows.batch(step), micro_batch=micro)
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
        optimizer.set_factor(learning_rate_factor(step, steps, warmup=recipe.warmup, cooldown=recipe.cooldown))
        optimizer.step()
    return model.eval()


@functools.cache
def start_vectors(folder: Path, width: int) -> NextTokenVectors:
    """Next-token vectors of a width."""
    from zen_pipeline.corpus.tokens.shards import TokenSplit
    from zen_pipeline.models.starts.next_token import next_token_vectors
    from zen_pipeline.tasks.texts import vocab_size

    return next_token_vectors(TokenSplit.open(folder, "train").tokens, vocab_size(folder), width, steps=30, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="a tokens artifact")
    parser.add_argument("text", type=Path, help="a held-out text")
    parser.add_argument("settings", nargs="+", help="such as default or batch_tokens=2048,rate=0.5")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    ids, size = encoded(arguments.tokens / "tokenizer", arguments.text)
    cores = os.cpu_count() or 1
    precision = max(get_args(Precision), key=lambda p: matmul_flops(p, cores, seconds=0.0, size=512))
    print("| setting | " + " | ".join(f"seed {seed}" for seed in arguments.seeds) + " | mean | seconds |")
    print("|---" * (len(arguments.seeds) + 3) + "|")
    for setting in arguments.settings:
        began = time.monotonic()
        trained = (train(parse(setting), arguments.tokens, seed, cores, precision) for seed in arguments.seeds)
        found = [held_out(model, ids, size) for model in trained]
        cells = " | ".join(f"{figure:.4f}" for figure in found)
        seconds = (time.monotonic() - began) / len(found)
        print(f"| {setting} | {cells} | {statistics.mean(found):.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
