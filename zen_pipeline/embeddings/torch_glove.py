"""GloVe in plain torch, for GPUs: the objective and the AdaGrad of the compiled kernel, many pairs at a time.

All pairs of a step see the same parameters and the same sums of squares; the kernel takes one pair after the other. So
vectors agree with the kernel's in quality, not in bits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from zen_pipeline.embeddings.glove import GloveRun, GloveSettings, TrainingPairs
from zen_pipeline.embeddings.vector_checkpoint import Checkpoint

# Pairs of a step: so many that a word is seldom moved by more than a few of them.
_WORDS_PER_PAIR, _FEWEST_PAIRS, _MOST_PAIRS = 2, 32, 16_384
_EVERY = 256  # steps between two looks at the clock


class TorchGloveRun(GloveRun):
    """The tables on a device of torch, and the training of all epochs."""

    def __init__(  # the device first, so that the rest can be given later
        self, device: str, words: int, settings: GloveSettings, pairs: TrainingPairs, checkpoint: Checkpoint | None
    ) -> None:
        super().__init__(words, settings, pairs, checkpoint)
        self._on_device = [torch.from_numpy(table).to(device) for table in self.tables]
        rows, columns, logs, weights = (torch.from_numpy(array).to(device) for array in pairs.arrays)
        self._shuffled = rows.long(), columns.long(), logs, weights
        self._size = max(_FEWEST_PAIRS, min(_MOST_PAIRS, words // _WORDS_PER_PAIR))

    @override
    def train(self, progress: Callable[[int, int], None] | None) -> None:
        """All epochs, from where the checkpoint is; afterwards `tables` hold the result."""
        arrays = self._arrays()
        state = self._checkpoint.load(arrays) if self._checkpoint else None
        state = state or {"epoch": 0, "step": 0, "loss": 0.0, "losses": []}
        for table, array in zip(self._on_device, self.tables, strict=True):
            table.copy_(torch.from_numpy(array))
        self.losses = state["losses"]
        count, device = len(self._shuffled[0]), self._on_device[0].device
        steps = -(-count // self._size)
        for epoch in range(state["epoch"], self._settings.epochs):
            random = torch.Generator(device).manual_seed((self._settings.seed * 1_000_003 + epoch) % (1 << 63))
            order = torch.randperm(count, generator=random, device=device)
            loss = torch.tensor(state["loss"], dtype=torch.float64, device=device)
            for step in range(state["step"], steps):
                loss += self._step(order[step * self._size : (step + 1) * self._size])
                if step % _EVERY == 0 and progress is not None:
                    progress(epoch * count + step * self._size, count * self._settings.epochs)
                if self._checkpoint and self._checkpoint.due():
                    self._fetch()
                    here = {"epoch": epoch, "step": step + 1, "loss": float(loss), "losses": self.losses}
                    self._checkpoint.save(arrays, here)
            self.losses.append(float(loss) / count)
            state.update(step=0, loss=0.0)
        self._fetch()

    def _fetch(self) -> None:
        for table, array in zip(self._on_device, self.tables, strict=True):
            torch.from_numpy(array).copy_(table)

    def _step(self, some: Tensor) -> Tensor:
        """One step on some pairs; the sum of their losses before it."""
        words, contexts, word_squares, context_squares = self._on_device
        i, j, logs, weights = (array[some] for array in self._shuffled)
        w, c = words[i], contexts[j]
        error = (w * c).sum(-1) - logs
        g = (self._settings.learning_rate * weights * error)[:, None]
        to_word, to_context = g * c, g * w
        words.index_add_(0, i, -to_word / word_squares[i].sqrt())
        contexts.index_add_(0, j, -to_context / context_squares[j].sqrt())
        word_squares.index_add_(0, i, to_word.square())
        context_squares.index_add_(0, j, to_context.square())
        return (0.5 * weights * error.square()).double().sum()
