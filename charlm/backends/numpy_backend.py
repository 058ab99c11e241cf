"""The backend of the processor: NumPy, whose products are OpenBLAS'."""

from __future__ import annotations

import errno
import math
import mmap
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from charlm.backends.base import Array, Backend, Part, Places, Shape
from charlm.backends.pool import Pool, can_start
from charlm.backends.process import CAN_FORK, Process

_WORTH_SHARING = 1 << 24  # operations of a product: in the time of fewer, a worker hardly wakes up
_ADDED = 1 << 17  # elements of a product that is added to what is there, at a time
_LINE = 16  # float32 numbers in a line of the cache
_MIX = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))  # multipliers of a well-mixing 32-bit hash


class NumpyBackend(Backend):
    """NumPy arrays in the host's memory."""

    name = "cpu"
    block = 1 << 15  # five float32 vectors of this length stay in a core's second-level cache

    def __init__(self) -> None:
        self._pool = Pool()

    def array(self, values: Any, dtype: Any = None) -> Array:
        return np.array(values, dtype=dtype, order="C")

    def numpy(self, array: Array) -> np.ndarray:
        return np.array(array, order="C")

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return np.empty(shape, dtype)

    def shared(self, size: int, dtype: Any) -> Array:
        kind = np.dtype(dtype)
        try:
            memory = mmap.mmap(-1, max(1, size) * kind.itemsize)
        except (OSError, OverflowError) as error:
            raise MemoryError(f"{size * kind.itemsize:,} bytes") from error
        return np.frombuffer(memory, kind, size)

    def row_stride(self, width: int) -> int:
        # Rows a power of two apart would fall on the same few places of the cache: an odd number of its lines spreads
        # a column over all of them.
        return width if width < _LINE * _LINE else (-(-width // _LINE) | 1) * _LINE

    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        if not self._pool.is_in_use or a.ndim != 2 or 2 * a.size * b.shape[-1] < _WORTH_SHARING:
            _multiply(a, b, out, add=add)
            return
        workers, rows = self._pool.size, len(a)
        edges = [rows * i // workers for i in range(workers + 1)]

        def of_rows(part: slice) -> None:
            _multiply(a[part], b, out[part], add=add)

        self.each(of_rows, [slice(start, end) for start, end in pairwise(edges)])

    def one_hot(self, ids: np.ndarray, *, out: Array) -> None:
        out[...] = 0
        step, column = np.nonzero(ids >= 0)
        out[step, ids[step, column], column] = 1

    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        rows = table[ids]  # [T, B, D]; -1 takes the last row, overwritten below
        rows[ids < 0] = 0
        out[...] = rows.transpose(0, 2, 1)

    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        flat = ids.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat[order], 0) :]  # without the -1s
        if not order.size:
            return
        rows = d_out.transpose(0, 2, 1).reshape(flat.size, -1)[order]
        named, first = np.unique(flat[order], return_index=True)
        table_grad[named] += np.add.reduceat(rows, first, axis=0)

    def move_columns(self, x: Array, origin: Places, *, out: Array, to: Places) -> None:
        out[to[0], :, to[1]] = x[origin[0], :, origin[1]]

    def log_softmax(self, logits: Array) -> None:
        logits -= np.maximum.reduce(logits, axis=0)
        logits -= np.log(np.add.reduce(np.exp(logits), axis=0))

    def pick(self, columns: Array, rows: np.ndarray) -> np.ndarray:
        picked = columns[rows, np.arange(rows.size)].astype(np.float64)
        picked[rows < 0] = 0.0
        return np.asarray(picked)

    def norm(self, vector: Array) -> float:
        parts = list(self.blocks(vector.size))
        squares = np.empty(len(parts))

        def square(number: int) -> None:
            part = vector[parts[number]]
            squares[number] = np.dot(part, part)

        self.each(square, range(len(parts)))
        total = float(squares.sum())
        if not math.isfinite(total):  # single precision ends at 1e38, which squares reach before their root does
            return float(np.linalg.norm(vector.astype(np.float64)))
        return math.sqrt(total)

    def clipping(self, norm: float, most: float, dtype: Any) -> float | None:
        return most / norm if norm > most else None

    def dropout(self, x: Array, *, rate: float, key: int, out: Array, lanes: tuple[int, int] | None = None) -> None:
        batch = x.shape[-1]
        first_lane, in_all = lanes or (0, batch)
        flat_x, flat_out = x.reshape(-1, batch), out.reshape(-1, batch)
        first, second = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32 & 0xFFFFFFFF)
        threshold = np.uint32(min(rate * 2.0**32, 2.0**32 - 1))
        kept = flat_x.dtype.type(1.0 / (1.0 - rate))
        of_lane = np.arange(first_lane, first_lane + batch, dtype=np.uint32)

        def mask(part: slice) -> None:
            bits = np.arange(part.start, part.stop, dtype=np.uint32)[:, None] * np.uint32(in_all) + of_lane
            bits ^= first
            for word in (second, None):
                bits ^= bits >> np.uint32(16)
                bits *= _MIX[0]
                bits ^= bits >> np.uint32(15)
                bits *= _MIX[1]
                bits ^= bits >> np.uint32(16)
                if word is not None:
                    bits ^= word
            np.multiply(flat_x[part], (bits >= threshold) * kept, out=flat_out[part])

        rows = max(1, self.block // max(1, batch))
        self.each(mask, [slice(at, min(at + rows, len(flat_x))) for at in range(0, len(flat_x), rows)])

    @property
    def workers(self) -> int:
        return self._pool.size

    @property
    def processes(self) -> int:
        return self.workers if CAN_FORK else 1

    def process(self, function: Callable[..., Any]) -> Process:
        # OpenBLAS ends a process that cannot have its threads again after a fork, here and in the other process.
        if not can_start(self._pool.size):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return Process(function, prepare=partial(self._pool.bound, 1))

    def alone(self) -> AbstractContextManager[Any]:
        return self._pool.alone()

    def sharing(self) -> AbstractContextManager[Any]:
        return self._pool.in_use()

    def each(self, work: Callable[[Part], None], parts: Iterable[Part]) -> None:
        self._pool.each(work, list(parts))

    def threads(self, count: int | None) -> AbstractContextManager[Any]:
        return nullcontext() if count is None else self._pool.bounded(count)


def _multiply(a: Array, b: Array, out: Array, *, add: bool) -> None:
    if not add:
        np.matmul(a, b, out=out)
        return
    # In blocks of rows, so that a product is still in the cache when it is added.
    rows = max(1, _ADDED * len(a) // max(1, out.size))
    for at in range(0, len(a), rows):
        out[..., at : at + rows, :] += np.matmul(a[at : at + rows], b)
