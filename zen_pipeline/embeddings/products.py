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

# Of a result with so many rows, or a multiple, all are computed at full speed.
ROWS = 8

# A tile is `_TALL` by two vectors: enough sums to hide the time of a multiplication, and no more than registers.
_LANES, _TALL = (16, 8) if get_host_cpu_features().get("avx512f") else (8, 4)

_FLOAT, _INDEX, _BYTES = ir.FloatType(), ir.IntType(64), ir.IntType(8).as_pointer()
_SIZE = 4  # bytes of a float32


def _tile(rows: int, vectors: int, lanes: int) -> Any:
    """The product for `rows` rows and `vectors * lanes` columns of the result, as a function of compiled code."""
    vector = ir.VectorType(_FLOAT, lanes)

    def typed(_typing: Any, a: Any, b: Any, c: Any, _row: Any, _column: Any, _add: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            row, column, add = arguments[3:]
            matrices = [
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
            ]
            strides = [cgutils.unpack_tuple(builder, matrix.strides) for matrix in matrices]
            depth = cgutils.unpack_tuple(builder, matrices[0].shape)[1]
            (a_down, a_along), (b_down, _), (c_down, _) = strides

            def shifted(place: Any, *terms: tuple[Any, Any]) -> Any:
                return _shifted(builder, place, *terms)

            def constant(number: int) -> Any:
                return ir.Constant(_INDEX, number)

            def at(place: Any, v: int) -> Any:  # the v-th vector from there
                return builder.bitcast(shifted(place, (constant(v), constant(lanes * _SIZE))), vector.as_pointer())

            left = shifted(matrices[0].data, (row, a_down))
            right = shifted(matrices[1].data, (column, constant(_SIZE)))
            result = shifted(matrices[2].data, (row, c_down), (column, constant(_SIZE)))
            targets = [[at(shifted(result, (constant(r), c_down)), v) for v in range(vectors)] for r in range(rows)]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
            each = [(r, v) for r in range(rows) for v in range(vectors)]
            for r, v in each:
                builder.store(ir.Constant(vector, None), sums[r][v])
            with builder.if_then(add):
                for r, v in each:
                    builder.store(builder.load(targets[r][v], align=_SIZE), sums[r][v])
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f32"
            )
            nothing = ir.Constant(vector, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            with cgutils.for_range(builder, depth) as loop:
                down, along = shifted(right, (loop.index, b_down)), shifted(left, (loop.index, a_along))
                factors = [builder.load(at(down, v), align=_SIZE) for v in range(vectors)]
                for r in range(rows):
                    place = builder.bitcast(shifted(along, (constant(r), a_down)), _FLOAT.as_pointer())
                    one = builder.insert_element(nothing, builder.load(place, align=_SIZE), constant(0))
                    spread = builder.shuffle_vector(one, nothing, first_lane)
                    for v in range(vectors):
                        added = builder.call(multiply_add, [spread, factors[v], builder.load(sums[r][v])])
                        builder.store(added, sums[r][v])
            for r, v in each:
                builder.store(builder.load(sums[r][v]), targets[r][v], align=_SIZE)
            return context.get_dummy_value()

        return types.void(a, b, c, types.intp, types.intp, types.boolean), generate

    decorate: Callable[[Any], Any] = intrinsic
    return decorate(typed)


def _square() -> Any:
    """The transpose of `COLUMNS` rows and columns, as a function of compiled code."""
    vector = ir.VectorType(_FLOAT, COLUMNS)

    def typed(_typing: Any, source: Any, target: Any, _row: Any, _column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            places = []
            for kind, value, at in zip(signature.args, arguments, (arguments[2:], arguments[:1:-1]), strict=False):
                matrix = context.make_array(kind)(context, builder, value)
                down, along = cgutils.unpack_tuple(builder, matrix.strides)
                place = _shifted(builder, matrix.data, (at[0], down), (at[1], along))
                places.append([
                    builder.bitcast(_shifted(builder, place, (ir.Constant(_INDEX, i), down)), vector.as_pointer())
                    for i in range(COLUMNS)
                ])  # fmt: skip
            rows = [builder.load(place, align=_SIZE) for place in places[0]]
            for step in (1, 2, 4):  # exchange the squares of this size beside the diagonal
                for i in (i for i in range(COLUMNS) if not i & step):
                    pair = rows[i], rows[i + step]
                    upper = [j if not j & step else COLUMNS + j - step for j in range(COLUMNS)]
                    lower = [j + step if not j & step else COLUMNS + j for j in range(COLUMNS)]
                    for row, lanes in ((i, upper), (i + step, lower)):
                        mask = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), lanes)
                        rows[row] = builder.shuffle_vector(*pair, mask)
            for place, row in zip(places[1], rows, strict=True):
                builder.store(row, place, align=_SIZE)
            return context.get_dummy_value()

        return types.void(source, target, types.intp, types.intp), generate

    decorate: Callable[[Any], Any] = intrinsic
    return decorate(typed)


def _shifted(builder: Any, place: Any, *terms: tuple[Any, Any]) -> Any:
    """A place in memory, so many strides of bytes further."""
    for number, stride in terms:
        place = builder.gep(builder.bitcast(place, _BYTES), [builder.mul(number, stride)])
    return place


_transpose_square = _square()
_wide, _wide_row = _tile(_TALL, 2, _LANES), _tile(1, 2, _LANES)
_narrow, _narrow_row = _tile(ROWS, 1, _LANES), _tile(1, 1, _LANES)
_least, _least_row = _tile(ROWS, 1, COLUMNS), _tile(1, 1, COLUMNS)


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
        while row < len(c):
            _narrow_row(a, b, c, row, column, add)
            row += 1
        column += _LANES
    while _LANES > COLUMNS and columns - column >= COLUMNS:
        row = 0
        while row + ROWS <= len(c):
            _least(a, b, c, row, column, add)
            row += ROWS
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
