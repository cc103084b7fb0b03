"""Products of small float32 matrices that lie in the nearest cache levels.

A BLAS packs its operands before it multiplies, and for a few dozen rows takes about twice as long as this, or longer
(`benchmarks/products.py`). Here the sums of a small tile of the result stay in registers while the tile's rows and
columns are read where they lie (Goto and van de Geijn 2008, without the packing). numba and llvmlite have no register
tiles, so LLVM's instructions are written out; LLVM chooses the machine's. The order of every sum is fixed: one kind of
machine, the same bits.

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.core.errors import TypingError

from zen_pipeline.embeddings.compiled import compiled, instructions

# The columns of a result are a multiple of this.
COLUMNS = 8

_FLOAT, _LANE = ir.FloatType(), ir.IntType(32)
_SIZE = 4  # bytes of a float32


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


def _check(*matrices: Any) -> None:
    """While compiling.

    Raises:
        TypingError: one is no matrix of float32.
    """
    for kind in matrices:
        if getattr(kind, "ndim", None) != 2 or kind.dtype != types.float32:
            raise TypingError(f"products are of float32 matrices, not of {kind}: convert it")


def _following(builder: Any, first: Any, count: int, step: int = 1) -> list[Any]:
    """The numbers first, first + step, …"""
    return [builder.add(first, ir.Constant(first.type, i * step)) for i in range(count)]


def _tile(rows: int, vectors: int, lanes: int) -> Any:
    """The product for `rows` rows and `vectors * lanes` columns of the result, as a function of compiled code."""
    kind = ir.VectorType(_FLOAT, lanes)
    nothing, first_lane = ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_LANE, lanes), [0] * lanes)

    def typed(_typing: Any, a: Any, b: Any, c: Any, _row: Any, _column: Any, _add: Any) -> Any:
        _check(a, b, c)

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

    return instructions(typed)


@instructions
def _transpose_square(_typing: Any, source: Any, target: Any, _row: Any, _column: Any) -> Any:
    """target[column + i, row + j] = source[row + j, column + i] for i and j below `COLUMNS`."""
    _check(source, target)
    kind = ir.VectorType(_FLOAT, COLUMNS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrices = [_Matrix(context, builder, signature.args[i], arguments[i]) for i in range(2)]
        row, column = arguments[2:]
        places = [
            [matrix.vector(down, along, kind) for down in _following(builder, first, COLUMNS)]
            for matrix, first, along in zip(matrices, (row, column), (column, row), strict=True)
        ]
        rows = [builder.load(place, align=_SIZE) for place in places[0]]
        for size in (1, 2, 4):  # exchange the squares of this size next to the diagonal
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


def _strip(rows: int, vectors: int, lanes: int) -> Any:
    """The product for `vectors * lanes` columns of the result, so many rows at a time, then half of them, then one."""
    half_of_them = rows // 2
    whole, half, one = (_tile(number, vectors, lanes) for number in (rows, half_of_them, 1))

    @compiled
    def strip(a: Any, b: Any, c: Any, column: int, add: bool) -> None:
        row = 0
        while row + rows <= len(c):
            whole(a, b, c, row, column, add)
            row += rows
        if row + half_of_them <= len(c):
            half(a, b, c, row, column, add)
            row += half_of_them
        while row < len(c):
            one(a, b, c, row, column, add)
            row += 1

    return strip


def product(rows: int, lanes: int) -> Any:
    """`multiply` for a processor with vectors of so many lanes, and registers for tiles of `rows` by two vectors."""
    wide, narrow, least = _strip(rows, 2, lanes), _strip(8, 1, lanes), _strip(8, 1, COLUMNS)

    @compiled
    def multiply(a: Any, b: Any, c: Any, add: bool) -> None:
        """c = a b, or c += a b.

        Args:
            a: (m, k) float32, any strides.
            b: (k, n or more) float32, the elements of a row one after the other.
            c: (m, n) float32, likewise, in memory of its own; n a multiple of `COLUMNS`.
            add: to what c holds.
        """
        column, columns = 0, c.shape[1]
        while columns - column >= 2 * lanes:
            wide(a, b, c, column, add)
            column += 2 * lanes
        while columns - column >= lanes:
            narrow(a, b, c, column, add)
            column += lanes
        while lanes > COLUMNS and columns - column >= COLUMNS:
            least(a, b, c, column, add)
            column += COLUMNS

    return multiply


# (rows, lanes): enough sums in a tile to hide the time of a multiplication, within 32 registers or 16.
TILES = {"avx512": (8, 16), "other": (4, 8)}
multiply = product(*TILES["avx512" if get_host_cpu_features().get("avx512f") else "other"])


@compiled
def transpose(rows: Any, across: Any) -> None:
    """The first n columns of `across` (width, n or more) = the rows (n, width), width a multiple of `COLUMNS`.

    Both float32, the elements of a row one after the other.
    """
    squares = len(rows) // COLUMNS * COLUMNS
    for c in range(0, squares, COLUMNS):
        for t in range(0, rows.shape[1], COLUMNS):
            _transpose_square(rows, across, c, t)
    for t in range(rows.shape[1]):
        for c in range(squares, len(rows)):
            across[t, c] = rows[c, t]
