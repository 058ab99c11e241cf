"""The backend of an NVIDIA GPU: the arrays of CuPy, the products of cuBLAS, and kernels of charlm."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from charlm.backends.base import BETAS, Array, Backend, Number, Places, Shape
from charlm.backends.cupy import kernels
from charlm.backends.cupy.blas import Blas
from charlm.backends.cupy.cells import CELLS
from charlm.backends.cupy.graph import Recorded
from charlm.backends.cupy.products import Products
from charlm.backends.cupy.scan import GraphScan
from charlm.backends.workers import Workers


class CupyBackend(Backend):
    """CuPy arrays in the memory of one GPU.

    Ids and targets are copied from the host, those of an epoch at once. Only what a caller asks for as a host array is
    copied back. The GPU works in the order of the calls, so a caller waits only for what it reads.
    """

    name = core = "cuda"
    scans = dict.fromkeys(CELLS, GraphScan)
    block = 1 << 20  # larger than a launch costs, smaller than scratch memory allows

    def __init__(self) -> None:
        self.workers = Workers()
        self._resident: dict[int, Array] = {}  # by the id of a read-only host array, its copy while that array exists
        self._blas = Blas()
        self._products = Products(self._blas)

    def array(self, values: Any, dtype: Any = None) -> Array:
        if not isinstance(values, cupy.ndarray):
            return cupy.asarray(np.array(values, dtype=dtype, order="C"))
        array = self.empty(values.shape, values.dtype if dtype is None else dtype)
        array[...] = values
        return array

    def to_device(self, values: np.ndarray) -> Array:
        # A batch is a view of the read-only arrays of an epoch: these are copied once, as a whole.
        whole = values.base if isinstance(values.base, np.ndarray) else values
        if whole.flags.writeable or whole.dtype != values.dtype or not values.size:
            return cupy.asarray(np.ascontiguousarray(values))
        if not (whole.flags.c_contiguous and values.flags.c_contiguous):
            return cupy.asarray(np.ascontiguousarray(values))
        copy = self._resident.get(id(whole))
        if copy is None:
            copy = self._resident[id(whole)] = cupy.asarray(whole).ravel()
            weakref.finalize(whole, self._resident.pop, id(whole), None)
        first = (values.ctypes.data - whole.ctypes.data) // whole.itemsize
        return copy[first : first + values.size].reshape(values.shape)

    def replayable(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does what `work` does, as one CUDA graph from its second call on; see `Recorded`."""
        return Recorded(work, self._blas)

    def numpy(self, array: Array) -> np.ndarray:
        host: np.ndarray = array.get()
        return host

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return cupy.empty(shape, dtype)

    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        self._products.multiply(a, b, out, add=add)

    def row_sums(self, x: Array, *, out: Array, add: bool = False) -> None:
        sums = x.sum(axis=1, keepdims=True)
        if add:
            out += sums
        else:
            out[...] = sums

    def one_hot_product(self, W: Array, ids: np.ndarray, *, x1: Array, out: Array) -> None:
        (T, batch), V = ids.shape, len(x1) - 1
        x1[-1] = 1
        kernels.one_hot()(self._ids(ids, V), V, batch, x1[:-1].reshape(V, T, batch).transpose(1, 0, 2))
        self.matmul(W, x1, out=out)

    def one_hot_grad(self, dz: Array, ids: np.ndarray, *, x1: Array, out: Array, add: bool = False) -> None:
        self.matmul(dz, x1.T, out=out, add=add)

    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        _, D, batch = out.shape
        kernels.lookup()(table, self._ids(ids, len(table)), D, batch, out)

    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        # Each element of each row that was read has one thread, which adds in the order of the steps. Threads that add
        # to a row in any order would round differently from run to run.
        self._check(ids, len(table_grad))
        flat = ids.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat[order], 0) :]  # leaves out the ids -1
        if not order.size or not d_out.size:
            return
        named, first = np.unique(flat[order], return_index=True)
        D, batch = d_out.shape[1:]
        each = (self._spread(ids, D) for ids in (named, first, np.append(first[1:], order.size)))
        kernels.lookup_grad()(d_out, self._indices(order), *each, D, batch, table_grad)

    def move_columns(self, x: Array, origin: Places, *, out: Array, to: Places) -> None:
        n, rows = len(origin[0]), x.shape[1]
        for (steps, lanes), array in ((origin, x), (to, out)):
            self._check(steps, array.shape[0])
            self._check(lanes, array.shape[2])
        if n and rows:
            kernels.move_columns()(x, *(self._spread(ids, rows) for ids in (*origin, *to)), rows, out)

    def sigmoid(self, x: Array) -> None:
        kernels.sigmoid()(x)

    def log_softmax(self, logits: Array) -> None:
        kernels.softmax(logits if logits.ndim == 2 else logits[:, None])

    def cross_entropy(
        self, logits: Array, targets: np.ndarray, *, bias: Array | None = None, scale: float | None = None
    ) -> Array:
        if bias is not None:
            logits += bias
        return kernels.cross_entropy(logits, self._ids(targets, len(logits)), scale or 0.0)

    def adam(
        self,
        w: Array,
        g: Array,
        m: Array,
        v: Array,
        *,
        learning_rate: float,
        count: int,
        scale: Number | None = None,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        kernels.adam(w, g, m, v, learning_rate=learning_rate, count=count, scale=scale, betas=betas)

    def norm(self, vector: Array) -> Number:
        return kernels.norm(vector)

    def clipping(self, norm: Number, most: float, dtype: Any) -> Number:
        factor = self.empty((), dtype)
        kernels.clipping()(norm, most, factor)
        return factor

    def dropout(self, x: Array, *, rate: float, key: int, out: Array) -> None:
        kernels.dropout(x, out, rate=rate, key=key)

    def _ids(self, ids: np.ndarray, size: int) -> Array:
        """Return ids as an array of the device; raise IndexError for an id beyond `size`, which no kernel checks."""
        self._check(ids, size)
        return self._indices(ids)

    def _check(self, ids: np.ndarray, size: int) -> None:
        if ids.size and ids.max() >= size:
            raise IndexError(f"index {ids.max()} is out of bounds for size {size}")

    def _indices(self, values: np.ndarray) -> Array:
        return self.to_device(values if values.dtype == np.int32 else values.astype(np.int32))

    def _spread(self, values: np.ndarray, width: int) -> Array:
        """Return n ids as an array [n, width] of the device, the same id in each column, without a copy."""
        return cupy.broadcast_to(self._indices(values)[:, None], (len(values), width))
