"""The rules of the dial, each by itself: sizes from compute, and the model's configuration from sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from zen_pipeline.family_specs import DEFAULT_FAMILY, FAMILIES
from zen_pipeline.settings.models import HEAD_SIZE, Family
from zen_pipeline.training.resolved import Case, Evaluation, Gpu, Request, Shape

if TYPE_CHECKING:
    from zen_pipeline.models.base import FamilyConfig


START_SECONDS = 5.0  # a training process imports and builds for so long, times `slowness`
_MEASURED_FLOPS = 390e9  # see `slowness`: two cores with AVX-512
MICRO_TOKENS = 2048  # in a forward pass: about as much as keeps the working set near the processor's cache
_MOST_MICRO_TOKENS = 32768  # in a forward pass on a GPU, which is slow at small products; assumption: enough for any
_GPU_MEMORY_SHARE = 0.6  # that a forward pass may be expected to need; the rest is for what is not foreseen
MEASURED_CONTEXT = 1024  # of a model that is timed, at most
_REPETITIONS = 15.4  # of a corpus, until another is worth 1/e of the first; see `worth_of_tokens`
_EVALUATION_SHARE = 0.1  # of the time of training goes to scoring the test split, and as much to asking questions
_SCORING = 1.5  # tokens are scored while one is trained on: a third of the work, but windows overlap by half
_DECODING = 0.1  # tokens are generated one by one while one is trained on; assumption
_ANSWER_TOKENS = 64  # assumption; at most 128 are generated
_LAYER_EVERY = 48  # one layer per so much width
# Vocabulary by parameters of the blocks: below so many, this one.
_VOCABULARIES = ((1.5e6, 2048), (10e6, 4096), (30e6, 8192), (100e6, 16384))


def tokens_per_parameter(compute: float) -> float:
    """How many tokens a parameter of the blocks is trained on, given the FLOPs of the whole training.

    A power law through 1 at 3e13 FLOPs (minutes on two cores; docs/experiments.md) and 20 at 1e20 FLOPs (Hoffmann et
    al. 2022); between the two it is an assumption.
    """
    return min(20.0, max(0.5, math.pow(compute / 3e13, 0.2)))


def tokens_per_parameter_of_size(parameters: float) -> float:
    """The same by size: the fixed point of compute = 6 x parameters^2 x ratio."""
    ratio = 1.0
    for _ in range(20):
        ratio = tokens_per_parameter(6.0 * parameters**2 * ratio)
    return ratio


def worth_of_tokens(tokens: float, corpus_tokens: float) -> float:
    """How many new tokens so many tokens of a corpus are worth, when they go through it more than once.

    D' = U + U R* (1 - exp(-R / R*)) with R = D / U - 1 repetitions and R* = 15.4 (Muennighoff et al. 2023,
    "Scaling Data-Constrained Language Models"): four passes are worth 3.7, sixteen 10.6, and no number above 16.4.
    """
    repetitions = max(0.0, tokens / corpus_tokens - 1.0)
    once = min(tokens, corpus_tokens)
    return once + corpus_tokens * _REPETITIONS * (1.0 - math.exp(-repetitions / _REPETITIONS))


def compute_for_tokens(tokens: float) -> float:
    """The compute for which the rule asks for so many tokens: compute = 6 x tokens^2 / ratio."""
    compute = 6.0 * tokens**2
    for _ in range(20):
        compute = 6.0 * tokens**2 / tokens_per_parameter(compute)
    return compute


def tokens_wanted(kind: str, amount: float) -> float:
    """Training tokens of a budget in tokens or in parameters."""
    return amount if kind == "tokens" else amount * tokens_per_parameter_of_size(amount)


def width_for(target: float, vocabulary: int = 0) -> int:
    """The width, a multiple of 64, whose blocks and embeddings come nearest to `target` parameters.

    With one layer per 48 of width the blocks have 12 width^3 / 48 parameters; input and output embeddings have
    `vocabulary` rows each (0 leaves them out).
    """

    def distance(width: int) -> float:
        return abs(math.log((12 * width**3 / _LAYER_EVERY + 2 * vocabulary * width) / target))

    return min(range(64, 2049, 64), key=distance)


def shape_for(width: int, request: Request, corpus_tokens: float) -> Shape:
    """All sizes from the width; what the user has set wins."""
    own, family = request.model, FAMILIES[request.family]
    hidden = own.hidden_size or width
    heads = own.heads or max(1, hidden // HEAD_SIZE)
    kv_heads = own.kv_heads or (heads // 4 if heads >= 16 and heads % 4 == 0 else heads)
    parameters = 12 * hidden**3 / _LAYER_EVERY
    context = own.context_length or (256 if parameters < 10e6 else 512 if parameters < 50e6 else 1024)
    if own.context_length is None:
        needed = min(request.supervised_context, MEASURED_CONTEXT)  # longer ones are left out, and that is said
        while context > 16 and corpus_tokens < 8 * context:  # a tiny corpus must still fill some windows
            context //= 2
        while context < needed and corpus_tokens >= 4 * context:  # after doubling, two windows
            context *= 2
    return Shape(
        hidden_size=hidden,
        layers=own.layers or max(2, round(hidden / _LAYER_EVERY)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=max(2, hidden // heads // 2 * 2),
        intermediate_size=own.intermediate_size or family.intermediate_size(hidden),
        context_length=context,
        tie_embeddings=family.tied if own.tie_embeddings is None else own.tie_embeddings,
    )


def vocabulary_for(target: float, train_bytes: int) -> int:
    """Vocabulary for so many parameters in the blocks and so much text: a power of two."""
    wanted = next((size for below, size in _VOCABULARIES if target < below), 32768)
    teachable = 1 << int(math.log2(max(512.0, train_bytes / 250)))  # each token should be met often
    return max(512, min(wanted, teachable))


def batch_tokens_for(request: Request, tokens: float, context: int) -> int:
    """2,048 tokens a step up to a million tokens, growing with the square root of the tokens, to 2^19."""
    if request.batch_tokens is not None:
        return max(1, request.batch_tokens // context) * context
    wanted = 2048 << round(math.log2(max(1.0, math.sqrt(tokens / 1e6))))
    return max(1, min(1 << 19, wanted) // context) * context


def worker_counts(cores: int) -> list[int]:
    """How many micro-batches at a time are worth a try: 2, 4, 8, … and one for each core."""
    return sorted({*(1 << k for k in range(1, cores.bit_length()) if 1 << k < cores), cores})


def micro_tokens_for(config: FamilyConfig, context: int, gpu: Gpu | None) -> int:
    """Tokens per forward pass: what suits a processor's cache, or as much as a GPU has memory for, up to 32,768."""
    tokens, longest = MICRO_TOKENS, max(context, min(MEASURED_CONTEXT, config.max_position_embeddings))
    while gpu is not None and tokens < _MOST_MICRO_TOKENS:
        needed = memory_bytes_for(config, max(1, 2 * tokens // context), longest)
        if needed > _GPU_MEMORY_SHARE * gpu.memory_bytes:
            break
        tokens *= 2
    return tokens


def micro_batch_for(
    request: Request, case: Case, sequences: int, context: int, micro_tokens: int = MICRO_TOKENS
) -> tuple[Case, int]:
    """Sequences per forward pass, such that all workers are busy, and no more workers than a step has sequences."""
    workers = max(1, min(case.workers, sequences))
    if request.micro_batch is not None:
        return case._replace(workers=workers), min(request.micro_batch, max(1, sequences))
    rounds = math.ceil(sequences / (workers * max(1, micro_tokens // context)))
    return case._replace(workers=workers), max(1, math.ceil(sequences / (workers * rounds)))


def works_side_by_side(config: FamilyConfig) -> bool:
    """True if several micro-batches may be computed at a time: not with dropout inside attention, whose kernel draws
    from the one generator of all threads."""
    rates = (value for name, value in config.model_dump().items() if "drop" in name and "att" in name)
    return not any(isinstance(rate, float) and rate > 0 for rate in rates)


def pair_sizes(batch_tokens: int, micro_tokens: int, target_length: float) -> tuple[int, int]:
    """Pairs of a step and of a forward pass that make up so many tokens of target.

    Those of a step are sorted by length and cut into at least four parts: in one part all would be filled up to the
    longest.
    """
    batch = max(1, round(batch_tokens / target_length))
    return batch, max(1, min(round(micro_tokens / target_length), math.ceil(batch / 4)))


def slowness(flops: float) -> float:
    """How many times longer than on the machine that this file's seconds are from everything takes.

    Args:
        flops: FLOP/s of a float32 matrix product on all cores. A machine with a third of that one's took 1.5 times as
            long for vectors and starts, which are not bound by products alone; the power between is an assumption.
    """
    return max(1.0, math.pow(_MEASURED_FLOPS / flops, 0.4))


def preparation_seconds(train_bytes: int, *, vectors: bool, compiling: bool) -> float:
    """Seconds that the tokenizer and the embedding stage take, and what is left of the measurement.

    Measured on two cores (docs/experiments.md): 2 s and 1 s per 2.5 MB for the tokenizer and the token files, and 3 s
    for the end of the measurement and for judging; 13 s and 1 s per 1.5 MB for the vectors, most of it work that does
    not depend on the text; 16 s for the compiler.
    """
    tokens = 5.0 + train_bytes / 2.5e6
    return tokens + (13.0 + train_bytes / 1.5e6 + 16.0 * compiling if vectors else 0.0)


def evaluation_for(training_seconds: float, tokens_per_second: float) -> Evaluation:
    """How much is measured after a training of so many seconds at so many tokens/s, within a fifth of its time.

    Too little would decide nothing: 5,000 tokens and 10 questions it always is.
    """
    seconds = _EVALUATION_SHARE * training_seconds
    tokens = int(min(1_000_000, max(5_000, seconds * _SCORING * tokens_per_second)))
    questions = int(min(400, max(10, seconds * _DECODING * tokens_per_second / _ANSWER_TOKENS)))
    # two models in two forms
    return Evaluation(test_tokens=tokens, questions=questions, int8_test_tokens=min(50_000, max(2_000, tokens // 4)))


def learning_rates_for(shape: Shape, continued: bool) -> tuple[float, float]:
    """Peak rates of matrices and of the rest; lower for a model that is trained already."""
    width = math.sqrt(256 / shape.hidden_size)
    matrices, embeddings = 0.02 * width, (0.005 if shape.tie_embeddings else 0.01) * width
    return (matrices / 10, embeddings / 10) if continued else (matrices, embeddings)


def memory_bytes_for(config: FamilyConfig, micro_batch: int, context: int, workers: int = 1) -> int:
    """Bytes of a training process: libraries, numbers per parameter, activations and logits of `micro_batch` sequences.

    A parameter has its value, its gradient in every worker, and two numbers of the optimizer.
    """
    from zen_pipeline.models.families import num_parameters

    tokens = micro_batch * context
    per_token = config.num_hidden_layers * (34 * config.hidden_size + 6 * config.intermediate_size)
    activations = tokens * (1.5 * per_token + 10.5 * config.vocab_size)
    return int(640e6 + 4 * (3 + workers) * num_parameters(config) + activations)


def shape_of(config: FamilyConfig, request: Request) -> Shape:
    """The shape of a given model, with a context that it has positions for."""
    own = request.model.context_length
    return Shape(
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        context_length=min(own or 1024, config.max_position_embeddings),
        tie_embeddings=config.tie_word_embeddings,
    )


def model_config(shape: Shape, vocab_size: int, family: Family = DEFAULT_FAMILY) -> FamilyConfig:
    """The model's own configuration for a shape.

    Raises:
        ConfigError: the sizes contradict each other.
    """
    from pydantic import ValidationError

    from zen_pipeline.errors import ConfigError
    from zen_pipeline.models.families import CONFIGS

    try:
        return CONFIGS[family].model_validate(model_fields(shape, vocab_size, family))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ConfigError(f"the sizes in pretrain.model do not fit together: {problem['msg']}") from None


def model_fields(shape: Shape, vocab_size: int, family: Family = DEFAULT_FAMILY) -> dict[str, Any]:
    """The fields of the family's config, as plain values, without importing it."""
    return {"vocab_size": vocab_size, **FAMILIES[family].fields(shape, vocab_size)}
