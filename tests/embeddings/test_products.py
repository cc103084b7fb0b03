"""Products of small matrices, beside numpy's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def products() -> dict[str, Callable[..., None]]:
    from zen_pipeline.embeddings.products import TILES, product

    return {processor: product(*tile) for processor, tile in TILES.items()}


@pytest.fixture
def multiply(products: dict[str, Callable[..., None]], processor: str) -> Callable[..., None]:
    return products[processor]


def drawn(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("columns", [8, 16, 24, 40, 104])
@pytest.mark.parametrize("rows", [0, 1, 7, 16, 27])
@pytest.mark.parametrize("processor", ["avx512", "other"])  # LLVM makes any of it run anywhere
def test_products_are_numpys(multiply: Callable[..., None], rows: int, columns: int, add: bool) -> None:
    for depth in (0, 1, 13):
        a, b, c = drawn(rows, depth), drawn(depth, columns + 8), drawn(rows, columns)
        expected = a.astype(np.float64) @ b[:, :columns] + (c if add else 0)
        multiply(a, b, c, add)
        np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-5)


def test_operands_may_be_parts_of_others() -> None:
    from zen_pipeline.embeddings.products import multiply

    a, b, c = drawn(30, 20), drawn(60, 16), drawn(40, 32)
    before = c.copy()
    multiply(a.T[2:19, 3:], b[::2][3:], c[5:39:2, 8:24], False)
    np.testing.assert_allclose(c[5:39:2, 8:24], a.T[2:19, 3:] @ b[::2][3:], rtol=1e-4, atol=1e-5)
    before[5:39:2, 8:24] = c[5:39:2, 8:24]
    np.testing.assert_array_equal(c, before)  # nothing beside the result was written


@pytest.mark.parametrize("rows", [1, 8, 19])
def test_transposes_are_numpys(rows: int) -> None:
    from zen_pipeline.embeddings.products import transpose

    source, target = drawn(2 * rows, 40), np.zeros((40, 24), np.float32)
    transpose(source[1::2], target)
    np.testing.assert_array_equal(target[:, :rows], source[1::2].T)
    assert not target[:, rows:].any()


def test_other_numbers_are_refused() -> None:
    from numba.core.errors import TypingError

    from zen_pipeline.embeddings.products import multiply, transpose

    with pytest.raises(TypingError, match="float32 matrices"):
        multiply(drawn(8, 8).astype(np.float64), drawn(8, 8), drawn(8, 8), False)
    with pytest.raises(TypingError, match="float32 matrices"):
        transpose(drawn(8, 8), drawn(8, 8).astype(np.float16))
