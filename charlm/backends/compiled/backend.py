"""The backend of a processor with a compiled core."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from charlm.backends.base import AffineLayer, Array, Shape
from charlm.backends.compiled.core import Functions, Product, aligned, strides
from charlm.backends.compiled.scan import SCANS, Buffers
from charlm.backends.compiled.stream import CompiledStream
from charlm.backends.numpy_backend import NumpyBackend
from charlm.backends.pool import Pool

_LINE = 16  # float32 numbers in a line of the cache
_WORTH_SHARING = 1 << 22  # operations: a thread takes longer to wake up than for fewer
_ELEMENTS_WORTH_SHARING = 1 << 16  # of pointwise work
_FEWEST_ROWS = 32  # with fewer rows, packing the other operand takes longer than OpenBLAS' whole product
_SQUARES = 1 << 14  # elements whose squares are summed in one precision


class _Threads(Pool):
    """Threads alone: the core lets them run at the same time."""

    @property
    def processes(self) -> int:
        return 1


class CompiledBackend(NumpyBackend):
    """NumPy arrays, batch first in memory, and the operations of the compiled core, shared out among threads.

    The result of an operation has the same bytes for any number of threads.
    """

    batch_first = True
    scans = SCANS

    def __init__(self, library: ctypes.CDLL) -> None:
        self.workers = _Threads()
        self._cores = {dtype: Functions(library, dtype) for dtype in ("float32", "float64")}
        self._scratch = threading.local()

    def core_of(self, dtype: Any) -> Functions:
        """Return the core's functions for a precision."""
        return self._cores[np.dtype(dtype).name]

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return aligned(math.prod(shape), dtype).reshape(shape)

    def row_stride(self, width: int) -> int:
        # Whole lines, so that the rows begin at one; an odd number of them, so that they do not share places of the cache.
        lines = -(-width // _LINE)
        return width if width < _LINE else (lines | 1 if lines >= _LINE else lines) * _LINE

    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        if b.ndim != 2 or not out.size:
            super().matmul(a, b, out=out, add=add)
            return
        if out.strides[1] != out.itemsize:
            a, b, out = b.T, a.T, out.T
        (M, K), N = a.shape, b.shape[1]
        if out.strides[1] != out.itemsize or M < _FEWEST_ROWS or N < _LINE:
            super().matmul(a, b, out=out, add=add)
            return
        by_rows = a.strides[1] == a.itemsize
        parts = self.workers.count if 2 * M * N * K >= _WORTH_SHARING else 1
        vectors = -(-N // _LINE)
        shares_columns = parts > 1 and (vectors >= 4 * parts if by_rows else N > M)
        edges = [(vectors if shares_columns else M) * part // parts for part in range(parts + 1)]
        core = self.core_of(out.dtype)

        def multiply(part: tuple[int, int]) -> None:
            rows, columns = part, (0, N)
            if shares_columns:
                rows, columns = (0, M), (part[0] * _LINE, min(N, part[1] * _LINE))
            b_part, out_part = b[:, columns[0] : columns[1]], out[:, columns[0] : columns[1]]
            product = Product(M, out_part.shape[1], K, a.ctypes.data, *strides(a), b_part.ctypes.data, *strides(b_part))
            product.out, product.ldo, product.add = out_part.ctypes.data, strides(out)[0], add
            scratch = self._scratch_of(core.product_scratch(product, rows[1] - rows[0]), out.dtype)
            core.product(product, *rows, scratch.ctypes.data)

        self.workers.each(multiply, pairwise(edges))

    def row_sums(self, x: Array, *, out: Array, add: bool = False) -> None:
        if x.strides[0] != x.itemsize or out.strides[0] != out.itemsize:
            super().row_sums(x, out=out, add=add)
            return
        core, (n, N) = self.core_of(x.dtype), x.shape
        self._each_range(
            n,
            lambda first, end: core.column_sums(x.ctypes.data, strides(x)[1], N, out.ctypes.data, add, first, end),
            work=x.size,
            multiple=_LINE,
        )

    def cross_entropy(
        self, logits: Array, targets: np.ndarray, *, bias: Array | None = None, scale: float | None = None
    ) -> Array:
        if logits.strides[0] != logits.itemsize:
            return super().cross_entropy(logits, targets, bias=bias, scale=scale)
        V, N = logits.shape
        ids = np.ascontiguousarray(targets, np.int32)
        if ids.size and ids.max() >= V:
            raise IndexError(f"index {ids.max()} is out of bounds for size {V}")
        losses, core = np.empty(N), self.core_of(logits.dtype)
        bias_row = None if bias is None else np.ascontiguousarray(bias)
        where = (logits.ctypes.data, strides(logits)[1], V, None if bias_row is None else bias_row.ctypes.data)
        self._each_range(
            N,
            lambda first, end: core.cross_entropy(
                *where, ids.ctypes.data, scale or 0.0, losses.ctypes.data, first, end
            ),
            work=logits.size,
        )
        return losses

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
    ) -> None:
        root = math.sqrt(1.0 - 0.999**count)
        core, arrays = self.core_of(w.dtype), [array.ctypes.data for array in (w, g, m, v)]
        rate, tiny = learning_rate * root / (1.0 - 0.9**count), 1e-8 * root
        self._each_range(
            w.size,
            lambda first, end: core.adam(*arrays, 1.0 if scale is None else scale, rate, tiny, first, end),
            work=w.size,
            multiple=_LINE,
        )

    def norm(self, vector: Array) -> float:
        core, parts = self.core_of(vector.dtype), np.empty(-(-vector.size // _SQUARES))
        self._each_range(
            parts.size,
            lambda first, end: core.squares(vector.ctypes.data, vector.size, _SQUARES, parts.ctypes.data, first, end),
            work=vector.size,
        )
        total = float(parts.sum())
        return math.sqrt(total) if math.isfinite(total) else super().norm(vector)

    def dropout(self, x: Array, *, rate: float, key: int, out: Array, lanes: tuple[int, int] | None = None) -> None:
        T, n, batch = x.shape
        if x.strides[1] != x.itemsize or x.strides[0] != batch * x.strides[2] or out.strides[1] != out.itemsize:
            super().dropout(x, rate=rate, key=key, out=out, lanes=lanes)
            return
        first_lane, all_lanes = lanes or (0, batch)
        threshold, core = int(min(rate * 2.0**32, 2.0**32 - 1)), self.core_of(x.dtype)
        arrays = (x.ctypes.data, strides(x)[2], out.ctypes.data, strides(out)[2], n, batch, first_lane, all_lanes)
        self._each_range(
            T * batch,
            lambda first, end: core.dropout(*arrays, key, threshold, 1.0 / (1.0 - rate), first, end),
            work=x.size,
        )

    def stream(self, table: Array, layers: Sequence[AffineLayer], ws: Buffers) -> CompiledStream:
        return CompiledStream(self, table, layers, ws)

    def _each_range(self, count: int, go: Callable[[int, int], Any], *, work: int, multiple: int = 1) -> None:
        """Call `go` with ranges that make up `range(count)`, one for each worker if there are elements enough.

        work: the elements that are worked on
        multiple: of which the edges are
        """
        parts = self.workers.count if work >= _ELEMENTS_WORTH_SHARING else 1
        edges = [min(count, -(-count * part // parts // multiple) * multiple) for part in range(parts + 1)]
        self.workers.each(lambda part: go(*part), pairwise(edges))

    def _scratch_of(self, size: int, dtype: Any) -> Array:
        """Return memory of the calling thread, whose contents are undefined."""
        memory = getattr(self._scratch, "memory", None)
        nbytes = size * np.dtype(dtype).itemsize
        if memory is None or memory.size < nbytes:
            memory = self._scratch.memory = aligned(nbytes, np.uint8)
        return memory
