"""The compiled arithmetic of Word2Vec with negative sampling: blocks of centre words, as small matrix products.

Objectives, for a group of centre words i of a document, their context words C(i) with weights w_ij, and N noise words
that the group shares (Ji et al. 2016 share them within one window), with x the input vectors, y the output vectors, s
the logistic function, k noise words per prediction and W_i the sum of the w_ij:

- skip-gram (Mikolov et al. 2013, equation 4): the sum over i, j in C(i) of -w_ij log s(x_i . y_j), and over i and the
  noise words n of W_i k / N times -log s(-x_i . y_n). The original program draws a window's width from 1 … w; the
  objective is a sum over its words, so here w_ij is the chance that a window reaches them, (w + 1 - distance) / w;
- CBOW, with h_i the mean of x_j, j in C(i), within a drawn width: the sum over i of -log s(h_i . y_i) and over i, n of
  k / N times -log s(-h_i . y_n). As in the original program the step of h_i is added to every context word without
  dividing it by their number, so that a word's own step is |C(i)| times the gradient's (İrsoy, Benton and Stratos 2021
  divide it).

The weights make the expectation that of k noise words drawn for every prediction. A block of C neighbouring centres is
one step, all gradients at the same parameters. CBOW's blocks consist of several groups that alternate: neighbours have
nearly the same context, so the same noise words would move that context the same way several times. The last block of
a document is as small as its words allow.

Most of the work is three products for each group, whose operands stay in the nearest cache levels: with L = its x_i or
h_i and R = its noise (and for skip-gram context) vectors, the scores S = R L^T; with E = -rate dLoss/dS, E^T R and E L.
R is taken some rows at a time.

Lanes take turns at the vectors: lane 0, lane 1, … and again. Each has documents of its own. In its turn it adds the
step of its last block and copies the vectors that the next one needs; between turns it works on these copies. So with L
lanes a block sees the steps of all earlier blocks but the last L - 1, whoever computes it and when: one thread for all
lanes, and a thread for each, make the same bits.

Random numbers follow from (key, position): nothing depends on time or on who asks first. This module imports numba:
import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zen_pipeline.embeddings.compiled import (
    cached,
    compiled,
    load_acquire,
    mix,
    prefetch,
    store_release,
    yield_processor,
)
from zen_pipeline.embeddings.products import multiply, transpose
from zen_pipeline.embeddings.word2vec_blocks import TILE, choose, padded, part_of, rows_of
from zen_pipeline.embeddings.word2vec_draws import sample_document, sample_noise

_LOSS_EVERY = 32  # the loss is taken on every 32nd block: logarithms are dear
_CACHE_LINE = 16  # float32
_SPINS = 4096  # looks at another thread's counter, a few microseconds, before the processor is given away
_LINE = 8  # int64 in a cache line, so that the threads' counters do not share one
_FINISHED = 1 << 62  # turns of a lane that needs no more
_NOISE_KEY = np.uint64(0xBF58476D1CE4E5B9)
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)


@compiled
def logistic(x: Any) -> Any:
    """1 / (1 + e^-x) in float32, by arithmetic alone so that it vectorizes; largest error 1e-5.

    The continued fraction of tanh (Lambert), cut after its ninth term. The clamps pass NaN on.
    """
    h = _HALF * x
    if h > np.float32(7.0):
        h = np.float32(7.0)
    if h < np.float32(-7.0):
        h = np.float32(-7.0)
    q = h * h
    top = h * (np.float32(34459425) + q * (np.float32(4729725) + q * (np.float32(135135) + q * (np.float32(990) + q))))
    bottom = np.float32(34459425) + q * (
        np.float32(16216200) + q * (np.float32(945945) + q * (np.float32(13860) + q * np.float32(45)))
    )
    t = top / bottom
    if t > _ONE:
        t = _ONE
    if t < -_ONE:
        t = -_ONE
    return _HALF + _HALF * t


# --- one block --------------------------------------------------------------------------------------------------------


@compiled
def gather(table: Any, words: Any, rows: Any) -> None:
    """Rows (n, width) = the vectors of the words (n,), zero where there is none."""
    for i in range(len(words)):
        w = words[i]
        if w >= 0:
            for t in range(table.shape[1]):
                rows[i, t] = table[w, t]
        else:
            rows[i] = _ZERO


@compiled
def fetch(table: Any, words: Any) -> None:
    """Have the vectors of the words (n,) brought nearer while something else is computed."""
    for i in range(len(words)):
        if words[i] >= 0:
            for t in range(0, table.shape[1], _CACHE_LINE):
                prefetch(table, words[i], t)


@compiled
def scatter_add(table: Any, words: Any, rows: Any) -> None:
    """Add rows (n, width) to the vectors of the words (n,); a word may occur twice."""
    for i in range(len(words)):
        w = words[i]
        if w >= 0:
            for t in range(table.shape[1]):
                table[w, t] += rows[i, t]


@compiled
def sides(block: Any, cbow: bool, rows: Any, left: Any) -> Any:
    """Words and rows of the input vectors, words and rows of the output vectors, and rows of the noise."""
    predicted = len(rows.right) - len(block.noise)
    noise = rows.right[predicted:]
    if cbow:
        return block.around, rows.around, block.centres, rows.own, noise
    return block.centres, left, block.around, rows.right[:predicted], noise


@compiled
def take(inputs: Any, outputs: Any, block: Any, cbow: bool, rows: Any) -> None:
    """Copy what the block works on from `inputs` and `outputs` (words, width)."""
    input_words, input_rows, output_words, output_rows, noise_rows = sides(block, cbow, rows, rows.left)
    gather(inputs, input_words, input_rows)
    gather(outputs, output_words, output_rows)
    gather(outputs, block.noise, noise_rows)


@compiled
def add(inputs: Any, outputs: Any, block: Any, cbow: bool, rows: Any) -> None:
    """Add the steps that stand in the rows to `inputs` and `outputs`."""
    input_words, input_rows, output_words, output_rows, noise_rows = sides(block, cbow, rows, rows.left_steps)
    scatter_add(inputs, input_words, input_rows)
    scatter_add(outputs, output_words, output_rows)
    scatter_add(outputs, block.noise, noise_rows)


@compiled
def compute(block: Any, cbow: bool, rate: Any, want_loss: bool, rows: Any, scratch: Any) -> float:
    """The block's steps, in the place of its rows; returns its loss, 0 unless wanted."""
    groups, width = block.groups, rows.left.shape[1]
    members, height = len(rows.left) // groups, len(rows.right) // groups
    columns = padded(members)
    contexts = 0 if cbow else len(block.around)  # the first rows of R
    across = scratch.across[: width * columns].reshape((width, columns))
    noise_weights = block.noise_weights.reshape((groups, -1))
    loss = 0.0
    if cbow:
        average(block, rows.around, rows.left)
        loss += compare_own(block, rate, want_loss, rows, scratch.scores)
    for g in range(groups):
        left, left_steps = rows.left[g::groups], rows.left_steps[g::groups]
        transpose(left, across)
        first = 0
        while first < height:
            likely = first < contexts
            last = min(first + TILE, contexts if likely else height)
            right = rows.right[g * height + first : g * height + last]
            flat = scratch.scores[: len(right) * columns]
            scores = flat.reshape((len(right), columns))
            weights = block.near[first * columns :] if likely else noise_weights[g]
            multiply(right, across, scores, False)
            loss += find_errors(flat, weights, likely, rate, want_loss)
            multiply(scores.T[:members], right, left_steps, cbow or first > 0)
            multiply(scores[:, :members], left, right, False)
            first = last
    if cbow:
        spread(block, rows.left_steps, rows.around)
    return loss


