"""Pairs of source and target: the file that a training process reads, and their batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zen_pipeline.errors import DataError
from zen_pipeline.training.data import IGNORED, Batch, Order
from zen_pipeline.training.job import PairData


class Pairs:
    """Sources and targets from a file; each pair is seen once per epoch, in another order every time."""

    def __init__(self, data: PairData, *, batch: int, seed: int, micro: int) -> None:
        self.token_bytes = np.load(data.token_bytes)
        self._data, self._micro = data, micro
        self._pairs = load_pairs(Path(data.train))
        self._valid = load_pairs(Path(data.valid)) if data.valid is not None else []
        self._order = Order(len(self._pairs), batch, seed)

    def batch(self, step: int) -> Batch:
        """The pairs of one optimizer step, long ones last, so that micro-batches hold little padding."""
        return self._batch([self._pairs[index] for _, index in self._order.at(step)], step)

    def validation(self) -> list[Batch]:
        """All pairs of the validation file."""
        pairs = sorted(self._valid, key=_length)
        return [self._batch(pairs[i : i + self._micro], -1) for i in range(0, len(pairs), self._micro)]

    def _batch(self, pairs: list[tuple[Tensor, Tensor]], step: int) -> Batch:
        return pair_batch(pairs, step, start_id=self._data.start_id, pad_id=self._data.pad_id)


def pair_batch(pairs: list[tuple[Tensor, Tensor]], step: int, *, start_id: int, pad_id: int) -> Batch:
    """Pairs of source and target as one batch, long ones last."""
    pairs = sorted(pairs, key=_length)
    sources, targets = [s for s, _ in pairs], [t for _, t in pairs]
    starts = [torch.cat((torch.tensor([start_id], dtype=t.dtype), t[:-1])) for t in targets]
    mask = _padded([torch.ones_like(s) for s in sources], 0)
    return Batch(
        step,
        _padded(starts, pad_id),
        _padded(targets, IGNORED),
        source_ids=_padded(sources, pad_id),
        source_mask=mask.bool(),
    )


def _length(pair: tuple[Tensor, Tensor]) -> int:
    return max(map(len, pair))


def _padded(rows: list[Tensor], value: int) -> Tensor:
    """Rows of different lengths as one int64 tensor."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value).long()


def save_pairs(path: Path, pairs: Iterable[tuple[Sequence[int], Sequence[int]]], *, longest: int) -> dict[str, int]:
    """Write encoded pairs: `source`, `target` (all ids, one after the other) and their `*_offsets` (pairs + 1,).

    Args:
        path: safetensors file to write.
        pairs: token ids of source and target.
        longest: a pair with more tokens on one side is left out: half a sentence teaches nothing.

    Returns:
        Counts: `kept`, `too_long`, `source_tokens`, `target_tokens`.

    Raises:
        DataError: nothing is left.
    """
    from safetensors.torch import save_file

    sides: dict[str, list[int]] = {"source": [], "target": []}
    offsets: dict[str, list[int]] = {"source": [0], "target": [0]}
    too_long = 0
    for pair in pairs:
        if max(map(len, pair)) > longest:
            too_long += 1
            continue
        for side, ids in zip(sides, pair, strict=True):
            sides[side] += ids
            offsets[side].append(len(sides[side]))
    kept = len(offsets["source"]) - 1
    if not kept:
        raise DataError(f"no pair for {path.name} fits into {longest} tokens on both sides ({too_long} are longer)")
    tensors = {side: torch.tensor(ids, dtype=torch.int32) for side, ids in sides.items()}
    tensors |= {f"{side}_offsets": torch.tensor(ends) for side, ends in offsets.items()}
    save_file(tensors, path)
    return {"kept": kept, "too_long": too_long, **{f"{side}_tokens": len(ids) for side, ids in sides.items()}}


def load_pairs(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Source and target ids of each pair, int32.

    Raises:
        DataError: another kind of file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        cut = {side: tensors[f"{side}_offsets"][1:-1] for side in ("source", "target")}
        parts = {side: tensors[side].tensor_split(ends) for side, ends in cut.items()}
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"{path} is not a file of translation pairs: {error}") from None
    return list(zip(parts["source"], parts["target"], strict=True))
