"""Matrix products by cuBLAS, for matrices whose rows or columns are contiguous.

`cupy.matmul` copies blocks of columns, time slices, and results that are part of an array. Called directly, cuBLAS
reads and writes them in place.
"""

from __future__ import annotations

from typing import NamedTuple

import cupy
import numpy as np

from charlm.backends.base import Array
from charlm.backends.cupy.blas import Blas


class _Operand(NamedTuple):
    """A matrix as cuBLAS sees it: the address, the distance of the columns, and whether these are rows of charlm."""

    pointer: int
    stride: int
    by_rows: bool


class Products:
    """Products by a handle of cuBLAS."""

    def __init__(self, blas: Blas) -> None:
        self._blas = blas
        # cuBLAS takes the addresses of 1 and 0 in the memory of the host, so this object owns them.
        self._numbers = {kind: np.array([1, 0], kind) for kind in "fd"}
        self._names = {"f": "cublasSgemm", "d": "cublasDgemm"}

    def multiply(self, a: Array, b: Array, out: Array, *, add: bool = False) -> None:
        """Write `a @ b` to `out`, or add it to `out`; see `Backend.matmul`.

        Raises TypeError for arrays of the host or of different precisions. Raises ValueError if the shapes do not fit
        or neither rows nor columns are contiguous.
        """
        for array in (a, b, out):
            if not isinstance(array, cupy.ndarray) or array.dtype != out.dtype:
                raise TypeError(f"unsupported array in a product: {type(array)} {getattr(array, 'dtype', '')}")
        (m, k), n = a.shape, b.shape[-1]
        if b.shape[-2] != k or out.shape != (*b.shape[:-2], m, n):
            raise ValueError(f"shapes do not fit: {a.shape} @ {b.shape} -> {out.shape}")
        if not out.size:
            return
        if not k:
            if not add:
                out[...] = 0
            return
        kind = out.dtype.char
        one = self._numbers[kind].ctypes.data
        share = one if add else one + out.itemsize  # the factor of what `out` contained
        steps = b.ndim == 3
        left, right, to = _operand(a), _operand(b[0] if steps else b), _operand(out[0] if steps else out)
        if not to.by_rows:  # the product of the transposed matrices is the transposed product
            left, right, m, n = _transposed(right), _transposed(left), n, m
            to = _transposed(to)
        # cuBLAS stores a matrix by columns, so it computes out^T = b^T a^T.
        ops = int(not right.by_rows), int(not left.by_rows)
        sizes = (*ops, n, m, k, one)
        if not steps:
            pairs = right.pointer, right.stride, left.pointer, left.stride
            self._blas.call(f"{self._names[kind]}_v2", *sizes, *pairs, share, to.pointer, to.stride)
            return
        if not _operand(out[0]).by_rows:
            raise ValueError("the steps of a product are not stored by rows")
        of_b, of_out = b.strides[0] // b.itemsize, out.strides[0] // out.itemsize
        factors = right.pointer, right.stride, of_b, left.pointer, left.stride, 0
        to_steps = to.pointer, to.stride, of_out, len(b)
        self._blas.call(f"{self._names[kind]}StridedBatched", *sizes, *factors, share, *to_steps)


def _operand(matrix: Array) -> _Operand:
    """Describe a matrix. The distance of a single row is free, and cuBLAS requires it to be at least the width."""
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
