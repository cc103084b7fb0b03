"""Products of small matrices, beside numpy's."""

from __future__ import annotations

import numpy as np
import pytest

RANDOM = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("columns", [8, 16, 24, 40, 104])
@pytest.mark.parametrize("rows", [0, 1, 7, 16, 27])
def test_products_are_numpys(rows: int, columns: int, add: bool) -> None:
    from zen_pipeline.embeddings.products import multiply

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
