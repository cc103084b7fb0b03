"""The blocks of centre words that `word2vec_kernel` works on: their sizes, their memory, and what each is to do.

It imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.compiled import compiled
from zen_pipeline.embeddings.products import COLUMNS

# Rows of R that are worked on at a time: with L and their scores they fit into the first cache level.
TILE = 32

_NOWHERE = -1  # instead of a word, where a block reaches beyond its document
_ZERO = np.float32(0.0)


class Block(NamedTuple):
    """Words of a block of C centres and of their windows; span is C + 2 window.

    Attributes:
        centres: (C,) int64 words, `_NOWHERE` behind the end of the document. Group g has those at g, g + groups, …
        around: (span,) int64 words at the places from `window` before the block to `window` behind it.
        noise: (groups * N,) int64 words.
        near: float32, (span, padded C) flat, for skip-gram, the weight that a place has in the window of a centre.
        low: (C,) int64, for CBOW, the first of `around` that is in the window of a centre.
        high: (C,) int64, the last one; the centre itself, at `window` + its number, lies between.
        predictions: (C,) float32, how many each centre takes part in.
        noise_weights: float32, (groups, rows, padded members) flat, in the objective, of the scores of noise words;
            the rows, as many as are worked on at a time, are equal.
        groups: into which the centres are divided.

    Columns are padded with weights of zero.
    """

    centres: NDArray[np.int64]
    around: NDArray[np.int64]
    noise: NDArray[np.int64]
    near: NDArray[np.float32]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    predictions: NDArray[np.float32]
    noise_weights: NDArray[np.float32]
    groups: int


class Rows(NamedTuple):
    """Copies of the vectors that a block works on, float32; steps take the place of all but `left`.

    Attributes:
        left: (C, width) L.
        left_steps: (C, width) those of L.
        right: (R, width) R, of all groups one after the other.
        around: (span, width), of CBOW: the input vectors around the block.
        own: (C, width), of CBOW: the output vectors of the centres.
    """

    left: NDArray[np.float32]
    left_steps: NDArray[np.float32]
    right: NDArray[np.float32]
    around: NDArray[np.float32]
    own: NDArray[np.float32]


class Shape(NamedTuple):
    """Sizes of the blocks of a training.

    Attributes:
        centres: of a block, C.
        groups: that share it evenly; one for skip-gram.
        noise: words of a group, N.
        window: largest distance of a context word.
        cbow: its objective instead of skip-gram's.
    """

    centres: int
    groups: int
    noise: int
    window: int
    cbow: bool

    @property
    def span(self) -> int:
        """Places in a block and around it."""
        return self.centres + 2 * self.window


class Scratch(NamedTuple):
    """Memory for what is needed only while a group is computed.

    Attributes:
        across: float32, L of a group transposed, (width, padded) flat.
        scores: float32, of some rows of R, (rows, padded) flat, or of all centres themselves.
    """

    across: NDArray[np.float32]
    scores: NDArray[np.float32]


def make_scratch(shape: Shape, width: int) -> Scratch:
    """Memory for a thread."""
    columns = padded(shape.centres // shape.groups)
    sizes = (width * columns, max(TILE * columns, shape.centres))
    return Scratch(*(np.zeros(size, np.float32) for size in sizes))


def make_block(shape: Shape) -> Block:
    """Memory for a block."""
    sizes = (shape.centres, shape.span, shape.groups * shape.noise)
    centres, around, noise = (np.full(size, _NOWHERE, np.int64) for size in sizes)
    low, high = (np.zeros(shape.centres, np.int64) for _ in range(2))
    noise_weights = shape.groups * min(TILE, shape.noise) * padded(shape.centres // shape.groups)
    floats = (0 if shape.cbow else shape.span * padded(shape.centres), shape.centres, noise_weights)
    near, predictions, weights = (np.zeros(size, np.float32) for size in floats)
    return Block(centres, around, noise, near, low, high, predictions, weights, shape.groups)


def make_rows(shape: Shape, width: int) -> Rows:
    """Memory for the vectors of a block."""
    noise = shape.groups * shape.noise
    rows = (noise, shape.span, shape.centres) if shape.cbow else (shape.span + noise, 0, 0)
    return Rows(*(np.zeros((n, width), np.float32) for n in (shape.centres, shape.centres, *rows)))


@compiled
def padded(members: int) -> int:
    """Columns of the scores of a group of so many centres."""
    return -(-members // COLUMNS) * COLUMNS


@compiled
def choose(words: Any, reach: Any, first: int, cbow: bool, k: Any, block: Any) -> float:
    """Fill the block that starts at `first`, but for its noise; returns the number of its predictions."""
    length, centres, span = len(words), len(block.centres), len(block.around)
    members, drawn = centres // block.groups, len(block.noise) // block.groups
    window = (span - centres) // 2
    for r in range(span):
        place = first - window + r
        block.around[r] = words[place] if 0 <= place < length else _NOWHERE
    predictions = 0.0
    if cbow:
        for c in range(centres):
            place, own = first + c, window + c
            block.centres[c], block.low[c], block.high[c] = _NOWHERE, own, own
            if place < length:
                block.centres[c] = words[place]
                block.low[c] = max(own - reach[place], window - first)
                block.high[c] = min(own + reach[place], length - 1 - first + window)
            block.predictions[c] = np.float32(block.low[c] < block.high[c])
            predictions += block.predictions[c]
    else:
        near = block.near.reshape((span, padded(centres)))
        near[:] = _ZERO
        for c in range(centres):
            block.centres[c], block.predictions[c] = _NOWHERE, _ZERO
            if first + c < length:
                block.centres[c] = words[first + c]
                block.predictions[c] = weigh_window(first + c, length, window, near[c:, c])
            predictions += block.predictions[c]
    weights = block.noise_weights.reshape((block.groups, -1, padded(members)))
    weights[:] = _ZERO
    for c in range(centres):
        weights[c % block.groups, :, c // block.groups] = k / np.float32(drawn) * block.predictions[c]
    return predictions


@compiled
def weigh_window(place: int, length: int, window: int, weights: Any) -> Any:
    """The weights of the places from `window` before that of a centre; returns their sum.

    Each is the share of the windows, of random width, that reach the place: the original program's expectation.
    """
    total = _ZERO
    for distance in range(1, window + 1):
        weight = np.float32(window + 1 - distance) / np.float32(window)
        if place - distance >= 0:
            weights[window - distance] = weight
            total += weight
        if place + distance < length:
            weights[window + distance] = weight
            total += weight
    return total


@compiled
def part_of(block: Any, centres: int) -> Any:
    """The part of a block for the last centres of a document: smaller groups, as many as possible, with less noise.

    Fewer members share fewer noise words, by the square root: in proportion, chance would count for more.
    """
    most, drawn = len(block.centres) // block.groups, len(block.noise) // block.groups
    members = -(-centres // block.groups)
    groups = -(-centres // members)
    drawn = int(np.ceil(drawn * np.sqrt(members / most)))
    size = groups * members
    span = len(block.around) - len(block.centres) + size
    near = span * padded(size) if len(block.near) > 0 else 0
    return Block(
        block.centres[:size], block.around[:span], block.noise[: groups * drawn], block.near[:near], block.low[:size],
        block.high[:size], block.predictions[:size], block.noise_weights[: groups * min(TILE, drawn) * padded(members)],
        groups,
    )  # fmt: skip


@compiled
def rows_of(block: Any, cbow: bool, rows: Any) -> Any:
    """The rows that a block, or a part of one, needs."""
    centres, span, noise = len(block.centres), len(block.around), len(block.noise)
    right = noise if cbow else noise + span
    return Rows(
        rows.left[:centres], rows.left_steps[:centres], rows.right[:right], rows.around[:span], rows.own[:centres]
    )
