"""What start vectors are worth: a small model trained briefly from each kind, with the same seed, data and steps.

It is a decoder of the run's width with two layers, so that it takes seconds; its losses compare the starts with each
other and say nothing about the run's own model, whose lead shrinks with every further step of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline.budget import parse_budget
from zen_pipeline.config import Config
from zen_pipeline.settings.models import PretrainConfig
from zen_pipeline.training.job import Schedule, TokenData
from zen_pipeline.training.resolved import Shape
from zen_pipeline.training.rules import learning_rates_for, model_config
from zen_pipeline.training.schedule import learning_rate_factor

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.training.data import TokenWindows

# What it takes (7 s) is better spent on training where the budget is shorter.
_STEPS, _FROM_SECONDS = 25, 240.0
LAYERS, CONTEXT, SEQUENCES = 2, 64, 8
_VALIDATION_WINDOWS = 32
_SCHEDULE = PretrainConfig().model_dump(include={"weight_decay", "warmup", "cooldown", "gradient_clip"})


def ablation_steps(config: Config) -> int:
    """Steps of each training, 0 for no comparison."""
    if config.embed.ablation_steps is not None:
        return config.embed.ablation_steps
    budget = parse_budget(config.budget)
    return 0 if budget.kind == "seconds" and budget.amount < _FROM_SECONDS else _STEPS


@dataclass
class Curve:
    """Losses of one start, in nats per token.

    Attributes:
        before: on held-out windows before the first step.
        after: on the same windows after the last.
        losses: of each step's own windows, taken before the step.
    """

    before: float
    after: float = 0.0
    losses: list[float] = field(default_factory=list)


Start = Callable[["FamilyModel"], object]  # puts vectors into a model


def compare_starts(
    tokens: Path, vocab_size: int, width: int, starts: Mapping[str, tuple[Start, float]], *, steps: int, seed: int
) -> dict[str, Curve]:
    """Train the small model once from each start.

    Args:
        tokens: a tokens artifact, with a training and a validation split.
        vocab_size: number of token ids.
        width: of the model.
        starts: by name what puts vectors into the new model, and what its embedding learning rate is multiplied by.
        steps: of 8 windows of 64 tokens.
        seed: of the first weights and of the order of the windows.

    Raises:
        DataError: the training split has no window.
    """
    import torch

    from zen_pipeline.models.families import new_model
    from zen_pipeline.training.data import TokenWindows

    source = TokenWindows(
        TokenData(folder=str(tokens), validation_windows=_VALIDATION_WINDOWS),
        context=CONTEXT, batch=SEQUENCES, seed=seed, micro=SEQUENCES,
    )  # fmt: skip
    shape = _shape(width)
    rate, embedding_rate = learning_rates_for(shape, continued=False)
    found = {}
    with torch.random.fork_rng(devices=[]):
        for name, (put, factor) in starts.items():
            model = new_model(model_config(shape, vocab_size), seed=seed)
            put(model)
            schedule = Schedule(learning_rate=rate, embedding_learning_rate=embedding_rate * factor, **_SCHEDULE)
            found[name] = _train(model.train(), source, schedule, steps)
    return found


def _shape(width: int) -> Shape:
    heads = max(1, width // 64)
    return Shape(
        hidden_size=width,
        layers=LAYERS,
        heads=heads,
        kv_heads=heads,
        head_dim=max(2, width // heads // 2 * 2),
        intermediate_size=max(32, round(width * 8 / 3 / 32) * 32),
        context_length=CONTEXT,
        tie_embeddings=False,
    )


def _train(model: FamilyModel, source: TokenWindows, schedule: Schedule, steps: int) -> Curve:
    import torch

    from zen_pipeline.training.optimizer import build_optimizer
    from zen_pipeline.training.step import accumulate_gradients

    optimizer = build_optimizer(model, schedule, orthogonalize_in=torch.float32)
    curve = Curve(before=_held_out_loss(model, source))
    for step in range(steps):
        optimizer.zero_grad()
        loss, _ = accumulate_gradients(model, source.batch(step), micro_batch=SEQUENCES)
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
        optimizer.set_factor(learning_rate_factor(step, steps, warmup=schedule.warmup, cooldown=schedule.cooldown))
        optimizer.step()
        curve.losses.append(float(loss))
    curve.after = _held_out_loss(model, source)
    return curve


def _held_out_loss(model: FamilyModel, source: TokenWindows) -> float:
    import torch

    from zen_pipeline.training.step import summed_loss

    batches = source.validation()
    with torch.no_grad():
        total = sum(float(summed_loss(model, batch)) for batch in batches)
    return total / max(1, sum(batch.targets.numel() for batch in batches))
