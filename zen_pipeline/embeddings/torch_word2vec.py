"""Skip-gram and CBOW in plain torch, for GPUs: the objectives and the linear rate of the compiled kernel.

Each step takes many groups of neighbouring centres, each with its own noise words, and all gradients at the same
parameters; the kernel takes one or two blocks of them at a time. Groups come in random order. The random
numbers are torch's, so vectors agree with the kernels' in quality, not in bits. On a GPU sums of equal words are
added in no fixed order, so that two trainings differ in their last bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from zen_pipeline.embeddings.vector_checkpoint import Checkpoint
from zen_pipeline.embeddings.vectors import WordVectors
from zen_pipeline.embeddings.word2vec import (
    CENTRES,
    GROUPS,
    LOWEST_RATE,
    NOISE_POWER,
    Word2VecResult,
    Word2VecSettings,
    checked,
    first_vectors,
    keep_probabilities,
)
from zen_pipeline.embeddings.words import WordCorpus
from zen_pipeline.errors import DataError

# Centres of a step: so many that a word is seldom the centre in two groups of them, and no more than a GPU wants.
_WORDS_PER_CENTRE, _MOST_CENTRES = 4, 2048
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_EVERY = 64  # steps between two looks at the clock


class _Tables(NamedTuple):
    inputs: Tensor  # (words, dimensions)
    outputs: Tensor


class _Epoch(NamedTuple):
    """What survives the subsampling, padded by a window on both sides; `document` is -1 there."""

    ids: Tensor  # (window + kept + window + centres of a block,) int64
    document: Tensor
    reach: Tensor
    order: Tensor  # (groups of all blocks,) first centres, shuffled
    noise: Tensor  # (groups of all blocks, noise words)


def train_word2vec_torch(
    corpus: WordCorpus,
    settings: Word2VecSettings,
    device: str,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Word2VecResult:
    """As `word2vec.train_word2vec`, on a device of torch; the corpus and one epoch's draws lie in its memory."""
    if len(corpus.words) < 2:
        raise DataError(f"a vocabulary of {len(corpus.words)} has no pairs to learn from: add text")
    began = time.monotonic()
    start = torch.from_numpy(first_vectors(len(corpus.words), settings.dimensions, settings.seed))
    tables = _Tables(start.to(device), torch.zeros_like(start, device=device))
    with checkpoint.holding_signals() if checkpoint else nullcontext():
        losses = _train(corpus, settings, tables, checkpoint, progress)
    inputs, outputs = (checked(table.cpu().numpy(), settings) for table in tables)
    return Word2VecResult(
        WordVectors(corpus.words, corpus.counts, inputs), outputs, losses, len(corpus.ids) * settings.epochs,
        time.monotonic() - began,
    )  # fmt: skip


