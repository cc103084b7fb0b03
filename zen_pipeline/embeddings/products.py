"""Products of small float32 matrices that lie in the nearest cache levels.

A BLAS packs its operands before it multiplies, which for a few dozen rows takes longer than the product itself. Here
the sums of a small tile of the result stay in registers while the tile's rows and columns are read where they lie
(Goto and van de Geijn 2008, without the packing). numba and llvmlite have no register tiles, so LLVM's instructions are
written out; LLVM chooses the machine's. The order of every sum is fixed: one kind of machine, the same bits.

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

from zen_pipeline.embeddings.compiled import compiled

# The columns of a result are a multiple of this.
COLUMNS = 8

# Of a result with so many rows, or a multiple, all are computed at full speed; with multiples of its half, nearly so.
ROWS = 8

# A tile is `_TALL` by two vectors: enough sums to hide the time of a multiplication, and no more than registers.
_LANES, _TALL = (16, 8) if get_host_cpu_features().get("avx512f") else (8, 4)

_FLOAT, _LANE = ir.FloatType(), ir.IntType(32)
_SIZE = 4  # bytes of a float32

_instructions: Callable[[Any], Any] = intrinsic  # its types are not known outside numba


class _Matrix:
    """An array of float32 that compiled code was given, and where its elements lie."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder, self._data = builder, builder.bitcast(array.data, ir.IntType(8).as_pointer())
        self._down, self._along = cgutils.unpack_tuple(builder, array.strides)
        self.columns = cgutils.unpack_tuple(builder, array.shape)[1]

    def element(self, row: Any, column: Any) -> Any:
        """A pointer to it."""
        return self._place(row, self._builder.mul(column, self._along), _FLOAT)

    def vector(self, row: Any, column: Any, kind: ir.VectorType) -> Any:
        """A pointer to that element and those behind it, which lie one after the other."""
        return self._place(row, self._builder.mul(column, ir.Constant(column.type, _SIZE)), kind)

    def _place(self, row: Any, along: Any, kind: Any) -> Any:
        down = self._builder.mul(row, self._down)
        return self._builder.bitcast(self._builder.gep(self._data, [self._builder.add(down, along)]), kind.as_pointer())


def _following(builder: Any, first: Any, count: int, step: int = 1) -> list[Any]:
    """The numbers first, first + step, …"""
    return [builder.add(first, ir.Constant(first.type, i * step)) for i in range(count)]


def _tile(rows: int, vectors: int, lanes: int) -> Any:
    """The product for `rows` rows and `vectors * lanes` columns of the result, as a function of compiled code."""
    kind = ir.VectorType(_FLOAT, lanes)
    nothing, first_lane = ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_LANE, lanes), [0] * lanes)

    def typed(_typing: Any, a: Any, b: Any, c: Any, _row: Any, _column: Any, _add: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            left, right, result = (_Matrix(context, builder, signature.args[i], arguments[i]) for i in range(3))
            downs = _following(builder, arguments[3], rows)
            alongs = _following(builder, arguments[4], vectors, lanes)
            targets = [[result.vector(down, along, kind) for along in alongs] for down in downs]
            sums = [[cgutils.alloca_once(builder, kind) for _ in alongs] for _ in downs]  # LLVM gives them registers
            each = [(r, v) for r in range(rows) for v in range(vectors)]
            for r, v in each:
                builder.store(ir.Constant(kind, None), sums[r][v])
            with builder.if_then(arguments[5]):
                for r, v in each:
                    builder.store(builder.load(targets[r][v], align=_SIZE), sums[r][v])
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{lanes}f32"
            )
            with cgutils.for_range(builder, left.columns) as loop:
                factors = [builder.load(right.vector(loop.index, along, kind), align=_SIZE) for along in alongs]
                for r, down in enumerate(downs):
                    one = builder.load(left.element(down, loop.index), align=_SIZE)
                    spread = builder.shuffle_vector(
                        builder.insert_element(nothing, one, ir.Constant(_LANE, 0)), nothing, first_lane
                    )
                    for v, factor in enumerate(factors):
                        added = builder.call(multiply_add, [spread, factor, builder.load(sums[r][v])])
                        builder.store(added, sums[r][v])
            for r, v in each:
                builder.store(builder.load(sums[r][v]), targets[r][v], align=_SIZE)
            return context.get_dummy_value()

        return types.void(a, b, c, types.intp, types.intp, types.boolean), generate

    return _instructions(typed)


