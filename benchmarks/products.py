"""Word2Vec's small matrix products beside the BLAS that numba calls, in turn, on one thread.

    python benchmarks/products.py

The shapes are those of one block at 100 dimensions: scores, steps of the left and of the right vectors. Operands stay
in the nearest cache level, so these are the highest rates, not those of a training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from zen_pipeline.embeddings.products import multiply

SHAPES = {  # (rows, depth, columns); steps of the left vectors take the scores transposed
    "skip-gram, scores of 32 words": (32, 104, 16),
    "skip-gram, steps of 16 centres": (16, 32, 104),
    "skip-gram, steps of 32 words": (32, 16, 104),
    "CBOW, scores of 16 noise words": (16, 104, 8),
    "CBOW, steps of 8 means": (8, 16, 104),
    "CBOW, steps of 16 noise words": (16, 8, 104),
}


@numba.njit
def with_blas(a: Any, b: Any, c: Any, times: int) -> None:
    for _ in range(times):
        np.dot(a, b, c)


@numba.njit
def with_ours(a: Any, b: Any, c: Any, times: int) -> None:
    for _ in range(times):
        multiply(a, b, c, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=20_000, help="products of a round")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    print("| product | shape | ours, GFLOP/s | BLAS, GFLOP/s | ratio |\n|---|---|---|---|---|")
    with_blas(*(np.zeros((8, 8), np.float32) for _ in range(3)), 1)  # loads the BLAS, so that it can be limited
    with threadpool_limits(1):
        for name, (rows, depth, columns) in SHAPES.items():
            a = random.normal(size=(rows, depth)).astype(np.float32)
            a = np.asfortranarray(a) if "centres" in name or "means" in name else a
            b = random.normal(size=(depth, columns)).astype(np.float32)
            rates: dict[str, list[float]] = {"ours": [], "blas": []}
            for number in range(arguments.rounds + 1):
                for kind, product in (("ours", with_ours), ("blas", with_blas)):
                    c = np.zeros((rows, columns), np.float32)
                    began = time.perf_counter()
                    product(a, b, c, arguments.times)
                    if number:  # the first compiles
                        seconds = time.perf_counter() - began
                        rates[kind].append(2 * rows * depth * columns * arguments.times / seconds / 1e9)
            ours, blas = (statistics.median(rates[kind]) for kind in rates)
            print(
                f"| {name} | {rows} x {depth} x {columns} | {ours:.1f} | {blas:.1f} | {ours / blas:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
