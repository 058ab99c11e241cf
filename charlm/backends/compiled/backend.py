"""The backend of a processor with a compiled core."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from charlm.backends.base import BETAS, AffineLayer, Array, Backend, Shape, complement
from charlm.backends.compiled.core import Functions, Product, aligned, rows_of, strides
from charlm.backends.compiled.library import Library
from charlm.backends.compiled.scan import SCANS
from charlm.backends.compiled.stream import CompiledStream
from charlm.backends.numpy_backend import NumpyBackend
from charlm.backends.pool import Pool

_LINE = 16  # float32 numbers in a line of the cache
_WORTH_SHARING = 1 << 22  # operations: a thread takes longer to wake up than for fewer
_ELEMENTS_WORTH_SHARING = 1 << 19  # of pointwise work
_EXPONENTIAL = 8  # elements whose pointwise work takes as long as e^x
_FEWEST_ROWS = 32  # with fewer rows, packing the other operand takes longer than OpenBLAS' whole product
_SQUARES = 1 << 14  # elements whose squares are summed in one precision


class CompiledBackend(NumpyBackend):
    """NumPy arrays, batch first in memory, and the operations of the compiled core, shared out among threads.

    The result of an operation has the same bytes for any number of threads.
    """

    batch_first = True
    scans = SCANS

    def __init__(self, library: Library) -> None:
        self.library, self.core = library, library.core
        self.workers = Pool()
        self._cores = {np.dtype(name): Functions(library, name) for name in ("float32", "float64")}
        self._scratch = threading.local()

    def in_precision(self, dtype: str) -> Backend:
        if dtype == "bfloat16" and self.library.bfloat16:
            ops = Bfloat16Backend(self.library)
            ops.workers = self.workers
            return ops
        return super().in_precision(dtype)

    def core_of(self, dtype: Any) -> Functions:
        """Return the core's functions for a precision."""
        return self._cores[np.dtype(dtype)]

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return aligned(math.prod(shape), dtype).reshape(shape)

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        return aligned(math.prod(shape), dtype, np.zeros).reshape(shape)

    def row_stride(self, width: int) -> int:
        # Whole lines, so that the rows begin at one; an odd number of them spreads a column over the cache.
        lines = -(-width // _LINE)
        return width if width < _LINE else (lines | 1 if lines >= _LINE else lines) * _LINE

    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        fits = b.ndim == 2 and a.shape[1] == len(b) and out.shape == (len(a), b.shape[1])
        if not fits or not out.size or not a.dtype == b.dtype == out.dtype:
            self._numpy_matmul(a, b, out, add)
            return
        if out.strides[1] != out.itemsize:
            a, b, out = b.T, a.T, out.T
        (M, K), N = a.shape, b.shape[1]
        if out.strides[1] != out.itemsize or M < _FEWEST_ROWS or N < _LINE:
            self._numpy_matmul(a, b, out, add)
            return
        if a.itemsize not in a.strides:  # the kernels read contiguous rows or contiguous columns
            a = np.ascontiguousarray(a)
        by_rows = a.strides[1] == a.itemsize
        parts = self.workers.count if 2 * M * N * K >= _WORTH_SHARING else 1
        vectors = -(-N // _LINE)
        shares_columns = parts > 1 and (vectors >= 4 * parts if by_rows else N > M)
        core, item, (b_row, b_column), ldo = self.core_of(out.dtype), out.itemsize, strides(b), strides(out)[0]
        left, right, result = (a.ctypes.data, *strides(a)), b.ctypes.data, out.ctypes.data
        edges = [(vectors if shares_columns else M) * part // parts for part in range(parts + 1)]
        products = []
        for first, end in pairwise(edges):
            # Complete before the work begins: threads wait for each other while they are in Python.
            at, width = (first * _LINE, min(N, end * _LINE) - first * _LINE) if shares_columns else (0, N)
            b_part = (right + at * b_column * item, b_row, b_column)
            product = Product(M, width, K, *left, *b_part, result + at * item, ldo, add)
            products.append((product, *((0, M) if shares_columns else (first, end))))

        self.workers.each(lambda part: core.product(*part, self._scratch_of(core.product_scratch)), products)

    def _numpy_matmul(self, a: Array, b: Array, out: Array, add: bool) -> None:
        # On one thread: the bytes of NumPy's products depend on how they are divided.
        with self.workers.calling_thread_only():
            super().matmul(a, b, out=out, add=add)

    def one_hot_product(self, W: Array, ids: np.ndarray, *, x1: Array, out: Array) -> None:
        T, batch = ids.shape
        table = self._table(W.shape, W.dtype)
        table[...] = W.T
        table[:-1] += table[-1]  # the last row is b, the product of the zero vector
        self.lookup(table, self._or_last(ids, table), out=out.reshape(-1, T, batch).transpose(1, 0, 2))

    def one_hot_grad(self, dz: Array, ids: np.ndarray, *, x1: Array, out: Array, add: bool = False) -> None:
        T, batch = ids.shape
        table = self._table(out.shape, dz.dtype)
        table[...] = 0
        steps = dz.reshape(-1, T, batch).transpose(1, 0, 2)
        self.lookup_grad(steps, self._or_last(ids, table), table_grad=table)
        table[-1] = table.sum(axis=0)
        if add:
            out += table.T
        else:
            out[...] = table.T

    def _or_last(self, ids: np.ndarray, table: Array) -> np.ndarray:
        """Return ids of the rows of a table, the last one in place of -1."""
        last = len(table) - 1
        return np.where(ids < 0, last, self._ids(ids, last).reshape(ids.shape))

    def _table(self, shape: Shape, dtype: Any) -> Array:
        """Return a new array for the transpose of an array of this shape, padded rows."""
        return self.empty((shape[1], self.row_stride(shape[0])), dtype)[:, : shape[0]]

    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        rows = rows_of(out)
        if rows is None or table.strides[1] != table.itemsize:
            super().lookup(table, ids, out=out)
            return
        N, n = rows.shape
        flat, core = self._ids(ids, len(table)), self.core_of(out.dtype)
        where = (table.ctypes.data, strides(table)[0], flat.ctypes.data, rows.ctypes.data, strides(rows)[0], n)
        self._each_range(N, partial(core.lookup, *where), work=out.size)

    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        rows = rows_of(d_out)
        if rows is None or table_grad.strides[1] != table_grad.itemsize:
            super().lookup_grad(d_out, ids, table_grad=table_grad)
            return
        N, n = rows.shape
        flat, core = self._ids(ids, len(table_grad)), self.core_of(d_out.dtype)
        to = (table_grad.ctypes.data, strides(table_grad)[0])
        add = partial(core.lookup_grad, rows.ctypes.data, strides(rows)[0], flat.ctypes.data, N, *to)
        self._each_range(n, add, work=d_out.size, multiple=_LINE)

    def row_sums(self, x: Array, *, out: Array, add: bool = False) -> None:
        if x.strides[0] != x.itemsize or out.strides[0] != out.itemsize:
            super().row_sums(x, out=out, add=add)
            return
        core, (n, N) = self.core_of(x.dtype), x.shape
        sums = partial(core.column_sums, x.ctypes.data, strides(x)[1], N, out.ctypes.data, add)
        self._each_range(n, sums, work=x.size, multiple=_LINE)

    def cross_entropy(
        self, logits: Array, targets: np.ndarray, *, bias: Array | None = None, scale: float | None = None
    ) -> Array:
        if logits.strides[0] != logits.itemsize:
            return super().cross_entropy(logits, targets, bias=bias, scale=scale)
        V, N = logits.shape
        if targets.shape != (N,):
            raise ValueError(f"{targets.shape} targets for {N} columns")
        ids = self._ids(targets, V)
        losses, core = np.empty(N), self.core_of(logits.dtype)
        bias_row = None if bias is None else np.ascontiguousarray(bias, logits.dtype)
        where = (logits.ctypes.data, strides(logits)[1], V, None if bias_row is None else bias_row.ctypes.data)
        go = partial(core.cross_entropy, *where, ids.ctypes.data, scale or 0.0, losses.ctypes.data)
        self._each_range(N, go, work=_EXPONENTIAL * logits.size)
        return losses

    def losses(self, W: Array, x: Array, targets: np.ndarray, *, bias: Array, logits: Array) -> Array:
        (V, K), N, core = W.shape, x.shape[1], self.core_of(W.dtype)
        padded = -(-V // core.vector) * core.vector
        # The packed weights lie in the scratch.
        lie = padded * K <= logits.size and x.strides[0] == x.itemsize and logits.strides[0] == logits.itemsize
        fits = targets.shape == (N,) and len(x) == K and logits.shape == (V, N) and bias.shape == (V, 1)
        if not fits or not lie or N < _FEWEST_ROWS or core.deepest < K:
            return super().losses(W, x, targets, bias=bias, logits=logits)
        ids, found, padded_bias = self._ids(targets, V), np.empty(N), np.full(padded, -np.inf, W.dtype)
        padded_bias[:V] = bias[:, 0]
        product = Product(N, V, K, x.ctypes.data, *strides(x.T), W.ctypes.data, *strides(W.T))
        packed, rows = logits.ctypes.data, self.empty((N, 2 * core.vector + 1), W.dtype)
        parts = self.workers.count if V * K >= _ELEMENTS_WORTH_SHARING else 1
        self.workers.each(lambda part: core.pack_product(product, packed, part, parts), range(parts))
        where = (packed, padded_bias.ctypes.data, ids.ctypes.data, found.ctypes.data, rows.ctypes.data)
        self._each_range(N, partial(core.losses, product, *where), work=V * N)
        return found

    def adam(
        self,
        w: Array,
        g: Array,
        m: Array,
        v: Array,
        *,
        learning_rate: float,
        count: int,
        scale: float | None = None,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        (b1, b2), core = betas, self.core_of(w.dtype)
        root, arrays = math.sqrt(1.0 - b2**count), [array.ctypes.data for array in (w, g, m, v)]
        rate, tiny = learning_rate * root / (1.0 - b1**count), 1e-8 * root
        decays = (b1, complement(b1), b2, complement(b2))
        step = partial(core.adam, *arrays, 1.0 if scale is None else scale, rate, tiny, *decays)
        self._each_range(w.size, step, work=w.size, multiple=_LINE)

    def norm(self, vector: Array) -> float:
        core, parts = self.core_of(vector.dtype), np.empty(-(-vector.size // _SQUARES))
        squares = partial(core.squares, vector.ctypes.data, vector.size, _SQUARES, parts.ctypes.data)
        self._each_range(parts.size, squares, work=vector.size)
        total = float(parts.sum())
        return math.sqrt(total) if math.isfinite(total) else super().norm(vector)

    def dropout(self, x: Array, *, rate: float, key: int, out: Array) -> None:
        to = rows_of(out)
        if to is None:
            super().dropout(x, rate=rate, key=key, out=out)
            return
        T, n, batch = x.shape
        rows = rows_of(x)
        if rows is None:  # a layer that reads from the right returns its steps in the opposite order
            rows = np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(T * batch, n)
        threshold, core = int(min(rate * 2.0**32, 2.0**32 - 1)), self.core_of(x.dtype)
        arrays = (rows.ctypes.data, strides(rows)[0], to.ctypes.data, strides(to)[0], n, batch)
        mask = (key, threshold, 1.0 / (1.0 - rate))
        self._each_range(T * batch, partial(core.dropout, *arrays, *mask), work=x.size)

    def stream(self, table: Array, layers: Sequence[AffineLayer]) -> CompiledStream | None:
        if any(layer.cell is not None and layer.cell.name not in self.scans for layer in layers):
            return None
        return CompiledStream(self, table, layers)

    def _ids(self, ids: np.ndarray, size: int) -> np.ndarray:
        """Return ids as a vector; raise IndexError for an id beyond `size`, which the core does not check."""
        if ids.size and ids.max() >= size:
            raise IndexError(f"index {ids.max()} is out of bounds for size {size}")
        return np.ascontiguousarray(ids, np.int32).ravel()

    def _each_range(self, count: int, go: Callable[[int, int], Any], *, work: int, multiple: int = 1) -> None:
        """Call `go` with ranges that make up `range(count)`, one for each worker if there are elements enough.

        work: the elements that are worked on
        multiple: of which the edges are
        """
        parts = self.workers.count if work >= _ELEMENTS_WORTH_SHARING else 1
        edges = [min(count, -(-count * part // parts // multiple) * multiple) for part in range(parts + 1)]
        self.workers.each(lambda part: go(*part), pairwise(edges))

    def _scratch_of(self, nbytes: int) -> int:
        """Return the address of memory of the calling thread, whose contents are undefined."""
        own = self._scratch
        if getattr(own, "nbytes", 0) < nbytes:
            own.memory, own.nbytes = aligned(nbytes, np.uint8), nbytes
            own.address = own.memory.ctypes.data
        address: int = own.address
        return address


class Bfloat16Backend(CompiledBackend):
    """Products of bfloat16 numbers, which are added up in float32; everything else is in float32."""

    losses = Backend.losses  # that of the core multiplies float32 numbers

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        self.core = library.bfloat16
        self._cores[np.dtype("float32")] = Functions(library, "bfloat16")
