"""The compiled arithmetic of skip-gram with negative sampling, in blocks of centre words.

Objective (Mikolov et al. 2013, equation 4), for a block of up to `CENTRES` neighbouring centre words i, their context
words C(i), and `NOISE` noise words shared by the whole block (Ji et al. 2016 share them within one window):

    sum over i, j in C(i) of -log s(x_i . y_j)  +  sum over i of |C(i)| k / NOISE * sum over n of -log s(-x_i . y_n)

with x input vectors, y output vectors, s the logistic function and k noise words per pair. The weight makes the
expectation equal to that of k noise words drawn for every pair. One step per block, all its gradients taken at the same
parameters, so that the products with the noise words are small matrix products whose operands stay in the first
cache level.

The random numbers are a hash of (key, position): nothing depends on time or on who asks first.

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# More noise words or smaller blocks lower the held-out loss on WikiText-2 by less than 0.2 % and take much more time; a
# higher learning rate lowers it more and takes none (docs/experiments.md). A noise word's vector is moved by about
# 8 * 6 * 5 / 16 = 15 pairs at once.
CENTRES = 8
NOISE = 16

# Vectors are padded with zeros to a multiple of this, so that the inner loops have no remainder (64 bytes).
LANES = 16

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_LOW32 = np.uint64(0xFFFFFFFF)
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)

# Sums may be taken in another order (so that they vectorize) and products fused, but NaN and infinities keep their
# meaning, so that a diverged training is recognised. The order is fixed by compilation: one machine, the same bits.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}


def compiled(function: Any) -> Any:
    """Compile as part of the function that calls it."""
    return numba.njit(**_OPTIONS)(function)


def cached(function: Any) -> Any:
    """Compile at the first call and keep the machine code on disk (it is keyed by this file and the kind of CPU).

    numba looks for a folder that it can write: beside this file, then the user's cache folder, or `NUMBA_CACHE_DIR`.
    Without any, the code is compiled in every process.
    """
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return compiled(function)


@compiled
def mix(value: Any) -> Any:
    """SplitMix64's output function (Steele et al. 2014): a bijection of uint64 with good avalanche."""
    value = (value ^ (value >> _S30)) * _MIX1
    value = (value ^ (value >> _S27)) * _MIX2
    return value ^ (value >> _S31)


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


@compiled
def gather(matrix: Any, words: Any, first: int, count: int, rows: Any) -> None:
    """rows (count, width) = the vectors of words[first : first + count]."""
    for i in range(count):
        w = words[first + i]
        for t in range(matrix.shape[1]):
            rows[i, t] = matrix[w, t]


@compiled
def scatter_add(matrix: Any, words: Any, first: int, count: int, rows: Any) -> None:
    """Add rows (count, width) to the vectors of words[first : first + count]; a word may occur twice."""
    for i in range(count):
        w = words[first + i]
        for t in range(matrix.shape[1]):
            matrix[w, t] += rows[i, t]


@compiled
def noise_products(x: Any, noise: Any, scores: Any) -> None:
    """Scores (CENTRES, NOISE) = x (CENTRES, width) @ noise.T, four noise words for each pass over x."""
    for i in range(CENTRES):
        for j in range(0, NOISE, 4):
            a = b = c = d = _ZERO
            for t in range(x.shape[1]):
                v = x[i, t]
                a += v * noise[j, t]
                b += v * noise[j + 1, t]
                c += v * noise[j + 2, t]
                d += v * noise[j + 3, t]
            scores[i, j] = a
            scores[i, j + 1] = b
            scores[i, j + 2] = c
            scores[i, j + 3] = d


@compiled
def product(g: Any, rows: Any, result: Any) -> None:
    """Result (n, width) = g (n, m) @ rows (m, width), m a multiple of 4."""
    for i in range(g.shape[0]):
        for t in range(rows.shape[1]):
            result[i, t] = _ZERO
        for j in range(0, g.shape[1], 4):
            a, b, c, d = g[i, j], g[i, j + 1], g[i, j + 2], g[i, j + 3]
            for t in range(rows.shape[1]):
                result[i, t] += a * rows[j, t] + b * rows[j + 1, t] + c * rows[j + 2, t] + d * rows[j + 3, t]


@compiled
def context_steps(x: Any, y: Any, dx: Any, dy: Any, lows: Any, highs: Any, n: int, rate: Any, want_loss: bool) -> Any:
    """Add the steps of the pairs (centre, context) to dx and dy; returns their loss (0 unless wanted).

    Rows of y are the words lows[0], lows[0] + 1, ... of the document; the contexts of centre i are the rows of
    lows[i] up to highs[i] without its own, which is row own + i.
    """
    own = lows[CENTRES]
    loss = 0.0
    for i in range(n):
        for r in range(lows[i], highs[i] + 1):
            if r == own + i:
                continue
            s = _ZERO
            for t in range(x.shape[1]):
                s += x[i, t] * y[r, t]
            if want_loss:
                loss += np.logaddexp(0.0, -s)
            e = rate * logistic(-s)
            for t in range(x.shape[1]):
                dx[i, t] += e * y[r, t]
                dy[r, t] += e * x[i, t]
    return loss


