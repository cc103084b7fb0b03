"""The one dial: from a budget, a corpus and a measured machine to all sizes of training.

`choose` is a list of numbered steps. What the user has set is taken as it is; every other number has its reason
next to it, and the reasons with their measured figures go into the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, Field

from zen_pipeline.budget import parse_budget
from zen_pipeline.training.job import Precision
from zen_pipeline.training.resolved import Case, Finetuning, Gpu, Request, Resolved
from zen_pipeline.training.rules import (
    START_SECONDS,
    batch_tokens_for,
    compute_for_tokens,
    evaluation_for,
    learning_rates_for,
    memory_bytes_for,
    micro_batch_for,
    micro_tokens_for,
    model_config,
    preparation_seconds,
    shape_for,
    shape_of,
    slowness,
    tokens_per_parameter,
    tokens_per_parameter_of_size,
    tokens_wanted,
    vocabulary_for,
    width_for,
    worker_counts,
    works_side_by_side,
    worth_of_tokens,
)

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyConfig

PRETRAIN_SHARE = 0.85  # of the time for training, where there is something to fine-tune on
LEAST_SHARE = 0.5  # of a budget in time is for training, however long what comes before it takes
UPKEEP = 0.06  # share of the time that goes to validation, samples, checkpoints, and what a lone step does not do
FINETUNE_BATCH = 32  # conversations per step, the default of finetune.batch_size
CONVERSATION_TOKENS = 96  # assumption: question, answer and markers of one conversation
BYTES_PER_TOKEN = 3.3  # assumption: English prose in a byte-level BPE of a few thousand tokens
_BUSY = 1.3  # times as long by the clock, from which on it is said
MAX_EPOCHS = 16.0  # more passes over the same text add next to nothing (Muennighoff et al. 2023)
MIN_PARAMETERS, MAX_PARAMETERS = 0.5e6, 1e9

__all__ = ["Case", "Request", "Resolved", "Speed", "choose"]


class Speed(NamedTuple):
    """How fast one shape trains: gradients of a micro-batch per worker, and the optimizer's part of a step.

    `waited` is how many times longer it took by the clock than it would on a machine that has nothing else to do.
    """

    tokens_per_second: float
    optimizer_seconds: float
    waited: float = 1.0


Measure = Callable[["FamilyConfig", Case, int], Speed]  # shape, way to compute, micro-batch


class _Plan(BaseModel):
    """The numbers while they are being chosen."""

    reasons: list[str] = Field(default=[])
    case: Case = Case("fp32", 1)
    flops: float = 0.0
    waited: float = 1.0


def choose(
    request: Request,
    measure: Measure,
    elapsed: Callable[[], float] = lambda: 0.0,
    product: Callable[[Precision], float] = lambda _: math.inf,
    gpu: Gpu | None = None,
) -> Resolved:
    """All sizes for a budget.

    Args:
        request: budget, corpus, machine, and what the user has set.
        measure: times one shape.
        elapsed: seconds since the request was made.
        product: FLOP/s of a matrix product in a precision: a model is not timed in one that is slower than float32.
        gpu: that training runs on; None: it runs on the cores.

    Raises:
        ConfigError: a given model cannot be read, or the set sizes contradict each other.
    """
    from zen_pipeline.models.families import flops_per_token, num_parameters

    budget = parse_budget(request.budget)
    slow = slowness(product("fp32"))
    starting = START_SECONDS * slow
    plan = _Plan()
    corpus_tokens = request.train_bytes / BYTES_PER_TOKEN

    # 1. Precision, threads and workers: measured on a model of middling size, the fastest wins. On a GPU the precision
    #    follows from what it is, since so small a model leaves most of it idle in either.
    candidate = _given(request) or model_config(shape_for(256, request, corpus_tokens), 4096, request.family)
    _fastest(request, candidate, measure, product, gpu, plan)

    # 2. Compute: the measured FLOP/s for the budget's time; for other budgets what they imply.
    share = (PRETRAIN_SHARE if request.finetuning else 1.0) if request.pretraining else 0.0
    seconds, before = None, 0.0
    if budget.kind == "seconds":
        seconds, _ = _time_left(request, budget.amount, elapsed(), slow)
        compute = plan.flops * max(1.0, share * seconds - starting)
    elif budget.kind == "tokens":
        compute = compute_for_tokens(budget.amount)
    else:
        compute = 6.0 * budget.amount**2 * tokens_per_parameter_of_size(budget.amount)

    # 3. Size: parameters of the blocks from the compute (of the whole model when that is the budget), and the
    #    vocabulary: more tokens for more parameters, but not more than the corpus can teach.
    given = _given(request)
    target = budget.amount if budget.kind == "params" else math.sqrt(compute / (6.0 * tokens_per_parameter(compute)))
    if budget.kind == "seconds" and given is None and corpus_tokens > 0:
        target = _taught(target, compute, corpus_tokens, plan)
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

    if request.supervised_context > 0 and request.model.context_length is None and given is None:
        plan.reasons.append(
            f"95 % of the conversations need about {request.supervised_context} tokens: a context of "
            f"{shape.context_length}"
        )

    # 4. Batch: from the tokens that the budget pays for at the speed of the middling model.
    usable = max(1.0, share * (seconds or 0.0) - starting) * (1 - UPKEEP)
    wanted = usable * plan.flops / per_token if seconds is not None else tokens_wanted(budget.kind, budget.amount)
    batch_tokens = batch_tokens_for(request, wanted, shape.context_length)
    context, most = shape.context_length, micro_tokens_for(config, shape.context_length, gpu)
    case, micro = micro_batch_for(request, plan.case, batch_tokens // context, context, most)

    # 5. Steps: at the speed of this very model, in the time that is left now that it is known.
    speed = measure(config, case, micro)
    if seconds is not None:
        seconds, before = _time_left(request, budget.amount, elapsed(), slow)
        usable = max(1.0, share * seconds - starting) * (1 - UPKEEP)
        half = "; training takes half of the budget all the same" if seconds > budget.amount - before else ""
        plan.reasons.append(
            f"of {budget.amount:.0f} s about {before:.0f} s go to the data, this measurement and the vectors" + half
        )
    plan.reasons.append(
        f"this model trains at {speed.tokens_per_second:,.0f} tokens/s ({_named(case, gpu)}), and the optimizer takes "
        f"{speed.optimizer_seconds * 1000:.0f} ms a step"
    )
    waited = max(plan.waited, speed.waited)
    if waited > _BUSY:
        plan.reasons.append(
            f"the machine was busy with something else: by the clock this took {waited:.1f} times as long, and so will "
            "training while that lasts; the time in which others had the cores is not counted here"
        )
    step_seconds = batch_tokens / speed.tokens_per_second + speed.optimizer_seconds
    affordable = int(usable / step_seconds) if seconds is not None else round(wanted / batch_tokens)
    steps = request.steps or _steps(affordable, batch_tokens, corpus_tokens, plan)
    if not request.pretraining:
        steps = 1

    # 6. Fine-tuning: the rest of the time. For other budgets the same share in tokens, or all where nothing is before.
    tuning_tokens = FINETUNE_BATCH * CONVERSATION_TOKENS
    tuning_step = tuning_tokens / speed.tokens_per_second + speed.optimizer_seconds
    if seconds is not None:
        tuning = int(max(1.0, (1 - share) * seconds - starting) * (1 - UPKEEP) / tuning_step)
    else:
        tuning = round((steps * batch_tokens * (1 - share) / share if request.pretraining else wanted) / tuning_tokens)
    tuning = max(1, tuning)
    finetune_seconds = starting + tuning * tuning_step / (1 - UPKEEP) if request.finetuning else 0.0
    pretrain_seconds = starting + steps * step_seconds / (1 - UPKEEP) if request.pretraining else 0.0
    tokens = steps * batch_tokens if request.pretraining else 0
    epochs = tokens / max(1.0, corpus_tokens)
    plan.reasons.append(
        f"pretraining: {steps} steps of {batch_tokens} tokens in about {pretrain_seconds:.0f} s, {epochs:.1f} passes "
        "over the text" + (f"; fine-tuning: {tuning} steps" if request.finetuning else "")
    )

    # 7. How much is measured afterwards.
    evaluation = evaluation_for(pretrain_seconds + finetune_seconds, speed.tokens_per_second)
    plan.reasons.append(
        f"afterwards the models are measured on {evaluation.test_tokens:,} tokens of the test split and at most "
        f"{evaluation.questions} questions"
    )

    # 8. Learning rates.
    matrices, embeddings = learning_rates_for(shape, given is not None)
    return Resolved(
        family=request.family,
        vocab_size=vocabulary,
        model=shape,
        init_from=given is not None,
        parameters=parameters,
        steps=steps,
        batch_tokens=batch_tokens,
        micro_batch=micro,
        precision=case.precision,
        threads=case.threads,
        workers=case.workers,
        learning_rate=matrices,
        embedding_learning_rate=embeddings,
        finetune=Finetuning(
            steps=tuning,
            micro_batch=max(1, FINETUNE_BATCH // case.workers),
            learning_rate=matrices / 4,
            embedding_learning_rate=embeddings / 4,
        ),
        evaluation=evaluation,
        reasons=plan.reasons,
        trained_flops=plan.flops,
        disturbed=waited > _BUSY and seconds is not None and request.steps is None,
        estimates={
            "preparation_seconds": round(before, 1),
            "pretrain_seconds": round(pretrain_seconds, 1),
            "finetune_seconds": round(finetune_seconds, 1),
            "memory_bytes": float(memory_bytes_for(config, micro * case.workers, shape.context_length, case.workers)),
            "flops": per_token * tokens,
            "tokens": float(tokens),
            "epochs": round(epochs, 2),
        },
    )


def _taught(target: float, compute: float, corpus_tokens: float, plan: _Plan) -> float:
    """No more parameters than repeated text can teach: what it is worth in new text, at the same tokens a parameter."""
    tokens = compute / (6.0 * target)
    worth = worth_of_tokens(tokens, corpus_tokens)
    if worth < 0.95 * tokens:
        plan.reasons.append(
            f"{tokens / corpus_tokens:.1f} passes over the text are worth {worth / corpus_tokens:.1f} of new text: "
            f"{worth / tokens * target / 1e6:.1f} M parameters in the blocks instead of {target / 1e6:.1f} M"
        )
    return target * worth / tokens


def _time_left(request: Request, budget: float, elapsed: float, slow: float) -> tuple[float, float]:
    """Seconds of a budget for training, and those that everything before it takes."""
    parts = {name: getattr(request, name) for name in ("vectors", "compiling")}
    before = request.spent_seconds + elapsed + slow * preparation_seconds(request.train_bytes, **parts)
    return max(budget - before, LEAST_SHARE * budget), before


def _fastest(
    request: Request,
    candidate: FamilyConfig,
    measure: Measure,
    product: Callable[[Precision], float],
    gpu: Gpu | None,
    plan: _Plan,
) -> None:
    """Fill in the way to compute, and FLOP/s."""
    from zen_pipeline.models.families import flops_per_token

    context = min(256, candidate.max_position_embeddings)
    micro = max(1, micro_tokens_for(candidate, context, gpu) // context)
    found: dict[Case, float] = {}
    waited: dict[Case, float] = {}

    def try_out(case: Case) -> None:
        found[case], _, waited[case] = measure(candidate, case, micro)

    precisions: list[Precision] = ["fp32", "bf16"] if gpu is None else ["bf16" if gpu.bf16 else "fp32"]
    if request.precision:
        precisions = [request.precision]
    if len(precisions) > 1 and (slow := product("bf16")) < (fast := product("fp32")):
        precisions = ["fp32"]  # without instructions for it a single step may take a minute
        plan.reasons.append(f"matrix products reach {fast / 1e9:.0f} GFLOP/s in fp32 and {slow / 1e9:.0f} in bf16")
    for precision in precisions:
        try_out(Case(precision, request.cores))
    precision = max(found, key=lambda case: found[case]).precision
    if gpu is None and request.cores > 1:
        try_out(Case(precision, 1))
        if request.side_by_side and works_side_by_side(candidate):
            for workers in worker_counts(request.cores):
                try_out(Case(precision, request.cores, workers))
    plan.case = max(found, key=lambda case: found[case])
    plan.flops, plan.waited = found[plan.case] * flops_per_token(candidate, context), waited[plan.case]
    figures = "; ".join(f"{_named(case, gpu)}: {speed:,.0f}" for case, speed in found.items())
    plan.reasons.append(
        f"measured tokens/s of a model of {candidate.num_hidden_layers} layers of width {candidate.hidden_size}: "
        f"{figures}. So {_named(plan.case, gpu)}, {plan.flops / 1e9:.0f} GFLOP/s"
    )


def _named(case: Case, gpu: Gpu | None) -> str:
    return str(case) if gpu is None else f"{case.precision} on the GPU"


def _given(request: Request) -> FamilyConfig | None:
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