@compiled
def average(block: Any, around: Any, means: Any) -> None:
    """means (C, width) = of each centre the mean of its context's vectors, about zero without context.

    By the running sums of `around` (span, width), which take its place: the same work however wide the windows are.
    """
    width, before = around.shape[1], len(around) - len(means)
    add_up(around)
    for c in range(len(means)):
        low, high, own = block.low[c], block.high[c], before // 2 + c
        share = _ONE / np.float32(max(high - low, 1))
        for t in range(width):
            means[c, t] = share * ((around[high, t] - around[own, t]) + around[own - 1, t])
        if low > 0:
            for t in range(width):
                means[c, t] -= share * around[low - 1, t]


@compiled
def spread(block: Any, steps: Any, around: Any) -> None:
    """around (span, width) = the sum of the steps (C, width) of all centres in whose context a place is.

    The other way round: a step is added where its window begins and taken away behind it, then sums run over both.
    """
    width, before = around.shape[1], len(around) - len(steps)
    for r in range(len(around)):
        around[r] = _ZERO
    for c in range(len(steps)):
        low, high = block.low[c], block.high[c]
        for t in range(width):
            around[low, t] += steps[c, t]
        if high + 1 < len(around):
            for t in range(width):
                around[high + 1, t] -= steps[c, t]
    add_up(around)
    for c in range(len(steps)):
        for t in range(width):
            around[before // 2 + c, t] -= steps[c, t]


@compiled
def add_up(rows: Any) -> None:
    """Each of the rows (n, width) becomes the sum of itself and all before it."""
    for r in range(1, len(rows)):
        for t in range(rows.shape[1]):
            rows[r, t] += rows[r - 1, t]


@compiled
def compare_own(block: Any, rate: Any, want_loss: bool, rows: Any, scores: Any) -> float:
    """CBOW's steps from the scores of the centres themselves; returns their loss, 0 unless wanted."""
    left, own = rows.left, rows.own
    for c in range(len(left)):
        s = _ZERO
        for t in range(left.shape[1]):
            s += left[c, t] * own[c, t]
        scores[c] = s
    loss: float = find_errors(scores[: len(left)], block.predictions, True, rate, want_loss)
    for c in range(len(left)):
        for t in range(left.shape[1]):
            rows.left_steps[c, t] = scores[c] * own[c, t]
            own[c, t] = scores[c] * left[c, t]
    return loss


@compiled
def find_errors(scores: Any, weights: Any, likely: bool, rate: Any, want_loss: bool) -> float:
    """E in the place of the scores (n,), by the first n weights; returns the loss, 0 unless wanted."""
    loss = 0.0
    if want_loss:
        for q in range(len(scores)):
            if weights[q] > _ZERO:  # others have scores of columns that nobody wrote
                loss += weights[q] * np.logaddexp(0.0, -scores[q] if likely else scores[q])
    target = _ONE if likely else _ZERO
    for q in range(len(scores)):
        scores[q] = rate * weights[q] * (target - logistic(scores[q]))
    return loss


# --- documents --------------------------------------------------------------------------------------------------------


def make_turns(lanes: int) -> NDArray[np.int64]:
    """`turns` of `train`."""
    return np.zeros(lanes * _LINE, np.int64)


@cached()
def train(
    inputs: Any, outputs: Any, ids: Any, starts: Any, ends: Any, keep: Any, ends_of_noise: Any, guide: Any, key: Any,
    window: int, k: Any, rate: float, final_rate: float, done: Any, total: int, cbow: bool, lanes: int,
    own_lanes: Any, turns: Any, documents: Any, blocks: Any, rows: Any, scratch: Any, losses: Any,
) -> None:  # fmt: skip
    """Train on some documents, lane l on documents l, l + lanes, …; changes `inputs` and `outputs` in place.

    Args:
        inputs: (words, width) float32, width a multiple of `COLUMNS`.
        outputs: the same.
        ids: word ids of the corpus, int32.
        starts: first position of each document in `ids`, int64.
        ends: position after its last word, int64.
        keep: (words,) uint64, share of the occurrences that survive the subsampling, times 2^32.
        ends_of_noise: from `word2vec.noise_table`, as is the following.
        guide: where to begin in it.
        key: uint64 of (seed, epoch).
        window: largest distance of a context word.
        k: noise words per prediction, float32.
        rate: learning rate at the first word; it falls linearly with the words done.
        final_rate: lowest learning rate.
        done: for each document the words of the training before it, int64.
        total: words of the whole training.
        cbow: its objective instead of skip-gram's.
        lanes: their number.
        own_lanes: int64, those that this thread computes; other threads must compute the rest at the same time.
        turns: from `make_turns`, shared by these threads: how many turns each lane had.
        documents: (own lanes, 2, longest document) int64, scratch of this thread, as are the following.
        blocks: two or more for each own lane, from `make_block`.
        rows: one or more for each own lane, from `make_rows`.
        scratch: from `make_scratch`.
        losses: (own lanes, 2) float64; added to it, from every 32nd block: the loss and the predictions in it.
    """
    noise_key = mix(key ^ _NOISE_KEY)
    most = len(blocks[0].centres)
    at = own_lanes.copy()  # each lane's document, that of its next block
    first = np.zeros(len(own_lanes), np.int64)  # that block's first centre
    kept = np.full(len(own_lanes), -1, np.int64)  # the words of its document, -1 before they are drawn
    predictions = np.zeros((2, len(own_lanes)))
    centres = np.ones((2, len(own_lanes)), np.int64)
    rates = np.zeros((2, len(own_lanes)), np.float32)
    finished = np.zeros(len(own_lanes), np.bool_)
    drawn = np.zeros(len(own_lanes), np.int64)
    for n in range(len(own_lanes)):  # for each word a call draws at most a block's noise, so calls do not overlap
        drawn[n] = done[own_lanes[n]] * len(blocks[0].noise) if own_lanes[n] < len(done) else 0
    turn = -1
    while not finished.all():
        now, then = turn % 2, (turn + 1) % 2
        for n in range(len(own_lanes)):
            if finished[n]:
                continue
            block = part_of(blocks[2 * n + now], centres[now, n])
            following = part_of(blocks[2 * n + then], centres[then, n])  # so far the one before
            if turn >= 0:
                await_turn(turn, own_lanes[n], len(own_lanes), turns)
                if turn > 0:
                    add(inputs, outputs, following, cbow, rows_of(following, cbow, rows[n]))
                if predictions[now, n] == 0:
                    store_release(turns, own_lanes[n] * _LINE, _FINISHED)
                    finished[n] = True
                    continue
                take(inputs, outputs, block, cbow, rows_of(block, cbow, rows[n]))
                store_release(turns, own_lanes[n] * _LINE, turn + 1)
            while at[n] < len(starts) and (kept[n] < 0 or first[n] >= kept[n]):
                if kept[n] >= 0:
                    at[n] += lanes
                if at[n] < len(starts):
                    d = at[n]
                    words, reach = documents[n, 0], documents[n, 1]
                    found = sample_document(ids, starts[d], ends[d], keep, key, window, words, reach)
                    kept[n], first[n] = found if found > 1 else 0, 0
            predictions[then, n] = 0
            if at[n] < len(starts):
                d = at[n]
                words, reach = documents[n, 0, : kept[n]], documents[n, 1, : kept[n]]
                centres[then, n] = min(most, kept[n] - first[n])
                following = part_of(blocks[2 * n + then], centres[then, n])
                predictions[then, n] = choose(words, reach, first[n], cbow, k, following)
                sample_noise(ends_of_noise, guide, mix(noise_key + np.uint64(own_lanes[n])), drawn[n], following.noise)
                drawn[n] += len(following.noise)
                fetch(inputs, following.around if cbow else following.centres)
                fetch(outputs, following.centres if cbow else following.around)
                fetch(outputs, following.noise)
                progress = (done[d] + (ends[d] - starts[d]) * first[n] / kept[n]) / total
                rates[then, n] = max(final_rate, rate * (1.0 - progress))
                first[n] += most
            if turn >= 0:
                wanted = turn % _LOSS_EVERY == 0
                loss = compute(block, cbow, rates[now, n], wanted, rows_of(block, cbow, rows[n]), scratch)
                if wanted:
                    losses[n, 0] += loss
                    losses[n, 1] += predictions[now, n]
        turn += 1


@compiled
def await_turn(turn: int, lane: int, own_lanes: int, turns: Any) -> None:
    """Wait until the lanes before this one had this turn, and those behind it the one before."""
    for other in range(len(turns) // _LINE):
        spins = 0
        while own_lanes * _LINE < len(turns) and load_acquire(turns, other * _LINE) < turn + (other < lane):
            spins += 1
            if spins > _SPINS:
                yield_processor()
