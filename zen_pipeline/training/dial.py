"""The one dial: from a budget, a corpus and a measured machine to all sizes of training.

`choose` is a list of numbered steps. What the user has set is taken as it is; every other number has its reason
beside it, and the reasons with their measured figures go into the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, Field

from zen_pipeline.budget import parse_budget
from zen_pipeline.training.job import Precision
from zen_pipeline.training.resolved import Finetuning, Request, Resolved
from zen_pipeline.training.rules import (
    batch_tokens_for,
    compute_for_tokens,
    learning_rates_for,
    memory_bytes_for,
    model_config,
    shape_for,
    shape_of,
    tokens_per_parameter,
    tokens_per_parameter_of_size,
    tokens_wanted,
    vocabulary_for,
    width_for,
)

if TYPE_CHECKING:
    from zen_pipeline.models.registry import AnyConfig

PRETRAIN_SHARE = 0.85  # of a budget in time; fine-tuning gets the rest
START_SECONDS = 8.0  # a training process imports and builds for so long (measured: 6 to 9 s on 2 cores)
UPKEEP = 0.04  # share of the time that validation and checkpoints take
FINETUNE_BATCH = 32  # conversations per step, the default of finetune.batch_size
CONVERSATION_TOKENS = 96  # assumption: question, answer and markers of one conversation
BYTES_PER_TOKEN = 3.3  # assumption: English prose in a byte-level BPE of a few thousand tokens
MAX_EPOCHS = 16.0  # more passes over the same text add next to nothing (Muennighoff et al. 2023)
MIN_PARAMETERS, MAX_PARAMETERS = 0.5e6, 1e9

__all__ = ["Request", "Resolved", "Speed", "choose"]


class Speed(NamedTuple):
    """How fast one shape trains: gradients of a micro-batch, and the optimizer's part of a step."""

    tokens_per_second: float
    optimizer_seconds: float


Measure = Callable[["AnyConfig", Precision, int, int], Speed]  # shape, precision, threads, micro-batch


class _Plan(BaseModel):
    """The numbers while they are being chosen."""

    reasons: list[str] = Field(default=[])
    precision: Precision = "fp32"
    threads: int = 1
    flops: float = 0.0


