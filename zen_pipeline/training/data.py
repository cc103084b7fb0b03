"""Batches as a pure function of (seed, step), so that resuming needs no loader or random state, only the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from zen_pipeline.corpus.tokens.shards import TokenSplit
from zen_pipeline.errors import DataError
from zen_pipeline.training.job import ConversationData, TokenData

_EXAMPLES = 2  # third word of the seed of a task's examples; 0 and 1 are the order and the offset of an epoch
IGNORED = -100  # a target that is not supervised: what torch's cross entropy leaves out


class Batch(NamedTuple):
    """The sequences of one optimizer step, or some of them.

    Attributes:
        step: the optimizer step that they belong to, from 0; -1 in validation.
        input_ids: (B, T) int64.
        targets: (B, T) int64, the token that belongs to each position (the next one, or the masked one), or `IGNORED`.
        source_ids: (B, S) int64, what an encoder-decoder reads besides.
        source_mask: (B, S) bool, False where the source is padding.
        bidirectional: whether positions behind the last target count too.
        documents: (B, T) int64, which document each position belongs to, where attention stays inside documents.
    """

    step: int
    input_ids: Tensor
    targets: Tensor
    source_ids: Tensor | None = None
    source_mask: Tensor | None = None
    bidirectional: bool = False
    documents: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Positions that can change the loss: padding is not work done."""
        return self.input_ids.numel() if self.bidirectional else int(used_lengths(self.targets).sum())

    def to(self, device: torch.device) -> Batch:
        """The same sequences on a device."""
        moved: dict[str, Any] = {n: part.to(device) for n, part in self._asdict().items() if isinstance(part, Tensor)}
        return self._replace(**moved)

    def share(self, rank: int, size: int, *, even: bool = False) -> Batch:
        """The sequences of one of several processes: every `size`-th, so that long and short ones are spread.

        Args:
            rank: which process.
            size: number of processes.
            even: give all processes as many; those that would have one less get the last sequence without targets.
        """
        if even and (missing := -len(self.input_ids) % size):
            return self._with_empty_rows(missing).share(rank, size)
        source, mask = self.source_ids, self.source_mask
        if source is not None and mask is not None:
            source, mask = source[rank::size], mask[rank::size]
        inputs, targets = self.input_ids[rank::size], self.targets[rank::size]
        documents = None if self.documents is None else self.documents[rank::size]
        return Batch(self.step, inputs, targets, source, mask, self.bidirectional, documents)

    def _with_empty_rows(self, count: int) -> Batch:
        """The last sequence again at the end, `count` times, without targets."""

        def longer(rows: Tensor | None) -> Tensor | None:
            return None if rows is None else torch.cat([rows, *[rows[-1:]] * count])

        inputs, sources, masks = map(longer, (self.input_ids, self.source_ids, self.source_mask))
        assert inputs is not None
        targets = torch.cat([self.targets, self.targets.new_full((count, self.targets.shape[1]), IGNORED)])
        return Batch(self.step, inputs, targets, sources, masks, self.bidirectional, longer(self.documents))

    @property
    def supervised(self) -> int:
        """Number of targets."""
        return int((self.targets != IGNORED).sum())

    def rows(self, start: int, stop: int) -> Batch:
        """Some of the sequences, cut to the columns that hold a target or come before one, or hold a source."""
        targets = self.targets[start:stop]
        length = targets.shape[1] if self.bidirectional else max(1, int(used_lengths(targets).max()))
        source, mask = self.source_ids, self.source_mask
        if source is not None and mask is not None:
            mask = mask[start:stop]
            width = max(1, int(mask.sum(dim=1).max()))
            source, mask = source[start:stop, :width], mask[:, :width]
        inputs = self.input_ids[start:stop, :length]
        documents = None if self.documents is None else self.documents[start:stop, :length]
        return Batch(self.step, inputs, targets[:, :length], source, mask, self.bidirectional, documents)


class Source(Protocol):
    """Sequences that can be asked for by step."""

    def batch(self, step: int) -> Batch:
        """The sequences of one optimizer step."""

    def validation(self) -> list[Batch]:
        """A fixed set of held-out sequences, in batches; empty when there are none."""


def shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` things in one epoch, int64."""
    return np.random.default_rng([seed, epoch, 0]).permutation(count)


class Order:
    """Which `batch` of `count` things belong to a step, when each epoch goes once through all in its own order."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def at(self, step: int) -> list[tuple[int, int]]:
        """(epoch, index) of each sequence of the step; an epoch may end inside it."""
        chosen = []
        for position in range(step * self.batch, (step + 1) * self.batch):
            epoch, place = divmod(position, self.count)
            if epoch != self._epoch:
                self._epoch, self._permutation = epoch, shuffled(self.seed, epoch, self.count)
            chosen.append((epoch, int(self._permutation[place])))
        return chosen


# --- pretraining ------------------------------------------------------------------------------------------------------


class TokenWindows:
    """Windows of `context` + 1 tokens that overlap in one token, so that each token is a target once per epoch.

    Every epoch starts its windows at another offset and takes them in another order. What does not fill a window at
    the two ends of the stream (less than two contexts) is left out of that epoch.

    Args:
        data: the token shards.
        context: tokens of a window.
        batch: windows per optimizer step.
        seed: of the order, the offsets, and `transform`.
        micro: windows per forward pass.
        transform: makes the examples of a task of the windows, with a generator that follows from seed and step; the
            targets are no text as it stands then, and have no bits per byte.
    """

    def __init__(
        self,
        data: TokenData,
        *,
        context: int,
        batch: int,
        seed: int,
        micro: int,
        transform: Callable[[Batch, np.random.Generator], Batch] | None = None,
    ) -> None:
        folder = Path(data.folder)
        self._transform = transform
        self.token_bytes: np.ndarray | None = None  # (vocab_size,) int32
        if transform is None:
            self.token_bytes = np.load(folder / "token_bytes.npy")
        self._tokens = TokenSplit.open(folder, "train").tokens
        self._held_out = TokenSplit.open(folder, "valid").tokens
        self._context, self._seed, self._micro = context, seed, micro
        self._validation_windows = data.validation_windows
        self._document_start = data.document_start
        if len(self._tokens) < context + 1:
            raise DataError(
                f"{folder / 'train.bin'} holds {len(self._tokens)} tokens, less than one sequence of {context} and its "
                "last target: add text, or set pretrain.model.context_length to a smaller number"
            )
        fitting = (len(self._tokens) - 1) // context
        self._order = Order(max(1, fitting - 1), batch, seed)
        self._slack = len(self._tokens) - 1 - self._order.count * context

    def _offset(self, epoch: int) -> int:
        most = min(self._context - 1, self._slack)
        return int(np.random.default_rng([self._seed, epoch, 1]).integers(0, most + 1))

    def epoch_targets(self, epoch: int) -> range:
        """The places in the stream whose tokens are targets in an epoch: all but less than two contexts at its ends."""
        first = self._offset(epoch) + 1
        return range(first, first + self._order.count * self._context)

    def batch(self, step: int) -> Batch:
        """The windows of one optimizer step."""
        starts = [self._offset(epoch) + index * self._context for epoch, index in self._order.at(step)]
        windows = self._windows(self._tokens, starts, self._context, step)
        return self._transformed(windows, [self._seed, step, _EXAMPLES])

    def validation(self) -> list[Batch]:
        """Evenly spaced windows of the valid split, the same ones every time, whatever the seed and size of a batch."""
        windows = self._validation()
        if windows is None:
            return []
        return list(micro_batches(self._transformed(windows, [0, 0, _EXAMPLES]), self._micro))

    def _transformed(self, windows: Batch, seed: list[int]) -> Batch:
        return windows if self._transform is None else self._transform(windows, np.random.default_rng(seed))

    def _validation(self) -> Batch | None:
        """All of them as one batch; None where there is not one."""
        length = min(self._context, len(self._held_out) - 1)
        if length < (1 if self._transform is None else 2):  # nothing would stand around what is asked for
            return None
        available = (len(self._held_out) - 1) // length
        wanted = min(available, self._validation_windows)
        starts = [index * available // wanted * length for index in range(wanted)]
        return self._windows(self._held_out, starts, length, -1)

    def _windows(self, tokens: np.ndarray, starts: Sequence[int], length: int, step: int) -> Batch:
        rows = np.stack([np.asarray(tokens[s : s + length + 1], dtype=np.int64) for s in starts])
        windows = torch.from_numpy(rows)  # (B, T + 1)
        inputs, targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
        if self._document_start is None:
            return Batch(step, inputs, targets)
        return Batch(step, inputs, targets, documents=(inputs == self._document_start).cumsum(dim=1))


# --- fine-tuning ------------------------------------------------------------------------------------------------------


class Conversations:
    """Padded sequences from a file; each is seen once per epoch, in another order every time."""

    def __init__(self, data: ConversationData, *, batch: int, seed: int, micro: int) -> None:
        self.token_bytes: np.ndarray | None = None
        self._input_ids, self._targets = load_conversations(Path(data.train))
        self._valid = load_conversations(Path(data.valid)) if data.valid is not None else None
        self._micro = micro
        self._order = Order(len(self._input_ids), batch, seed)

    def batch(self, step: int) -> Batch:
        """The conversations of one optimizer step, long ones last, so that micro-batches hold little padding."""
        chosen = [index for _, index in self._order.at(step)]
        return _by_length(self._input_ids[chosen].long(), self._targets[chosen].long(), step)

    def validation(self) -> list[Batch]:
        """All conversations of the validation file."""
        if self._valid is None:
            return []
        whole = _by_length(self._valid[0].long(), self._valid[1].long(), -1)
        return list(micro_batches(whole, self._micro))


def _by_length(input_ids: Tensor, targets: Tensor, step: int) -> Batch:
    order = torch.argsort(used_lengths(targets), stable=True)
    return Batch(step, input_ids[order], targets[order])


def used_lengths(targets: Tensor) -> Tensor:
    """Positions up to the last target of each row, (B,): what comes after it cannot change the loss."""
    positions = torch.arange(1, targets.shape[1] + 1, device=targets.device)
    return (positions * (targets != IGNORED)).amax(dim=1)


def save_conversations(
    path: Path, conversations: Iterable[tuple[Sequence[int], Sequence[bool]]], *, context: int, pad_id: int = 0
) -> dict[str, int]:
    """Write conversations as `ConversationData` reads them: `input_ids` and `targets` (N, T), int32, shifted.

    `targets[i, t]` is the token after `input_ids[i, t]` where that token is supervised, else `IGNORED`.
    A conversation longer than `context` + 1 tokens is cut at its end; one without a supervised token is left out.

    Args:
        path: safetensors file to write.
        conversations: token ids, and for each whether it is supervised.
        context: longest sequence.
        pad_id: fills up short rows; never seen by the loss.

    Returns:
        Counts: `kept`, `cut`, `left_out`, `tokens`, `supervised_tokens`.

    Raises:
        DataError: nothing is left.
    """
    from safetensors.torch import save_file

    counts = {"kept": 0, "cut": 0, "left_out": 0, "tokens": 0, "supervised_tokens": 0}
    rows: list[tuple[Sequence[int], list[int]]] = []
    for ids, supervised in conversations:
        pairs = zip(ids[1 : context + 1], supervised[1 : context + 1], strict=True)
        targets = [token if wanted else IGNORED for token, wanted in pairs]
        trained = sum(target != IGNORED for target in targets)
        if not trained:
            counts["left_out"] += 1
            continue
        rows.append((ids[: len(targets)], targets))
        counts["kept"] += 1
        counts["cut"] += len(ids) > context + 1
        counts["tokens"] += len(targets)
        counts["supervised_tokens"] += trained
    if not rows:
        raise DataError(f"no conversation for {path.name} has a supervised token within {context} tokens")
    longest = max(len(targets) for _, targets in rows)
    input_ids = torch.full((len(rows), longest), pad_id, dtype=torch.int32)
    padded = torch.full((len(rows), longest), IGNORED, dtype=torch.int32)
    for row, (ids, targets) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
        padded[row, : len(targets)] = torch.tensor(targets, dtype=torch.int32)
    save_file({"input_ids": input_ids, "targets": padded}, path)
    return counts


def load_conversations(path: Path) -> tuple[Tensor, Tensor]:
    """`input_ids` and `targets` (N, T), int32.

    Raises:
        DataError: another kind of file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        return tensors["input_ids"], tensors["targets"]
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"{path} is not a file of conversations: {error}") from None


# --- to Lightning -----------------------------------------------------------------------------------------------------


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """Parts of at most `size` sequences, without columns that cannot change the loss."""
    for start in range(0, len(batch.input_ids), size):
        yield batch.rows(start, start + size)


class StepLoader:
    """One batch per optimizer step, from the step at which training goes on.

    Lightning saves and restores it. The state is the number of finished steps, not of handed-out batches: a
    checkpoint that is made inside a step repeats that step.
    """

    def __init__(self, source: Source, steps: int, finished: Callable[[], int]) -> None:
        self._source, self._steps, self._finished = source, steps, finished
        self._first = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self._first, self._steps):
            yield self._source.batch(step)

    def state_dict(self) -> dict[str, Any]:
        """The cursor; the same on every rank."""
        return {"step": self._finished()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the cursor."""
        self._first = int(state["step"])
