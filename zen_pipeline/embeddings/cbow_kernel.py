"""The compiled arithmetic of CBOW with negative sampling, in blocks of centre words.

Objective (Mikolov et al. 2013, "Efficient Estimation …"), for a block of centre words i with their context words C(i)
and `NOISE` noise words shared by the whole block:

    sum over i of  -log s(h_i . y_i)  +  k / NOISE * sum over n of -log s(-h_i . y_n),   h_i the mean of x_j, j in C(i)

The step is the gradient of this. The original program adds the gradient of h_i to every context word without dividing
it by their number, which makes the step longer for wide contexts (İrsoy, Benton and Stratos 2021).

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zen_pipeline.embeddings.skipgram_kernel import (
    CENTRES,
    NOISE,
    compiled,
    context_ranges,
    gather,
    logistic,
    noise_products,
    product,
    scatter_add,
)

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@compiled
def context_sums(rows: Any, lows: Any, highs: Any, own: int, n: int, means: Any) -> None:
    """Means (n, width) of the rows lows[i] … highs[i] without row own + i; zero where there are none."""
    means[:] = _ZERO
    for i in range(n):
        contexts = highs[i] - lows[i]
        if contexts:
            share = _ONE / np.float32(contexts)
            for r in range(lows[i], highs[i] + 1):
                if r != own + i:
                    for t in range(rows.shape[1]):
                        means[i, t] += rows[r, t]
            for t in range(rows.shape[1]):
                means[i, t] *= share


@compiled
def spread_steps(steps: Any, lows: Any, highs: Any, own: int, n: int, rows: Any) -> None:
    """Add to each row the steps of the means that it is part of: the transpose of `context_sums`."""
    for i in range(n):
        contexts = highs[i] - lows[i]
        if contexts:
            share = _ONE / np.float32(contexts)
            for r in range(lows[i], highs[i] + 1):
                if r != own + i:
                    for t in range(rows.shape[1]):
                        rows[r, t] += share * steps[i, t]


@compiled
def block_step(
    inputs: Any, outputs: Any, words: Any, reach: Any, first: int, noise_words: Any, k: Any, rate: Any,
    want_loss: bool, buffers: Any,
) -> Any:  # fmt: skip
    """One step of gradient descent on one block; arguments and result as of `skipgram_kernel.block_step`.

    What is counted, and what the loss is to be divided by, are the centre words that have a context.
    """
    h, dh, x, dx, noise, dnoise, g, g_transposed, lows, highs = buffers
    n, lowest, rows = context_ranges(reach, first, lows, highs)
    own = lows[CENTRES]
    gather(inputs, words, lowest, rows, x)
    gather(outputs, noise_words, 0, NOISE, noise)
    context_sums(x, lows, highs, own, n, h)

    noise_products(h, noise, g)
    loss = 0.0
    centres = 0
    for i in range(CENTRES):
        weight = _ZERO
        if i < n and highs[i] > lows[i]:
            weight = k / np.float32(NOISE)
            centres += 1
        if want_loss:
            for j in range(NOISE):
                loss += weight * np.logaddexp(0.0, g[i, j])
        for j in range(NOISE):
            g[i, j] = -rate * weight * logistic(g[i, j])
            g_transposed[j, i] = g[i, j]
    product(g, noise, dh)
    product(g_transposed, h, dnoise)
    for i in range(n):
        if highs[i] == lows[i]:
            continue
        w = words[first + i]
        s = _ZERO
        for t in range(h.shape[1]):
            s += h[i, t] * outputs[w, t]
        if want_loss:
            loss += np.logaddexp(0.0, -s)
        e = rate * logistic(-s)
        for t in range(h.shape[1]):
            dh[i, t] += e * outputs[w, t]
            h[i, t] *= e  # from here on the step of the centre's output vector
    dx[:rows] = _ZERO
    spread_steps(dh, lows, highs, own, n, dx)

    scatter_add(inputs, words, lowest, rows, dx)
    scatter_add(outputs, words, first, n, h)
    scatter_add(outputs, noise_words, 0, NOISE, dnoise)
    return loss, centres
