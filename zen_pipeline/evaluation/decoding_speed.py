"""How fast a model works at batch 1, and how much memory it takes.

`measure_apart` measures in a process of its own: in that of a pipeline run, other threads and everything that was
loaded before would be measured too. Run as a module, this reads a JSON request from standard input and writes one JSON
object.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zen_pipeline.errors import ZenError
from zen_pipeline.machine import peak_memory
from zen_pipeline.machine.threads import torch_threads
from zen_pipeline.subprocesses import die_with_parent, python_command, python_environment

_RUNS = 5  # short ones, of which the median counts: another process may disturb some
_TOKENS = 64

Produce = Callable[[Any, int], Iterator[int]]  # of a task: works on a model until about so many tokens are done


@dataclass(frozen=True)
class Speed:
    """Work at batch 1.

    Attributes:
        tokens_per_second: tokens written, or read where a model does not write; after the prompt is read.
        threads: CPU threads with which that was; the fastest of those that were tried.
        peak_memory_bytes: of the whole process, or of the accelerator when there is one.
        parameters: numbers in the model, shared ones counted once.
        device: `cpu` or `cuda`.
    """

    tokens_per_second: float
    threads: int
    peak_memory_bytes: int
    parameters: int
    device: str


def tokens_per_second(model: Any, produce: Produce, *, tokens: int = _TOKENS) -> tuple[float, int]:
    """Speed of a loaded model, and the number of threads that was fastest.

    One thread and all of them are tried in turn; the median of several short runs counts for each.
    """
    import torch

    found = {}
    for threads in sorted({1, torch.get_num_threads()}):
        with torch_threads(threads):
            runs = [_rate(produce(model, tokens)) for _ in range(_RUNS + 1)]
        found[threads] = statistics.median(runs[1:])  # the first one warms up
    best = max(found, key=lambda threads: found[threads])
    return found[best], best


def _rate(work: Iterator[int]) -> float:
    """Tokens per second; the first part, which reads the prompt, is left out where there are more."""
    times, counts = [time.perf_counter()], [0]
    for count in work:
        times.append(time.perf_counter())
        counts.append(count)
    first = 1 if len(times) > 2 else 0
    return sum(counts[first + 1 :]) / max(times[-1] - times[first], 1e-9)


def measure_apart(folder: Path, task: str) -> Speed:
    """Load the model in a new process and let it work as its task says.

    Args:
        folder: a model folder.
        task: name of what the model was taught.

    Raises:
        ZenError: the process failed; the message carries the end of its error output.
    """
    done = subprocess.run(
        python_command("-m", "zen_pipeline.evaluation.decoding_speed"),
        input=json.dumps({"folder": str(folder), "task": f"zen_pipeline.tasks.{task}", "parent": os.getpid()}),
        capture_output=True,
        text=True,
        check=False,
        env={**python_environment(), "OMP_WAIT_POLICY": "PASSIVE"},
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ZenError(f"the speed of {folder} could not be measured: {reason[:300]}")
    return Speed(**json.loads(done.stdout))


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    die_with_parent(request["parent"])
    from importlib import import_module

    import torch

    from zen_pipeline.models.base import FamilyModel
    from zen_pipeline.models.folder import load_any

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_any(Path(request["folder"]), FamilyModel, device=device)
    rate, threads = tokens_per_second(model, import_module(request["task"]).TASK.produce)
    parameters = sum(p.numel() for p in model.parameters())
    json.dump(asdict(Speed(rate, threads, peak_memory(), parameters, device)), sys.stdout)


if __name__ == "__main__":
    main()
