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
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class Block(NamedTuple):
    """What a block of C centres is to do; span is C + 2 window.

    Centres stand in the order of their groups: the words 0, groups, 2 groups, … of the block, then 1, groups + 1, …

    Attributes:
        centres: (C,) int64 words, `_NOWHERE` behind the end of the document.
        around: (span,) int64 words at the places from `window` before the block to `window` behind it.
        noise: (groups * N,) int64 words.
        low: (C,) int64, the first of `around` that is in the window of a centre.
        high: (C,) int64, the last one; the centre itself lies between.
        likely: float32, weights in the objective of the scores that are to be high: for skip-gram (span, padded), 1
            where a place is in the window of a centre; for CBOW (C,), 1 for a centre with context.
        unlikely: float32, the weights of the scores of noise, (groups, some rows, padded), equal in all rows.
        groups: into which the centres are divided.

    Scores of the members of a group are padded with columns of weight zero.
    """

    centres: NDArray[np.int64]
    around: NDArray[np.int64]
    noise: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    likely: NDArray[np.float32]
    unlikely: NDArray[np.float32]
    groups: int


class Rows(NamedTuple):
    """Copies of the vectors that a block works on, float32, or their steps.

    Attributes:
        left: (C, width) L.
        right: (R, width) R, of all groups one after the other.
        around: (span, width), of CBOW: the input vectors around the block.
        own: (C, width), of CBOW: the output vectors of the centres.
    """

    left: NDArray[np.float32]
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
        across: float32, L of a group transposed, (width, padded).
        scores: float32, of some rows of R, (rows, padded), or of all centres themselves.
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
    columns = padded(shape.centres // shape.groups)
    likely = shape.centres if shape.cbow else shape.span * columns
    unlikely = shape.groups * min(TILE, shape.noise) * columns
    weights = (np.zeros(size, np.float32) for size in (likely, unlikely))
    return Block(centres, around, noise, low, high, *weights, shape.groups)


def make_rows(shape: Shape, width: int) -> Rows:
    """Memory for the vectors of a block."""
    noise = shape.groups * shape.noise
    rows = (noise, shape.span, shape.centres) if shape.cbow else (shape.span + noise, 0, 0)
    return Rows(*(np.zeros((n, width), np.float32) for n in (shape.centres, *rows)))


@compiled
def padded(members: int) -> int:
    """Columns of the scores of a group of so many centres."""
    return -(-members // COLUMNS) * COLUMNS


@compiled
def choose(words: Any, reach: Any, first: int, cbow: bool, k: Any, block: Any) -> int:
    """Fill the block that starts at `first`, but for its noise; returns the number of its predictions."""
    length, centres, span = len(words), len(block.centres), len(block.around)
    members, drawn = centres // block.groups, len(block.noise) // block.groups
    window, columns = (span - centres) // 2, padded(members)
    ratio = k / np.float32(drawn)
    tall = len(block.unlikely) // (block.groups * columns)
    for r in range(span):
        place = first - window + r
        block.around[r] = words[place] if 0 <= place < length else _NOWHERE
    block.likely[:] = _ZERO
    block.unlikely[:] = _ZERO
    predictions = 0
    for c in range(centres):
        own = own_place(block, c)
        place = first + own - window
        low, high = own, own
        block.centres[c] = _NOWHERE
        if place < length:
            block.centres[c] = words[place]
            low = max(0, place - reach[place]) - first + window
            high = min(length - 1, place + reach[place]) - first + window
        block.low[c], block.high[c] = low, high
        count = min(high - low, 1) if cbow else high - low
        predictions += count
        if cbow:
            block.likely[c] = np.float32(count)
        else:
            for r in range(low, high + 1):
                block.likely[r * columns + c] = _ONE if r != own else _ZERO
        start = c // members * tall * columns + c % members
        for r in range(tall):
            block.unlikely[start + r * columns] = ratio * np.float32(count)
    return predictions


@compiled
def part_of(block: Any, centres: int, cbow: bool) -> Any:
    """The part of a block for the last centres of a document: smaller groups, as many as possible, with less noise.

    Fewer members share fewer noise words, by the square root: in proportion, chance would count for more.
    """
    most, drawn = len(block.centres) // block.groups, len(block.noise) // block.groups
    span = len(block.around) - len(block.centres)
    members = -(-centres // block.groups)
    groups = -(-centres // members)
    drawn = int(np.ceil(drawn * np.sqrt(members / most)))
    size, columns = groups * members, padded(members)
    span += size
    likely = size if cbow else span * columns
    return Block(
        block.centres[:size], block.around[:span], block.noise[: groups * drawn], block.low[:size], block.high[:size],
        block.likely[:likely], block.unlikely[: groups * min(TILE, drawn) * columns], groups,
    )  # fmt: skip


@compiled
def rows_of(block: Any, cbow: bool, rows: Any) -> Any:
    """The rows that a block, or a part of one, needs."""
    centres, span, noise = len(block.centres), len(block.around), len(block.noise)
    right = noise if cbow else noise + span
    return Rows(rows.left[:centres], rows.right[:right], rows.around[:span], rows.own[:centres])


@compiled
def own_place(block: Any, c: int) -> int:
    """Where centre c stands in `around`."""
    centres = len(block.centres)
    members = centres // block.groups
    place: int = c % members * block.groups + c // members + (len(block.around) - centres) // 2
    return place
