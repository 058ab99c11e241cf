"""Stands for cuBLAS, as it is called from C: works on matrices where it is told that they are."""

import ctypes
from types import SimpleNamespace

import numpy as np

HANDLE = 1


def _matrix(pointer, rows, columns, stride, kind):
    """Look at a matrix as cuBLAS does: columns one after the other, `stride` numbers apart."""
    assert stride >= max(1, rows), "the leading dimension is smaller than a column"
    number = {"shape": (rows, columns), "strides": (kind.itemsize, stride * kind.itemsize)}
    data = {"data": (pointer, False), "typestr": kind.str, "version": 3, **number}
    return np.asarray(SimpleNamespace(__array_interface__=data))


def _gemm(kind):
    kind = np.dtype(kind)

    def multiply(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        """C = alpha op(A) op(B) + beta C."""
        assert min(m, n, k) > 0
        one, other = (_matrix(pointer, 1, 1, 1, kind)[0, 0] for pointer in (alpha, beta))
        left = _matrix(a, *((k, m) if trans_a else (m, k)), lda, kind)
        right = _matrix(b, *((n, k) if trans_b else (k, n)), ldb, kind)
        out = _matrix(c, m, n, ldc, kind)
        assert not (np.may_share_memory(left, out) or np.may_share_memory(right, out)) or not (
            np.shares_memory(left, out) or np.shares_memory(right, out)
        ), "a product whose result lies in a factor"
        product = one * ((left.T if trans_a else left) @ (right.T if trans_b else right))
        out[...] = product if other == 0 else product + other * out

    def batched(trans_a, trans_b, m, n, k, alpha, a, lda, step_a, b, ldb, step_b, beta, c, ldc, step_c, steps):
        for i in range(steps):
            at = [pointer + i * step * kind.itemsize for pointer, step in ((a, step_a), (b, step_b), (c, step_c))]
            multiply(trans_a, trans_b, m, n, k, alpha, at[0], lda, at[1], ldb, beta, at[2], ldc)

    return multiply, batched


class Library:
    """The functions that we call; each gives the status 0.

    product: called with each product, as a function, and with the stream that it is to follow
    """

    def __init__(self, product):
        self._stream, self._workspace, self._product, self.mode = None, None, product, 0
        for letter, kind in (("S", np.float32), ("D", np.float64)):
            for name, function in zip(("gemm_v2", "gemmStridedBatched"), _gemm(kind), strict=True):
                setattr(self, f"cublas{letter}{name}", self._called(function))

    def _called(self, function):
        def call(handle, *arguments):
            assert handle == HANDLE and all(type(one) is int for one in arguments), arguments
            assert self._workspace, "cuBLAS would take memory of its own"
            self._product(lambda: function(*arguments), self._stream)
            return 0

        return call

    def cublasCreate_v2(self, handle):
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = HANDLE
        return 0

    def cublasSetMathMode(self, handle, mode):
        self.mode = mode
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self._stream, self._workspace = stream, None
        return 0

    def cublasSetWorkspace_v2(self, handle, pointer, size):
        assert pointer % 256 == 0 or size == 0
        self._workspace = size
        return 0