@_instructions
def _transpose_square(_typing: Any, source: Any, target: Any, _row: Any, _column: Any) -> Any:
    """target[column + i, row + j] = source[row + j, column + i] for i and j below `COLUMNS`."""
    kind = ir.VectorType(_FLOAT, COLUMNS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrices = [_Matrix(context, builder, signature.args[i], arguments[i]) for i in range(2)]
        row, column = arguments[2:]
        places = [
            [matrix.vector(down, along, kind) for down in _following(builder, first, COLUMNS)]
            for matrix, first, along in zip(matrices, (row, column), (column, row), strict=True)
        ]
        rows = [builder.load(place, align=_SIZE) for place in places[0]]
        for size in (1, 2, 4):  # exchange the squares of this size that lie beside the diagonal
            upper = [j if not j & size else COLUMNS + j - size for j in range(COLUMNS)]
            lower = [j + size if not j & size else COLUMNS + j for j in range(COLUMNS)]
            masks = [ir.Constant(ir.VectorType(_LANE, COLUMNS), lanes) for lanes in (upper, lower)]
            for i in (i for i in range(COLUMNS) if not i & size):
                pair = rows[i], rows[i + size]
                rows[i], rows[i + size] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for place, one in zip(places[1], rows, strict=True):
            builder.store(one, place, align=_SIZE)
        return context.get_dummy_value()

    return types.void(source, target, types.intp, types.intp), generate


# By the columns of a tile: all rows at once, then half of them, then one.
_wide, _wide_row = _tile(_TALL, 2, _LANES), _tile(1, 2, _LANES)
_narrow, _narrow_half, _narrow_row = (_tile(rows, 1, _LANES) for rows in (ROWS, ROWS // 2, 1))
_least, _least_half, _least_row = (_tile(rows, 1, COLUMNS) for rows in (ROWS, ROWS // 2, 1))


@compiled
def multiply(a: Any, b: Any, c: Any, add: bool) -> None:
    """c = a b, or c += a b.

    Args:
        a: (m, k) float32, any strides.
        b: (k, n or more) float32, the elements of a row one after the other.
        c: (m, n) float32, likewise; n a multiple of `COLUMNS`.
        add: to what c holds.
    """
    column, columns = 0, c.shape[1]
    while columns - column >= 2 * _LANES:
        row = 0
        while row + _TALL <= len(c):
            _wide(a, b, c, row, column, add)
            row += _TALL
        while row < len(c):
            _wide_row(a, b, c, row, column, add)
            row += 1
        column += 2 * _LANES
    while columns - column >= _LANES:
        row = 0
        while row + ROWS <= len(c):
            _narrow(a, b, c, row, column, add)
            row += ROWS
        if row + ROWS // 2 <= len(c):
            _narrow_half(a, b, c, row, column, add)
            row += ROWS // 2
        while row < len(c):
            _narrow_row(a, b, c, row, column, add)
            row += 1
        column += _LANES
    while _LANES > COLUMNS and columns - column >= COLUMNS:
        row = 0
        while row + ROWS <= len(c):
            _least(a, b, c, row, column, add)
            row += ROWS
        if row + ROWS // 2 <= len(c):
            _least_half(a, b, c, row, column, add)
            row += ROWS // 2
        while row < len(c):
            _least_row(a, b, c, row, column, add)
            row += 1
        column += COLUMNS


@compiled
def transpose(rows: Any, across: Any) -> None:
    """The first n columns of `across` (width, n or more) = the rows (n, width), both float32 with rows in one piece."""
    squares = len(rows) // COLUMNS * COLUMNS
    for c in range(0, squares, COLUMNS):
        for t in range(0, rows.shape[1], COLUMNS):
            _transpose_square(rows, across, c, t)
    for t in range(rows.shape[1]):
        for c in range(squares, len(rows)):
            across[t, c] = rows[c, t]
