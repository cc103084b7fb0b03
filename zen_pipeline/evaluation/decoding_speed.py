"""How fast a model generates and how much memory it takes, measured in a process of its own.

In the process of a pipeline run, other threads and everything that was loaded before would be measured too.
Run as a module, it reads a JSON request from its standard input and writes one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zen_pipeline.errors import ZenError
from zen_pipeline.machine import peak_memory
from zen_pipeline.subprocesses import python_command, python_environment

if TYPE_CHECKING:
    from zen_pipeline.models.base import CausalModel

_WARM_UP = 8
_PROMPT = 64


@dataclass(frozen=True)
class Speed:
    """Generation at batch 1.

    Attributes:
        tokens_per_second: new tokens, after the prompt is read.
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


def measure(folder: Path, prompt_ids: Sequence[int], *, tokens: int = 128) -> Speed:
    """Load the model in a new process and generate.

    Args:
        folder: a model folder.
        prompt_ids: what to continue; the first 64 are used.
        tokens: how many to generate, fewer when the model's context is shorter.

    Raises:
        ZenError: the process failed; the message carries the end of its error output.
    """
    request = json.dumps({"folder": str(folder), "prompt": list(map(int, prompt_ids[:_PROMPT])), "tokens": tokens})
    done = subprocess.run(
        python_command("-m", "zen_pipeline.evaluation.decoding_speed"),
        input=request,
        capture_output=True,
        text=True,
        check=False,
        env={**python_environment(), "OMP_WAIT_POLICY": "PASSIVE"},
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ZenError(f"the speed of {folder} could not be measured: {reason[:300]}")
    return Speed(**json.loads(done.stdout))


def _measure_here(folder: Path, prompt_ids: list[int], tokens: int) -> Speed:
    import torch

    from zen_pipeline.models.folder import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(folder, device=device)
    model.eval()
    tokens = max(1, min(tokens, model.config.max_position_embeddings - len(prompt_ids)))
    rates = {}
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        _generate(model, prompt_ids, min(_WARM_UP, tokens))
        rates[threads] = _generate(model, prompt_ids, tokens)
    best = max(rates, key=lambda threads: rates[threads])
    parameters = sum(p.numel() for p in model.parameters())
    return Speed(rates[best], best, peak_memory(), parameters, device)


def _generate(model: CausalModel, prompt_ids: list[int], tokens: int) -> float:
    """New tokens per second; the first one, which reads the prompt, is left out where there are more."""
    from zen_pipeline.inference.generate import generate

    times = [time.perf_counter()]
    times += [time.perf_counter() for _ in generate(model, prompt_ids, max_new_tokens=tokens, temperature=0.0)]
    counted = times[1:] if len(times) > 2 else times
    return (len(counted) - 1) / max(counted[-1] - counted[0], 1e-9)


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    speed = _measure_here(Path(request["folder"]), request["prompt"], request["tokens"])
    json.dump(asdict(speed), sys.stdout)


if __name__ == "__main__":
    main()