def choose(request: Request, measure: Measure) -> Resolved:
    """All sizes for a budget.

    Raises:
        ConfigError: a given model cannot be read, or the set sizes contradict each other.
    """
    from zen_pipeline.models.registry import flops_per_token, num_parameters

    budget = parse_budget(request.budget)
    plan = _Plan()
    corpus_tokens = request.train_bytes / BYTES_PER_TOKEN

    # 1. Precision and threads: measured on a model of middling size, the fastest wins.
    candidate = _given(request) or model_config(shape_for(256, request, corpus_tokens), 4096, request.family)
    _fastest(request, candidate, measure, plan)

    # 2. Compute: the measured FLOP/s for the budget's time; for other budgets what they imply.
    seconds = budget.amount if budget.kind == "seconds" else None
    share = PRETRAIN_SHARE if request.pretraining else 0.0
    if seconds is not None:
        compute = plan.flops * max(1.0, share * seconds - START_SECONDS)
    elif budget.kind == "tokens":
        compute = compute_for_tokens(budget.amount)
    else:
        compute = 6.0 * budget.amount**2 * tokens_per_parameter_of_size(budget.amount)

    # 3. Size: parameters of the blocks from the compute (of the whole model when that is the budget), and the
    #    vocabulary: more tokens for more parameters, but not more than the corpus can teach.
    given = _given(request)
    target = budget.amount if budget.kind == "params" else math.sqrt(compute / (6.0 * tokens_per_parameter(compute)))
    target = min(MAX_PARAMETERS, max(MIN_PARAMETERS, target))
    vocabulary = given.vocab_size if given else request.vocab_size or vocabulary_for(target, request.train_bytes)
    width = width_for(target, vocabulary if budget.kind == "params" else 0)
    shape = shape_of(given, request) if given else shape_for(width, request, corpus_tokens)

    config = given or model_config(shape, vocabulary, request.family)
    parameters = num_parameters(config)
    per_token = flops_per_token(config, shape.context_length)
    origin = "the given model" if given else f"{compute:.2g} FLOPs of pretraining"
    plan.reasons.append(
        f"{origin}: {parameters / 1e6:.1f} M parameters, {shape.layers} layers of width {shape.hidden_size}, "
        f"vocabulary {vocabulary}, context {shape.context_length}"
    )

    # 4. Micro-batch: about 2,048 tokens keep the working set near the processor's cache.
    micro = request.micro_batch or max(1, 2048 // shape.context_length)
    speed = measure(config, plan.precision, plan.threads, micro)
    plan.reasons.append(
        f"this model trains at {speed.tokens_per_second:,.0f} tokens/s ({plan.precision}, {plan.threads} threads), "
        f"and the optimizer takes {speed.optimizer_seconds * 1000:.0f} ms a step"
    )

    # 5. Tokens that the budget pays for, at first without the optimizer, then batch and steps.
    usable = max(1.0, share * (seconds or 0.0) - START_SECONDS) * (1 - UPKEEP)
    wanted = usable * speed.tokens_per_second if seconds is not None else tokens_wanted(budget.kind, budget.amount)
    batch_tokens = batch_tokens_for(request, wanted, shape.context_length)
    step_seconds = batch_tokens / speed.tokens_per_second + speed.optimizer_seconds
    affordable = int(usable / step_seconds) if seconds is not None else round(wanted / batch_tokens)
    steps = request.steps or _steps(affordable, batch_tokens, corpus_tokens, plan)
    if not request.pretraining:
        steps = 1

    # 6. Fine-tuning: the rest of the time, or as many tokens as 15 % of that would have been.
    left = (seconds or step_seconds * steps / PRETRAIN_SHARE) * (1 - share)
    tuning_step = FINETUNE_BATCH * CONVERSATION_TOKENS / speed.tokens_per_second + speed.optimizer_seconds
    tuning = max(1, int(max(1.0, left - START_SECONDS) * (1 - UPKEEP) / tuning_step))
    pretrain_seconds = START_SECONDS + steps * step_seconds / (1 - UPKEEP) if request.pretraining else 0.0
    tokens = steps * batch_tokens if request.pretraining else 0
    plan.reasons.append(
        f"pretraining: {steps} steps of {batch_tokens} tokens in about {pretrain_seconds:.0f} s, "
        f"{tokens / max(1.0, corpus_tokens):.1f} passes over the text; fine-tuning: {tuning} steps"
    )

    # 7. Learning rates.
    matrices, embeddings = learning_rates_for(shape, given is not None)
    return Resolved(
        family=request.family,
        vocab_size=vocabulary,
        model=shape,
        init_from=given is not None,
        parameters=parameters,
        steps=steps,
        batch_tokens=batch_tokens,
        micro_batch=min(micro, max(1, batch_tokens // shape.context_length)),
        precision=plan.precision,
        threads=plan.threads,
        learning_rate=matrices,
        embedding_learning_rate=embeddings,
        finetune=Finetuning(
            steps=tuning, micro_batch=FINETUNE_BATCH, learning_rate=matrices / 4, embedding_learning_rate=embeddings / 4
        ),
        reasons=plan.reasons,
        estimates={
            "pretrain_seconds": round(pretrain_seconds, 1),
            "finetune_seconds": round(START_SECONDS + tuning * tuning_step / (1 - UPKEEP), 1),
            "memory_bytes": float(memory_bytes_for(config, micro, shape.context_length)),
            "flops": per_token * tokens,
            "tokens": float(tokens),
            "epochs": round(tokens / max(1.0, corpus_tokens), 2),
        },
    )


def _fastest(request: Request, candidate: AnyConfig, measure: Measure, plan: _Plan) -> None:
    """Fill in precision, threads and FLOP/s."""
    from zen_pipeline.models.registry import flops_per_token

    precisions: list[Precision] = [request.precision] if request.precision else ["fp32", "bf16"]
    context = min(256, candidate.max_position_embeddings)
    found: dict[tuple[Precision, int], float] = {}
    for threads in sorted({1, request.cores}):
        for precision in precisions:
            found[precision, threads] = measure(
                candidate, precision, threads, max(1, 2048 // context)
            ).tokens_per_second
    plan.precision, plan.threads = max(found, key=lambda case: found[case])
    plan.flops = found[plan.precision, plan.threads] * flops_per_token(candidate, context)
    figures = ", ".join(f"{p} with {t} thread{'s' * (t > 1)} {v:,.0f}" for (p, t), v in found.items())
    plan.reasons.append(
        f"measured tokens/s of a model of {candidate.num_hidden_layers} layers of width {candidate.hidden_size}: "
        f"{figures}; so {plan.precision} with {plan.threads} threads, {plan.flops / 1e9:.0f} GFLOP/s"
    )


def _given(request: Request) -> AnyConfig | None:
    if request.init_from is None:
        return None
    from pathlib import Path

    from zen_pipeline.models.folder import read_config

    return read_config(Path(request.init_from))


def _steps(affordable: int, batch_tokens: int, corpus_tokens: float, plan: _Plan) -> int:
    most = max(1, int(MAX_EPOCHS * corpus_tokens / batch_tokens))
    if affordable <= most:
        return max(1, affordable)
    plan.reasons.append(f"the corpus is so small that {MAX_EPOCHS:.0f} passes over it end before the budget does")
    return most