def _train(
    corpus: WordCorpus, settings: Word2VecSettings, tables: _Tables, checkpoint: Checkpoint | None,
    progress: Callable[[int, int], None] | None,
) -> list[float]:  # fmt: skip
    arrays = {name: np.empty(table.shape, np.float32) for name, table in tables._asdict().items()}
    state: dict[str, Any] = {"epoch": 0, "step": 0, "sums": [0.0, 0.0], "losses": []}
    if checkpoint and (found := checkpoint.load(arrays)):
        state = found
        for name, table in tables._asdict().items():
            table.copy_(torch.from_numpy(arrays[name]))
    size = max(1, min(_MOST_CENTRES, len(corpus.words) // _WORDS_PER_CENTRE) // _members(settings))
    step_of = _skipgram_step if settings.method == "skipgram" else _cbow_step
    total = len(corpus.ids) * settings.epochs
    for number in range(state["epoch"], settings.epochs):
        epoch = _draw(corpus, settings, number, tables.inputs.device)
        steps = -(-len(epoch.order) // size)
        sums = torch.tensor(state["sums"], dtype=torch.float64, device=tables.inputs.device)
        for step in range(state["step"], steps):
            done = (number + step / steps) / settings.epochs
            some = slice(step * size, (step + 1) * size)
            rate = settings.first_rate * max(LOWEST_RATE, 1.0 - done)
            sums += torch.stack(
                step_of(tables, epoch, epoch.order[some], epoch.noise[some], settings, rate)
            )  # fmt: skip
            if step % _EVERY == 0 and progress is not None:
                progress(int(done * total), total)
            if checkpoint and checkpoint.due():
                arrays = {name: table.cpu().numpy() for name, table in tables._asdict().items()}
                here = {"epoch": number, "step": step + 1, "sums": sums.tolist(), "losses": state["losses"]}
                checkpoint.save(arrays, here)
        loss, pairs = sums.tolist()
        state = {"step": 0, "sums": [0.0, 0.0], "losses": [*state["losses"], loss / max(pairs, 1)]}
    losses: list[float] = state["losses"]
    return losses


def _draw(corpus: WordCorpus, settings: Word2VecSettings, number: int, device: torch.device) -> _Epoch:
    """The random numbers of one epoch: a function of seed and epoch, on one kind of device."""
    random = torch.Generator(device).manual_seed((settings.seed * 1_000_003 + number) % (1 << 63))
    ids = torch.from_numpy(corpus.ids).to(device).long()
    lengths = torch.from_numpy(np.diff(corpus.offsets)).to(device)
    document = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
    share = torch.from_numpy(keep_probabilities(corpus.counts, settings.subsample)).to(device)
    kept = torch.rand(len(ids), generator=random, device=device, dtype=torch.float64) < share[ids]
    ids, document = ids[kept], document[kept]
    reach = torch.randint(1, settings.window + 1, (len(ids),), generator=random, device=device)
    centres, groups = CENTRES[settings.method], GROUPS[settings.method]
    first = torch.arange(0, len(ids), centres, device=device)[:, None] + torch.arange(groups, device=device)
    order = first.flatten()[torch.randperm(first.numel(), generator=random, device=device)] + settings.window
    weights = torch.from_numpy(corpus.counts.astype(np.float64) ** NOISE_POWER).to(device).cumsum(0)
    numbers = torch.arange(len(order) * settings.shared_noise, device=device, dtype=torch.float64)
    shift = torch.rand((), generator=random, device=device, dtype=torch.float64)
    drawn = numbers.mul_(_GOLDEN_RATIO).add_(shift).remainder_(1.0).mul_(weights[-1])  # evenly, as in the kernel
    noise = torch.searchsorted(weights, drawn).clamp(max=len(weights) - 1).reshape(len(order), -1)
    sides = (settings.window, settings.window + centres)
    return _Epoch(pad(ids, sides), pad(document, sides, value=-1), pad(reach, sides), order, noise)


def _members(settings: Word2VecSettings) -> int:
    """Centres of a group."""
    return CENTRES[settings.method] // GROUPS[settings.method]


def _surroundings(epoch: _Epoch, first: Tensor, settings: Word2VecSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (groups, members), their neighbours (groups, members, 2 window) and the weights of those as contexts."""
    window = settings.window
    offsets = torch.cat([torch.arange(-window, 0), torch.arange(1, window + 1)]).to(first.device)
    places = first[:, None] + torch.arange(_members(settings), device=first.device) * GROUPS[settings.method]
    around = places[..., None] + offsets
    same = (epoch.document[around] == epoch.document[places][..., None]) & (epoch.document[places] >= 0)[..., None]
    distances = offsets.abs()
    if settings.method == "cbow":
        weights = (distances <= epoch.reach[places][..., None]).double()
    else:
        weights = (window + 1 - distances) / window
    return epoch.ids[places], epoch.ids[around], (same * weights).float()


def _skipgram_step(
    tables: _Tables, epoch: _Epoch, first: Tensor, noise: Tensor, settings: Word2VecSettings, rate: float
) -> tuple[Tensor, Tensor]:
    """One step; the loss and the pairs. Objective: `word2vec_kernel`."""
    centres, around, near = _surroundings(epoch, first, settings)
    x, y, n = tables.inputs[centres], tables.outputs[around], tables.outputs[noise]
    scores = (y @ x[..., None]).squeeze(-1)
    against = x @ n.mT
    weight = near.sum(-1, keepdim=True) * (settings.negatives / noise.shape[1])
    loss = -(logsigmoid(scores) * near).sum() - (logsigmoid(-against) * weight).sum()
    pull = rate * torch.sigmoid(-scores) * near
    push = -rate * torch.sigmoid(against) * weight
    dx = (pull[..., None, :] @ y).squeeze(-2) + push @ n
    _add(tables.inputs, centres, dx)
    _add(tables.outputs, around, pull[..., None] * x[..., None, :])
    _add(tables.outputs, noise, push.mT @ x)
    return loss.double(), near.sum().double()


def _cbow_step(
    tables: _Tables, epoch: _Epoch, first: Tensor, noise: Tensor, settings: Word2VecSettings, rate: float
) -> tuple[Tensor, Tensor]:
    """One step; the loss and the centres that have a context. Objective: `word2vec_kernel`."""
    centres, around, near = _surroundings(epoch, first, settings)
    share = near / near.sum(-1, keepdim=True).clamp(min=1)
    h = (share[..., None, :] @ tables.inputs[around]).squeeze(-2)
    y, n = tables.outputs[centres], tables.outputs[noise]
    counted = near.any(-1)
    scores, against = (h * y).sum(-1), h @ n.mT
    weight = counted[..., None] * (settings.negatives / noise.shape[1])
    loss = -(logsigmoid(scores) * counted).sum() - (logsigmoid(-against) * weight).sum()
    pull = (rate * torch.sigmoid(-scores) * counted)[..., None]
    push = -rate * torch.sigmoid(against) * weight
    dh = pull * y + push @ n
    _add(tables.inputs, around, near[..., None] * dh[..., None, :])
    _add(tables.outputs, centres, pull * h)
    _add(tables.outputs, noise, push.mT @ h)
    return loss.double(), counted.sum().double()


def _add(table: Tensor, rows: Tensor, steps: Tensor) -> None:
    table.index_add_(0, rows.flatten(), steps.reshape(-1, table.shape[1]))
