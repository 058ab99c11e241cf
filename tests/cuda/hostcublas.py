"""Stands for cuBLAS: reads and writes matrices at the addresses, in the order and at the distances that it is told."""

from types import ModuleType, SimpleNamespace

import numpy as np

HANDLE = "handle"


def _matrix(pointer, rows, columns, stride, kind):
    """Look at a matrix as cuBLAS does: columns one after the other, `stride` numbers apart."""
    assert stride >= max(1, rows), "the leading dimension is smaller than a column"
    number = {"shape": (rows, columns), "strides": (kind.itemsize, stride * kind.itemsize)}
    data = {"data": (pointer, False), "typestr": kind.str, "version": 3, **number}
    return np.asarray(SimpleNamespace(__array_interface__=data))


def _gemm(kind, count):
    kind = np.dtype(kind)

    def multiply(handle, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        """C = alpha op(A) op(B) + beta C."""
        assert handle == HANDLE and min(m, n, k) > 0
        one, other = (_matrix(pointer, 1, 1, 1, kind)[0, 0] for pointer in (alpha, beta))
        left = _matrix(a, *((k, m) if trans_a else (m, k)), lda, kind)
        right = _matrix(b, *((n, k) if trans_b else (k, n)), ldb, kind)
        out = _matrix(c, m, n, ldc, kind)
        assert not (np.may_share_memory(left, out) or np.may_share_memory(right, out)) or not (
            np.shares_memory(left, out) or np.shares_memory(right, out)
        ), "a product whose result lies in a factor"
        product = one * ((left.T if trans_a else left) @ (right.T if trans_b else right))
        out[...] = product if other == 0 else product + other * out

    def gemm(*arguments):
        count("products")
        multiply(*arguments)

    def batched(handle, trans_a, trans_b, m, n, k, alpha, a, lda, step_a, b, ldb, step_b, beta, c, ldc, step_c, steps):
        count("products")
        for i in range(steps):
            at = [pointer + i * step * kind.itemsize for pointer, step in ((a, step_a), (b, step_b), (c, step_c))]
            multiply(handle, trans_a, trans_b, m, n, k, alpha, at[0], lda, at[1], ldb, beta, at[2], ldc)

    return gemm, batched


def module(count):
    """Make the module of CuPy's that calls cuBLAS, with the functions that we use; count: called for each product."""
    cublas = ModuleType("cupy_backends.cuda.libs.cublas")
    cublas.sgemm, cublas.sgemmStridedBatched = _gemm(np.float32, count)
    cublas.dgemm, cublas.dgemmStridedBatched = _gemm(np.float64, count)
    cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T = 0, 1
    return cublas
