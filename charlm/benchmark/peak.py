"""The most arithmetic that this machine does in a second: what a peak share is counted against."""

from __future__ import annotations

import ctypes
import time

import numpy as np

from charlm.backends import Backend, NumpyBackend
from charlm.backends.compiled.core import suffix_of
from charlm.backends.compiled.library import Library, fastest_library
from charlm.backends.workers import Workers

_PRODUCTS = (512, 1024, 2048, 3072, 4096)  # sizes of the square matrices that are multiplied
_LONG_ENOUGH = 0.01  # seconds of a run of the core's loop; waking up a thread takes a few hundredths of a millisecond


def best_rate(ops: Backend, dtype: str, seconds: float) -> float:
    """Return the most operations a second that the workers of a backend reach in this precision.

    It is the rate of BLAS' fastest square product or, if that is higher, of the compiled core's register-blocked loop.
    A product of the core may be faster than BLAS' squares. In bfloat16 the squares are those of the backend.

    seconds: spent on each size of squares, and on the loop, at most
    """
    if not isinstance(ops, NumpyBackend):
        return best_product(ops, dtype, seconds)
    # The variable CHARLM_CORE does not change the peak of a machine.
    blas, library = NumpyBackend(), fastest_library()
    if dtype == "bfloat16":
        square = best_product(ops.in_precision(dtype), "float32", seconds)
        has_loop = library is not None and library.bfloat16 != ""
    else:
        with blas.workers.limit(ops.workers.count):
            square = best_product(blas, dtype, seconds)
        has_loop = library is not None
    return max(square, core_rate(library, ops.workers, dtype, seconds)) if library and has_loop else square


def best_product(ops: Backend, dtype: str, seconds: float) -> float:
    """Return the operations a second of the fastest square matrix product: 2 n^3 operations for n rows and columns.

    seconds: spent on each size at most, except for two products; a product that takes longer ends the search
    """
    best, took = 0.0, 0.0
    rng = np.random.default_rng(1)
    for size in _PRODUCTS:
        if took > seconds:
            break
        a, b = (ops.array(rng.standard_normal((size, size)), dtype) for _ in range(2))
        out = ops.empty((size, size), dtype)
        ops.matmul(a, b, out=out)
        took, begin = float("inf"), time.perf_counter()
        while took == float("inf") or time.perf_counter() - begin < seconds:
            started = time.perf_counter()
            ops.matmul(a, b, out=out)
            took = min(took, time.perf_counter() - started)
        best = max(best, 2.0 * size**3 / took)
    return best


def core_rate(library: Library, workers: Workers, dtype: str, seconds: float) -> float:
    """Return the operations a second of the compiled core's loop, which all workers run at the same time.

    library: of the core: `core_peak(rounds)` does `core_peak_operations()` operations in each round
    seconds: spent at most, except for one run and for finding out how many rounds last long enough to be timed
    """
    suffix = suffix_of(library, dtype)
    loop, of_round = (getattr(library, f"core_{name}_{suffix}") for name in ("peak", "peak_operations"))
    loop.argtypes, loop.restype = [ctypes.c_long], ctypes.c_double
    of_round.argtypes, of_round.restype = [], ctypes.c_long

    def time_of(rounds: int) -> float:
        started = time.perf_counter()
        workers.each(lambda _: loop(rounds), range(workers.count))
        return time.perf_counter() - started

    rounds = 1
    while time_of(rounds) < _LONG_ENOUGH:
        rounds *= 2
    best, begin = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - begin < seconds:
        best = min(best, time_of(rounds))
    return float(of_round()) * rounds * workers.count / best
