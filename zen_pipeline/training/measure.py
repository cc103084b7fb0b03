"""Measures how fast this machine trains, and chooses: `python -m zen_pipeline.training.measure REQUEST RESOLVED`.

In a process of its own, so that neither torch nor CUDA is ever loaded by the flow. Errors are one line on stdout, and
so is every case that was timed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.budget import parse_budget
from zen_pipeline.errors import ConfigError, TrainingError, ZenError
from zen_pipeline.family_specs import FAMILIES
from zen_pipeline.files import write_atomically
from zen_pipeline.progress import Tell
from zen_pipeline.subprocesses import python_command
from zen_pipeline.training.dial import Case, Request, Resolved, Speed, choose
from zen_pipeline.training.job import Precision, Schedule
from zen_pipeline.training.resolved import Gpu
from zen_pipeline.training.rules import MEASURED_CONTEXT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from zen_pipeline.models.base import FamilyConfig
    from zen_pipeline.training.data import Batch

_SECONDS = 1.5  # for each case, its first round, which warms up, included; less of a budget below five minutes
_ROUNDS = 4
_PEAK_SECONDS = 0.5
_TIMED = "timed"  # the line that the child writes after each case
_SMALL_PRODUCT = 512  # takes 1 ms, or 0.2 s where bf16 is computed without instructions for it


def measure_and_choose(request: Request, work: Path, tell: Tell | None = None) -> Resolved:
    """Run the measurement in a child process and return what was chosen.

    Args:
        request: what is to be chosen.
        work: a folder for the child's files.
        tell: is told how many ways to compute were timed.

    Raises:
        ConfigError: the settings or the given model cannot be used.
        TrainingError: the measurement itself failed.
    """
    from zen_pipeline.training.launcher import child_environment, stop_tree, tail

    work.mkdir(parents=True, exist_ok=True)
    asked, answer, path = work / "request.json", work / "resolved.json", work / "measure.log"
    write_atomically(asked, request.model_dump_json())
    answer.unlink(missing_ok=True)
    command = python_command("-m", "zen_pipeline.training.measure", str(asked), str(answer), str(os.getpid()))
    with path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=child_environment(request.cores),
        )
        try:
            said = _listen(process, tell)
        except BaseException:
            stop_tree(process, seconds=2.0)
            raise
    if process.returncode == 0 and answer.is_file():
        return Resolved.model_validate_json(answer.read_bytes())
    if said:
        raise ConfigError(said)
    raise TrainingError(f"the training speed could not be measured (exit code {process.returncode}):\n{tail(path)}")


def _listen(process: subprocess.Popen[bytes], tell: Tell | None) -> str:
    """What the child says until it ends, but for the lines that tell of a measurement."""
    timed, said = 0, []
    for line in process.stdout or ():
        if line.strip() != _TIMED.encode():
            said.append(line.decode(errors="replace"))
        elif tell is not None:
            timed += 1
            tell(timed, 0)
    process.wait()
    return "".join(said).strip()


def measure(
    config: FamilyConfig,
    case: Case,
    micro_batch: int,
    *,
    seconds: float = _SECONDS,
    pairs: Sequence[tuple[int, int]] = (),
) -> Speed:
    """Time gradients and optimizer of a micro-batch per worker; the fastest round counts, since others only disturb.

    Time in which others had the cores is not counted: `machine.speed.timed`.

    Args:
        config: what is timed.
        case: the way to compute.
        micro_batch: sequences per worker.
        seconds: that it may take.
        pairs: tokens of source and target of some pairs, where the model is trained on pairs like these.
    """
    import torch

    from zen_pipeline.machine.speed import timed
    from zen_pipeline.models.families import new_model
    from zen_pipeline.training.optimizer import build_optimizer
    from zen_pipeline.training.replicas import Replicas
    from zen_pipeline.training.step import accumulate_gradients, orthogonalization_dtype

    torch.set_num_threads(case.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    context = min(MEASURED_CONTEXT, config.max_position_embeddings)
    model = new_model(config).to(device).train()
    rates = {"learning_rate": 1e-3, "embedding_learning_rate": 1e-3, "weight_decay": 0.0}
    schedule = Schedule(**rates, warmup=0.0, cooldown=0.0, gradient_clip=1.0)
    optimizer = build_optimizer(model, schedule, orthogonalize_in=orthogonalization_dtype(case.precision, device))
    if pairs:
        batch, micro_batch = random_pairs(config, pairs, micro_batch * case.workers * context)
        moved: dict[str, Any] = {n: x.to(device) for n, x in batch._asdict().items() if isinstance(x, torch.Tensor)}
        batch = batch._replace(**moved)
    else:
        batch = random_batch(config, micro_batch * case.workers, context, device)
    bf16 = case.precision == "bf16"
    replicas = Replicas(model, workers=case.workers, threads=case.threads, bf16=bf16) if case.workers > 1 else None

    def gradients() -> None:
        if replicas is not None:
            replicas.accumulate_gradients(batch, micro_batch=micro_batch)
            return
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            accumulate_gradients(model, batch, micro_batch=micro_batch)

    gradient_seconds = optimizer_seconds = clock = float("inf")

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
        optimizer.step()

    began = time.perf_counter()
    for number in range(_ROUNDS):
        first, second = (timed(work, device.type, case.threads) for work in (gradients, update))
        if number:  # the first round allocates
            gradient_seconds = min(gradient_seconds, first.seconds)
            optimizer_seconds = min(optimizer_seconds, second.seconds)
            clock = min(clock, first.clock)
            if time.perf_counter() - began > seconds:
                break
    return Speed(batch.tokens / gradient_seconds, optimizer_seconds, clock / gradient_seconds)


def random_batch(config: FamilyConfig, sequences: int, context: int, device: torch.device) -> Batch:
    """Random tokens in the kind of batch that a model of this structure is trained on."""
    import torch

    from zen_pipeline.models.bert import MASKED_SHARE
    from zen_pipeline.training.data import IGNORED, Batch

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (sequences, context + 1), generator=generator).to(device)
    input_ids, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    structure = FAMILIES[config.model_type].structure
    if structure == "encoder":
        asked = torch.rand(targets.shape, generator=generator).to(device) < MASKED_SHARE
        return Batch(-1, input_ids, torch.where(asked, targets, IGNORED), bidirectional=True)
    if structure == "encoder-decoder":
        return Batch(-1, input_ids, targets, source_ids=targets, source_mask=torch.ones_like(targets, dtype=torch.bool))
    return Batch(-1, input_ids, targets)


def random_pairs(config: FamilyConfig, lengths: Sequence[tuple[int, int]], tokens: int) -> tuple[Batch, int]:
    """Random pairs of these lengths, again and again until their targets have so many tokens, and pairs per pass."""
    import torch

    from zen_pipeline.training.pairs import pair_batch
    from zen_pipeline.training.rules import pair_sizes

    generator, longest = torch.Generator().manual_seed(0), config.max_position_embeddings

    def drawn(length: int) -> Tensor:
        return torch.randint(0, config.vocab_size, (min(length, longest),), generator=generator)

    mean = sum(min(target, longest) for _, target in lengths) / len(lengths)
    count, micro = pair_sizes(tokens, tokens, mean)
    stride = max(1, len(lengths) // count)
    chosen = [lengths[number * stride % len(lengths)] for number in range(count)]
    pairs = [(drawn(source), drawn(target)) for source, target in chosen]
    return pair_batch(pairs, -1, start_id=0, pad_id=0), micro


def matmul_flops(precision: Precision, threads: int, seconds: float, size: int | None = None) -> float:
    """FLOP/s of a matrix product in a precision, a large one by default, on the GPU or with so many threads."""
    import torch

    from zen_pipeline.machine.speed import matmul_gflops

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return 1e9 * matmul_gflops(dtype, "cuda" if torch.cuda.is_available() else "cpu", seconds, size)


def _gpu() -> Gpu | None:
    """The CUDA device that `measure` and the training process take, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return None
    memory = int(torch.cuda.get_device_properties(0).total_memory)
    return Gpu(memory, bf16=torch.cuda.is_bf16_supported(including_emulation=False))


def main(arguments: list[str]) -> int:
    """The child process."""
    from zen_pipeline.subprocesses import die_with_parent

    die_with_parent(int(arguments[2]))
    try:
        asked = Path(arguments[0])
        request = Request.model_validate_json(asked.read_bytes())
        budget = parse_budget(request.budget)
        seconds = min(_SECONDS, budget.amount / 200) if budget.kind == "seconds" else _SECONDS

        def timed(config: FamilyConfig, case: Case, micro_batch: int) -> Speed:
            speed = measure(config, case, micro_batch, seconds=seconds, pairs=request.pairs)
            print(_TIMED, flush=True)
            return speed

        product = partial(matmul_flops, threads=request.cores, seconds=0.05, size=_SMALL_PRODUCT)
        resolved = choose(
            request, timed, elapsed=lambda: time.time() - asked.stat().st_mtime, product=product, gpu=_gpu()
        )
        peak = matmul_flops(resolved.precision, resolved.threads, min(_PEAK_SECONDS, seconds))
        resolved = resolved.model_copy(update={"peak_flops": peak})
        write_atomically(Path(arguments[1]), resolved.model_dump_json(indent=1))
    except ZenError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
