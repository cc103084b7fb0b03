"""Which sequences a job is trained on; those of an encoder and of an encoder-decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from zen_pipeline.tasks.masked_lm import mask_tokens, starts_of_words
from zen_pipeline.tasks.span_corruption import corrupt_spans
from zen_pipeline.tasks.translation import load_pairs
from zen_pipeline.training.data import IGNORED, Batch, Conversations, Order, Source, TokenWindows
from zen_pipeline.training.job import MaskedData, PairData, SpanData, TrainingJob

_MASKS, _SPANS = 2, 3  # what the third word of a seed stands for; 0 and 1 are the order and the offset of an epoch


def open_source(job: TrainingJob) -> Source:
    """The data of a job.

    Raises:
        DataError: there is not enough for one sequence.
    """
    if job.data.kind == "tokens":
        return TokenWindows(job.data, context=job.context, batch=job.batch, seed=job.seed, micro=job.micro_batch)
    if job.data.kind == "masked":
        return MaskedWindows(job.data, context=job.context, batch=job.batch, seed=job.seed, micro=job.micro_batch)
    if job.data.kind == "spans":
        return CorruptedWindows(job.data, context=job.context, batch=job.batch, seed=job.seed, micro=job.micro_batch)
    if job.data.kind == "pairs":
        return Pairs(job.data, batch=job.batch, seed=job.seed, micro=job.micro_batch)
    return Conversations(job.data, batch=job.batch, seed=job.seed, micro=job.micro_batch)


class MaskedWindows(TokenWindows):
    """Windows of `context` tokens, some of them masked; every step draws its own masks.

    Windows run over the ends of documents, as RoBERTa's do.
    """

    def __init__(self, data: MaskedData, *, context: int, batch: int, seed: int, micro: int) -> None:
        super().__init__(data, context=context, batch=batch, seed=seed, micro=micro)
        assert self.token_bytes is not None
        self._maskable = self.token_bytes > 0
        self._mask_id, self._mask_seed = data.mask_id, seed
        self._word_starts = _word_starts(Path(data.folder), len(self._maskable)) if data.whole_words else None
        self.token_bytes = None  # nats per masked token are no bits per byte

    @override
    def batch(self, step: int) -> Batch:
        return self._masked(super().batch(step), [self._mask_seed, step, _MASKS])

    @override
    def _validation(self) -> Batch | None:
        windows = super()._validation()
        return None if windows is None else self._masked(windows, [0, 0, _MASKS])

    def _masked(self, batch: Batch, seed: list[int]) -> Batch:
        inputs, targets = mask_tokens(
            batch.input_ids.numpy(),
            np.random.default_rng(seed),
            mask_id=self._mask_id,
            maskable=self._maskable,
            word_starts=self._word_starts,
            ignored=IGNORED,
        )
        return Batch(batch.step, torch.from_numpy(inputs), torch.from_numpy(targets), bidirectional=True)


class CorruptedWindows(TokenWindows):
    """Windows of `context` tokens with spans cut out, other ones in every step."""

    def __init__(self, data: SpanData, *, context: int, batch: int, seed: int, micro: int) -> None:
        super().__init__(data, context=context, batch=batch, seed=seed, micro=micro)
        self._data, self._span_seed = data, seed
        self.token_bytes = None  # a sixth of the text is asked for, so its nats are no bits per byte

    @override
    def batch(self, step: int) -> Batch:
        return self._corrupted(super().batch(step), [self._span_seed, step, _SPANS])

    @override
    def _validation(self) -> Batch | None:
        windows = super()._validation()
        if windows is None or windows.input_ids.shape[1] < 2:  # nothing would stand around a span
            return None
        return self._corrupted(windows, [0, 0, _SPANS])

    def _corrupted(self, batch: Batch, seed: list[int]) -> Batch:
        sources, targets = corrupt_spans(
            batch.input_ids.numpy(), np.random.default_rng(seed), first_sentinel=self._data.first_sentinel
        )
        starts = np.concatenate((np.full_like(targets[:, :1], self._data.start_id), targets[:, :-1]), axis=1)
        return Batch(
            batch.step,
            torch.from_numpy(starts),
            torch.from_numpy(targets),
            source_ids=torch.from_numpy(sources),
            source_mask=torch.ones(sources.shape, dtype=torch.bool),
        )


def _word_starts(folder: Path, vocab_size: int) -> np.ndarray:
    from tokenizers import Tokenizer

    names = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json")).get_vocab()
    vocabulary = [""] * vocab_size
    for name, index in names.items():
        vocabulary[index] = name
    return starts_of_words(vocabulary)


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
