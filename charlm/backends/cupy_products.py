"""Products of matrices by cuBLAS, which takes any rows that lie a fixed distance apart.

`cupy.matmul` copies blocks of columns, time slices and results that are no whole array before it multiplies; called
directly, cuBLAS reads and writes them where they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from charlm.backends.base import Array


class _Operand(NamedTuple):
    """A matrix as cuBLAS is told of it: where it begins, the distance of its columns, and whether they are our rows."""

    pointer: int
    stride: int
    by_rows: bool


class Products:
    """The handle of cuBLAS and its functions; raises ImportError where the library is missing."""

    def __init__(self) -> None:
        from cupy_backends.cuda.libs import cublas

        self._cublas = cublas
        self._ops = (cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T)
        # In the host's memory, and for as long as there are products: cuBLAS gets the addresses of 1 and 0.
        self._numbers = {kind: np.array([1, 0], kind) for kind in ("float32", "float64")}
        self._handle = cupy.cuda.device.get_cublas_handle

    def multiply(self, a: Array, b: Array, out: Array) -> None:
        """Write `a @ b` to `out`; `[m, k] @ [k, n]`, or `[m, k] @ [T, k, n]`. `out` shares no memory.

        Raises TypeError for other arrays than the device's or of several precisions, and ValueError where shapes do not
        fit or neither rows nor columns are contiguous.
        """
        for array in (a, b, out):
            if not isinstance(array, cupy.ndarray) or array.dtype != out.dtype:
                raise TypeError(f"Unsupported type {type(array)} {getattr(array, 'dtype', '')} in a product")
        (m, k), n = a.shape, b.shape[-1]
        if b.shape[-2] != k or out.shape != (*b.shape[:-2], m, n):
            raise ValueError(f"no product: {a.shape} @ {b.shape} -> {out.shape}")
        if not out.size:
            return
        if not k:
            out[...] = 0
            return
        kind = str(out.dtype)
        numbers = self._numbers[kind].ctypes.data
        one, zero, letter = numbers, numbers + out.itemsize, "s" if kind == "float32" else "d"
        steps = b.ndim == 3
        left, right, to = _operand(a), _operand(b[0] if steps else b), _operand(out[0] if steps else out)
        if not to.by_rows:  # the product of the transposed matrices is the transposed product
            left, right, m, n = _transposed(right), _transposed(left), n, m
            to = _transposed(to)
        # cuBLAS counts a matrix column by column: what it calls out is our out^T = b^T a^T.
        ops = self._ops[not right.by_rows], self._ops[not left.by_rows]
        if not steps:
            gemm: Any = getattr(self._cublas, f"{letter}gemm")
            pairs = (right.pointer, right.stride), (left.pointer, left.stride), (to.pointer, to.stride)
            gemm(self._handle(), *ops, n, m, k, one, *pairs[0], *pairs[1], zero, *pairs[2])
            return
        if not _operand(out[0]).by_rows:
            raise ValueError("the steps of a product are to lie row by row")
        of_b, of_out = b.strides[0] // b.itemsize, out.strides[0] // out.itemsize
        many: Any = getattr(self._cublas, f"{letter}gemmStridedBatched")
        b_args, a_args = (right.pointer, right.stride, of_b), (left.pointer, left.stride, 0)
        many(self._handle(), *ops, n, m, k, one, *b_args, *a_args, zero, to.pointer, to.stride, of_out, len(b))


def _operand(matrix: Array) -> _Operand:
    """Describe a matrix; the distance of rows of which there is but one is free, and cuBLAS wants it large enough."""
    rows, columns = matrix.shape
    item = matrix.itemsize
    down, along = (stride // item for stride in matrix.strides)
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return _Operand(int(matrix.data.ptr), max(columns, down if rows > 1 else 1), by_rows=True)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return _Operand(int(matrix.data.ptr), max(rows, along if columns > 1 else 1), by_rows=False)
    raise ValueError(f"neither rows nor columns are contiguous: shape {matrix.shape}, strides {matrix.strides}")


def _transposed(operand: _Operand) -> _Operand:
    return operand._replace(by_rows=not operand.by_rows)
