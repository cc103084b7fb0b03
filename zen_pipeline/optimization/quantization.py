"""Whether a model should be kept with int8 weights: size, quality and speed, before and after."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files
from zen_pipeline.inference.generate import generate
from zen_pipeline.inference.scoring import bits_per_byte, score_documents
from zen_pipeline.machine.threads import torch_threads
from zen_pipeline.models.folder import WEIGHT_FILES, load_model, save_model
from zen_pipeline.models.int8 import quantize_

if TYPE_CHECKING:
    from zen_pipeline.models.base import CausalModel
    from zen_pipeline.progress import Tell

_RUNS = 5  # short ones, of which the median counts: another process may disturb some
_NEW_TOKENS = 64


@dataclass(frozen=True)
class Documents:
    """Test documents as token ids: `tokens` of all, int64 `offsets` (documents + 1,), int64 UTF-8 `bytes` of each."""

    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Measurement:
    """One form of a model.

    Attributes:
        bytes: of the weight files.
        bits_per_byte: on the test documents.
        tokens_per_second: of generation at batch 1, with the better number of threads.
        threads: that number.
    """

    bytes: int
    bits_per_byte: float
    tokens_per_second: float
    threads: int


@dataclass(frozen=True)
class Comparison:
    """Both forms of a model, the one to go on with, and why."""

    float: Measurement
    int8: Measurement
    chosen: Literal["float", "int8"]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(
    source: Path, target: Path, documents: Documents, *, max_bits_per_byte_loss: float, tell: Tell | None = None
) -> Comparison:
    """Write the int8 form of the model in `source` to `target`, with its tokenizer, and measure both.

    `target` is left only when the int8 form is chosen: when it is smaller, and no more than
    `max_bits_per_byte_loss` worse. Speed is reported, and too noisy to decide. `tell` is told how far it is.

    Raises:
        ConfigError: `source` is not a float model folder.
    """
    tell = tell or (lambda _done, _total: None)
    before = _measure(source, documents, lambda done, total: tell(done, 2 * total))
    save_model(quantize_(load_model(source)), target)
    copy_tokenizer_files(source, target)
    after = _measure(target, documents, lambda done, total: tell(total + done, 2 * total))
    chosen, reason = choose(before, after, max_bits_per_byte_loss)
    if chosen == "float":
        shutil.rmtree(target)
    return Comparison(before, after, chosen, reason)


def choose(before: Measurement, after: Measurement, max_loss: float) -> tuple[Literal["float", "int8"], str]:
    """The form to go on with, and the reason in one sentence."""
    loss = after.bits_per_byte - before.bits_per_byte
    change = f"{loss:+.4f} bits per byte"
    if not loss <= max_loss:  # also when it is not a number
        return "float", f"int8 weights cost {change}, more than the {max_loss} allowed"
    if after.bytes >= before.bytes:
        return "float", f"int8 weights are no smaller ({after.bytes} against {before.bytes} bytes)"
    return "int8", f"{after.bytes / before.bytes:.0%} of the size at {change}, within the {max_loss} allowed"


def _measure(folder: Path, documents: Documents, tell: Tell) -> Measurement:
    model = load_model(folder)
    context = model.config.max_position_embeddings
    nats = score_documents(model, documents.tokens, documents.offsets, context=context, tell=tell)
    speed, threads = decoding_speed(model, documents.tokens)
    return Measurement(
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.match(WEIGHT_FILES)),
        bits_per_byte=round(bits_per_byte(float(nats.sum()), int(documents.bytes.sum())), 6),
        tokens_per_second=round(speed, 1),
        threads=threads,
    )


def decoding_speed(model: CausalModel, tokens: NDArray[Any]) -> tuple[float, int]:
    """Generated tokens per second at batch 1 after a short prompt, and the number of threads that was fastest.

    One thread and all of them are tried in turn; the median of several short runs counts for each.
    """
    limit = model.config.max_position_embeddings
    prompt = [int(token) for token in tokens[: max(1, min(8, limit // 4))]]
    count = max(1, min(_NEW_TOKENS, limit - len(prompt)))
    found = {}
    for threads in sorted({1, torch.get_num_threads()}):
        with torch_threads(threads):
            runs = [_tokens_per_second(model, prompt, count) for _ in range(_RUNS + 1)]
        found[threads] = statistics.median(runs[1:])  # the first one warms up
    best = max(found, key=lambda threads: found[threads])
    return found[best], best


def _tokens_per_second(model: CausalModel, prompt: list[int], count: int) -> float:
    started = time.perf_counter()
    made = sum(1 for _ in generate(model, prompt, max_new_tokens=count, temperature=0.0))
    return made / (time.perf_counter() - started)