@compiled
def make_buffers(width: int, window: int) -> Any:
    """Scratch for `block_step`: centres, contexts, noise vectors and their steps, scores, context ranges."""
    span = CENTRES + 2 * window
    return (
        np.zeros((CENTRES, width), np.float32),
        np.zeros((CENTRES, width), np.float32),
        np.zeros((span, width), np.float32),
        np.zeros((span, width), np.float32),
        np.zeros((NOISE, width), np.float32),
        np.zeros((NOISE, width), np.float32),
        np.zeros((CENTRES, NOISE), np.float32),
        np.zeros((NOISE, CENTRES), np.float32),
        np.zeros(CENTRES + 1, np.int64),
        np.zeros(CENTRES + 1, np.int64),
    )


@compiled
def context_ranges(reach: Any, first: int, lows: Any, highs: Any) -> Any:
    """Which words are contexts of the block that starts at `first`.

    Writes for each centre i the range of its contexts as rows lows[i] … highs[i], and to lows[CENTRES] the row of
    centre 0. Row 0 is the block's first context word.

    Returns:
        the number of centres, the position of row 0 in the document, and the number of rows.
    """
    length = len(reach)
    n = min(CENTRES, length - first)
    lowest, highest = length, 0
    for i in range(n):
        lows[i] = max(0, first + i - reach[first + i])
        highs[i] = min(length - 1, first + i + reach[first + i])
        lowest = min(lowest, lows[i])
        highest = max(highest, highs[i])
    for i in range(n):
        lows[i] -= lowest
        highs[i] -= lowest
    lows[CENTRES] = first - lowest
    return n, lowest, highest - lowest + 1


@compiled
def block_step(
    inputs: Any, outputs: Any, words: Any, reach: Any, first: int, noise_words: Any, k: Any, rate: Any,
    want_loss: bool, buffers: Any,
) -> Any:  # fmt: skip
    """One step of gradient descent on one block; changes `inputs` and `outputs` (words, width) in place.

    Args:
        inputs: input vectors, float32.
        outputs: output vectors, float32.
        words: one document's words, int64.
        reach: for each of them the distance up to which others are its contexts, int64.
        first: position of the block's first centre.
        noise_words: (NOISE,) int64.
        k: noise words per pair, float32.
        rate: learning rate, float32.
        want_loss: compute the loss before the step.
        buffers: from `make_buffers`.

    Returns:
        the loss, float64 (0 unless wanted), and the number of pairs.
    """
    x, dx, y, dy, noise, dnoise, g, g_transposed, lows, highs = buffers
    n, lowest, rows = context_ranges(reach, first, lows, highs)
    x[n:] = _ZERO
    dy[:rows] = _ZERO
    gather(inputs, words, first, n, x)
    gather(outputs, words, lowest, rows, y)
    gather(outputs, noise_words, 0, NOISE, noise)

    noise_products(x, noise, g)
    loss = 0.0
    pairs = 0
    for i in range(CENTRES):
        contexts = highs[i] - lows[i] if i < n else 0
        pairs += contexts
        weight = np.float32(contexts) * k / np.float32(NOISE)
        if want_loss:
            for j in range(NOISE):
                loss += weight * np.logaddexp(0.0, g[i, j])
        for j in range(NOISE):
            g[i, j] = -rate * weight * logistic(g[i, j])
            g_transposed[j, i] = g[i, j]
    product(g, noise, dx)
    product(g_transposed, x, dnoise)
    loss += context_steps(x, y, dx, dy, lows, highs, n, rate, want_loss)

    scatter_add(inputs, words, first, n, dx)
    scatter_add(outputs, words, lowest, rows, dy)
    scatter_add(outputs, noise_words, 0, NOISE, dnoise)
    return loss, pairs


@compiled
def sample_document(
    ids: Any, start: int, end: int, keep: Any, key: Any, window: int, words: Any, reach: Any
) -> int:  # fmt: skip
    """Write the words that survive the subsampling and their window sizes (uniform in 1 … window); returns how many."""
    kept = 0
    for p in range(start, end):
        r = mix(key + np.uint64(p) * _GOLDEN)
        if (r >> _S32) < keep[ids[p]]:
            words[kept] = ids[p]
            reach[kept] = np.int64((r & _LOW32) % np.uint64(window)) + 1
            kept += 1
    return kept


@compiled
def sample_noise(threshold: Any, alias: Any, key: Any, block: int, noise_words: Any) -> None:
    """Draw the noise words of one block by the alias method (Walker 1977), two 32-bit halves of one hash each."""
    vocabulary = np.uint64(len(alias))
    for j in range(NOISE):
        r = mix(key + np.uint64(block * NOISE + j) * _GOLDEN)
        slot = np.int64(((r >> _S32) * vocabulary) >> _S32)
        noise_words[j] = slot if (r & _LOW32) < threshold[slot] else alias[slot]
