"""The backend of an NVIDIA GPU: CuPy's arrays, cuBLAS' products, and kernels of our own for the rest."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cupy
import numpy as np

from charlm.backends.base import Array, Backend, Number, Places, Shape
from charlm.backends.cupy import kernels
from charlm.backends.cupy.blas import Blas
from charlm.backends.cupy.cells import CELLS
from charlm.backends.cupy.graph import Recorded
from charlm.backends.cupy.products import Products
from charlm.backends.cupy.scan import GraphScan


class CupyBackend(Backend):
    """CuPy arrays in the memory of one GPU.

    Ids and targets come from the host, those of an epoch together, and what a caller asks for as host arrays goes back;
    nothing else does. Work is done in the order in which it was asked for, so a caller waits only for what it reads.
    """

    name = "cuda"
    scans = dict.fromkeys(CELLS, GraphScan)
    block = 1 << 20  # a kernel has no use for small pieces, and scratch memory has no use for large ones

    def __init__(self) -> None:
        self._resident: dict[int, Array] = {}  # copies of what is on the host as long as it is there, by its id
        self._blas = Blas()
        self._products = Products(self._blas)
        self.fused = {
            **kernels.FUSED,
            "cross_entropy": self._cross_entropy,
            "cross_entropy_and_grad": self._cross_entropy_and_grad,
        }

    def array(self, values: Any, dtype: Any = None) -> Array:
        if not isinstance(values, cupy.ndarray):
            return cupy.asarray(np.array(values, dtype=dtype, order="C"))
        array = self.empty(values.shape, values.dtype if dtype is None else dtype)
        array[...] = values
        return array

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def shared(self, size: int, dtype: Any) -> Array:
        return self.zeros((size,), dtype)

    def handed_over(self, values: np.ndarray) -> Array:
        """Copy, or cut out of what was copied: of what cannot change, a batch of an epoch, the whole goes at once."""
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

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        return Recorded(work, self._blas)

    def numpy(self, array: Array) -> np.ndarray:
        host: np.ndarray = array.get()
        return host

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return cupy.empty(shape, dtype)

    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        self._products.multiply(a, b, out, add=add)

    def one_hot(self, ids: np.ndarray, *, out: Array) -> None:
        _, V, batch = out.shape
        kernels.one_hot()(self._ids(ids, V), V, batch, out)

    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        _, D, batch = out.shape
        kernels.lookup()(table, self._ids(ids, len(table)), D, batch, out)

    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        # One thread for each number of each row that was read, which adds in the order of the steps: what it gives does
        # not vary from run to run, as it would where threads add to a row whenever they come to it.
        self._check(ids, len(table_grad))
        flat = ids.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat[order], 0) :]  # without the -1s
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

    def log_softmax(self, logits: Array) -> None:
        kernels.softmax(logits if logits.ndim == 2 else logits[:, None])

    def pick(self, columns: Array, rows: np.ndarray) -> np.ndarray:
        out = self.empty(rows.shape, "float64")
        kernels.pick()(columns, self._ids(rows, len(columns)), out)
        return self.numpy(out)

    def norm(self, vector: Array) -> Number:
        return kernels.norm(vector)

    def clipping(self, norm: Number, most: float, dtype: Any) -> Number:
        factor = self.empty((), dtype)
        kernels.clipping()(norm, most, factor)
        return factor

    def dropout(self, x: Array, *, rate: float, key: int, out: Array, lanes: tuple[int, int] | None = None) -> None:
        batch = x.shape[-1]
        kernels.dropout(x, out, rate=rate, key=key, batch=batch, lanes=lanes or (0, batch))

    def threads(self, count: int | None) -> AbstractContextManager[Any]:
        return nullcontext()

    def _cross_entropy(self, logits: Array, targets: np.ndarray) -> np.ndarray:
        """Give -ln P(target) of each column of `logits [V, N]`, which is overwritten; 0 where a target [N] is -1."""
        return self.numpy(kernels.cross_entropy(logits, self._ids(targets, len(logits)), 0.0))

    def _cross_entropy_and_grad(self, logits: Array, targets: np.ndarray, scale: float) -> Number:
        """Overwrite `logits [V, N]` with dL/dlogits times `scale`; give L, the sum of -ln P(target)."""
        return kernels.total(kernels.cross_entropy(logits, self._ids(targets, len(logits)), scale))

    def _ids(self, ids: np.ndarray, size: int) -> Array:
        """Hand ids to the device; raise IndexError where one has no row, as a kernel would read beyond the table."""
        self._check(ids, size)
        return self._indices(ids)

    def _check(self, ids: np.ndarray, size: int) -> None:
        if ids.size and ids.max() >= size:
            raise IndexError(f"index {ids.max()} is out of bounds for size {size}")

    def _indices(self, values: np.ndarray) -> Array:
        return self.handed_over(values if values.dtype == np.int32 else values.astype(np.int32))

    def _spread(self, values: np.ndarray, width: int) -> Array:
        """Hand ids to the device, and give them for each of so many rows, `[n, width]`, in no more memory."""
        return cupy.broadcast_to(self._indices(values)[:, None], (len(values), width))
