"""Compilation with numba as this package uses it, and the few instructions that numba lacks.

This module imports numba: import it inside the function that trains.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# Sums may be taken in another order (so that they vectorize) and products fused, but NaN and infinities keep their
# meaning, so that a diverged training is recognised. The order is fixed by compilation: one machine, the same bits.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}

_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


def compiled(function: Any) -> Any:
    """Compile as part of the function that calls it."""
    return numba.njit(**_OPTIONS)(function)


def cached(**options: Any) -> Callable[[Any], Any]:
    """Compile at the first call and keep the machine code on disk (it is keyed by the file and the kind of CPU:
    after a change of this file or of another that the function calls, delete `__pycache__`).

    numba looks for a folder that it can write: next to the file, then the user's cache folder, or `NUMBA_CACHE_DIR`.
    Without any, the code is compiled in every process.
    """

    def decorate(function: Any) -> Any:
        chosen = {**_OPTIONS, **options}
        try:
            return numba.njit(cache=True, **chosen)(function)
        except RuntimeError:
            return numba.njit(**chosen)(function)

    return decorate


def on_disk(function: Any) -> bool:
    """True where a `cached` function was compiled before on this machine, so that its first call takes no seconds."""
    name = f"{function.py_func.__module__.rpartition('.')[2]}.{function.py_func.__qualname__}"
    return any(Path(function.stats.cache_path or os.devnull).glob(f"{name}-*.nbi"))


@compiled
def mix(value: Any) -> Any:
    """SplitMix64's output function (Steele et al. 2014): a bijection of uint64 with good avalanche."""
    value = (value ^ (value >> _S30)) * _MIX1
    value = (value ^ (value >> _S27)) * _MIX2
    return value ^ (value >> _S31)


# Such a function gets the types of its arguments, and returns a signature and what writes the instructions.
instructions: Callable[[Any], Any] = intrinsic


@instructions
def load_acquire(_typing: Any, array: Any, _index: Any) -> Any:
    """array[index] of an int64 array, read before whatever follows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _element(context, builder, signature, arguments)
        return builder.load_atomic(place, ordering="acquire", align=8)

    return types.int64(array, types.intp), generate


@instructions
def store_release(_typing: Any, array: Any, _index: Any, _value: Any) -> Any:
    """array[index] = value in an int64 array, written after whatever came before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _element(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], place, ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@instructions
def prefetch(_typing: Any, table: Any, _row: Any, _column: Any) -> Any:
    """Ask for the cache line of table[row, column], soon to be read and written; a hint that changes no value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        strides = cgutils.unpack_tuple(builder, array.strides)
        offset = builder.add(builder.mul(arguments[1], strides[0]), builder.mul(arguments[2], strides[1]))
        place = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [offset])
        integer = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, integer, integer, integer])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(hint, [place, integer(0), integer(2), integer(1)])  # for reading, into the second level, data
        return context.get_dummy_value()

    return types.void(table, types.intp, types.intp), generate


def _element(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())


# Give the processor to another thread; POSIX, looked up in the running process so that the code can be cached.
yield_processor = types.ExternalFunction("sched_yield", types.int32())
