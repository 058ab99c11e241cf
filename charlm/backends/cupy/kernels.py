"""Kernels of the GPU, each one pass over its arrays. CuPy compiles a kernel at its first call.

Inside a kernel `T` is the precision of its arrays; scalars are of that type or 32-bit integers.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cupy
import numpy as np

from charlm.backends.base import Array, Number, complement
from charlm.backends.cupy.raw import ROOT, SOFTMAX, SQUARES

_THREADS = 256  # threads of a block that sums
_BLOCKS = 256  # blocks that sum a long vector: two for each multiprocessor of a large GPU
# Threads of a block of softmax: columns, and threads that share the rows of a column. A large vocabulary has few
# columns at a time, so narrow blocks spread them over all multiprocessors.
_FEW_ROWS, _MANY_ROWS = (32, 8), (8, 64)
_MANY = 512  # rows above which blocks are narrow


@cache
def one_hot() -> Any:
    """out [T, V, B] = 1 where ids [T, B] are v; arguments ids, V, B, out."""
    body = "out = ids[i / (V * batch) * batch + i % batch] == (int)(i / batch % V)"
    return cupy.ElementwiseKernel("raw int32 ids, int32 V, int32 batch", "T out", body, "one_hot")


@cache
def lookup() -> Any:
    """out [T, D, B] = table [V, D] at ids [T, B], 0 where an id is -1; arguments table, ids, D, B, out."""
    body = """
    const int id = ids[i / (D * batch) * batch + i % batch];
    const ptrdiff_t at[] = {id < 0 ? 0 : id, i / batch % D};
    out = id < 0 ? T(0) : table[at]"""
    return cupy.ElementwiseKernel(
        "raw T table, raw int32 ids, int32 D, int32 batch", "T out", body, "lookup", no_return=True
    )


@cache
def lookup_grad() -> Any:
    """table_grad[row] += the columns of d_out [T, D, B] in order[begin : end], in this order.

    Arguments d_out, order, row, begin and end [n, D], D, B, table_grad.
    """
    body = """
    T sum = 0;
    for (int j = begin; j < end; j++) {
      const ptrdiff_t at[] = {order[j] / batch, i % D, order[j] % batch};
      sum += d_out[at];
    }
    const ptrdiff_t to[] = {row, i % D};
    table_grad[to] += sum"""
    given = "raw T d_out, raw int32 order, int32 row, int32 begin, int32 end, int32 D, int32 batch"
    return cupy.ElementwiseKernel(given, "raw T table_grad", body, "lookup_grad", no_return=True)


@cache
def move_columns() -> Any:
    """out[to_step, r, to_lane] = x[step, r, lane] for r < rows; arguments x, the four ids [n, rows], rows, out."""
    body = """
    const ptrdiff_t at[] = {step, i % rows, lane}, to[] = {to_step, i % rows, to_lane};
    out[to] = x[at]"""
    ids = "int32 step, int32 lane, int32 to_step, int32 to_lane"
    return cupy.ElementwiseKernel(f"raw T x, {ids}, int32 rows", "raw T out", body, "move_columns", no_return=True)


@cache
def sigmoid() -> Any:
    """x = sigma(x) = (1 + tanh(x/2)) / 2."""
    return cupy.ElementwiseKernel("", "T x", "x = T(0.5) * (T(1) + tanh(T(0.5) * x))", "sigmoid", no_return=True)


def dropout(x: Array, out: Array, *, rate: float, key: int) -> None:
    """Zero elements by the hash of `NumpyBackend.dropout`, bit for bit."""
    threshold = int(min(rate * 2.0**32, 2.0**32 - 1))
    first, second = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    _dropout()(x, first, second, threshold, 1.0 / (1.0 - rate), out)


@cache
def _dropout() -> Any:
    mixed = """
    bits ^= bits >> 16; bits *= 0x7feb352du; bits ^= bits >> 15; bits *= 0x846ca68bu; bits ^= bits >> 16;"""
    body = f"""
    unsigned bits = (unsigned)i ^ first; {mixed}
    bits ^= second; {mixed}
    out = x * (bits >= threshold ? kept : T(0))"""
    scalars = "uint32 first, uint32 second, uint32 threshold, T kept"
    return cupy.ElementwiseKernel(f"T x, {scalars}", "T out", body, "dropout", no_return=True)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    learning_rate: float,
    count: int,
    scale: Number | None,
    betas: tuple[float, float],
) -> None:
    """Take a step of `Backend.adam` on vectors [n]; g is not changed."""
    (b1, b2), (rest1, rest2) = betas, map(complement, betas)
    root = math.sqrt(1.0 - b2**count)
    rates = 1e-8 * root, learning_rate * root / (1.0 - b1**count)
    _adam()(g, 1.0 if scale is None else scale, *rates, b1, rest1, b2, rest2, w, m, v)


@cache
def _adam() -> Any:
    body = """
    const T scaled = g * scale;
    v = v * b2 + scaled * scaled * rest2;
    m = m * b1 + scaled * rest1;
    w -= m / (sqrt(v) + tiny) * rate"""
    scalars = "T scale, T tiny, T rate, T b1, T rest1, T b2, T rest2"
    return cupy.ElementwiseKernel(f"T g, {scalars}", "T w, T m, T v", body, "adam", no_return=True)


def cross_entropy(logits: Array, targets: Array, scale: float) -> Array:
    """Return L = -ln softmax(logits)[target] of each column, float64 [N]; 0 where a target [N] is -1.

    logits [V, N]: overwritten with scale dL/dlogits
    """
    nats = cupy.empty(targets.shape, "float64")
    _softmax(logits, targets, nats, scale)
    return nats


def softmax(logits: Array) -> None:
    """Turn `logits [V, N]` into log-probabilities, in place."""
    nothing = cupy.empty((1,), "int32"), cupy.empty((1,), "float64")
    _softmax(logits, *nothing, None)


def _softmax(logits: Array, targets: Array, nats: Array, scale: float | None) -> None:
    V, N = logits.shape
    if not N:
        return
    row, column = (stride // logits.itemsize for stride in logits.strides)
    if column != 1 and N > 1:
        raise ValueError(f"the columns of the logits are not contiguous: strides {logits.strides}")
    real = logits.dtype.type
    numbers = (np.int32(V), np.int32(N), np.int64(row), real(0.0 if scale is None else scale), np.int32(scale is None))
    block = _MANY_ROWS if V > _MANY else _FEW_ROWS
    _softmax_kernel(block, logits.dtype)((-(-N // block[0]),), block, (logits, targets, nats, *numbers))


@cache
def _softmax_kernel(block: tuple[int, int], dtype: Any) -> Any:
    columns, rows = map(str, block)
    name = f"softmax_{rows}_{_letters(dtype)}"
    source = SOFTMAX.replace("COLUMNS", columns).replace("ROWS", rows).replace("REAL", _letters(dtype))
    return cupy.RawKernel(source, name)


def norm(vector: Array) -> Number:
    """Return the Euclidean norm of a flat vector [n], float64 []."""
    blocks = min(_BLOCKS, max(1, -(-vector.size // _THREADS)))
    if vector.size and vector.strides[0] != vector.itemsize:
        raise ValueError(f"the vector is not contiguous: strides {vector.strides}")
    sums = cupy.empty((blocks,), "float64")
    _raw(SQUARES, "squares", vector.dtype)((blocks,), (_THREADS,), (vector, sums, np.int64(vector.size)))
    out = cupy.empty((), "float64")
    _raw(ROOT, "root", sums.dtype)((1,), (_THREADS,), (sums, out, np.int64(blocks)))
    return out


@cache
def clipping() -> Any:
    """factor [] = the factor that scales a vector of norm [] down to norm `most`, or 1."""
    body = "factor = norm > most ? most / norm : 1.0"
    return cupy.ElementwiseKernel("float64 norm, float64 most", "T factor", body, "clipping", no_return=True)


@cache
def _raw(source: str, name: str, dtype: Any) -> Any:
    return cupy.RawKernel(source.replace("REAL", _letters(dtype)), f"{name}_{_letters(dtype)}")


def _letters(dtype: Any) -> str:
    return {"float32": "float", "float64": "double"}[str(dtype)]
