"""The backend of the processor: NumPy, whose products are OpenBLAS'."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from charlm.backends.base import BETAS, Array, Backend, Places, Shape, complement
from charlm.backends.pool import Pool

_WORTH_SPLITTING = 1 << 24  # operations of a product: a worker needs longer to wake up than for fewer
_ADDED = 1 << 17  # elements of a product that are added at a time: they stay in a core's cache
_LOGITS = 1 << 17  # logits that are worked on at a time: they stay in a core's second-level cache
_LINE = 16  # float32 numbers in a line of the cache
_MIX = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))  # multipliers of a well-mixing 32-bit hash


class NumpyBackend(Backend):
    """NumPy arrays in the host's memory."""

    name = "cpu"
    core = "numpy"
    block = 1 << 15  # five float32 vectors of this length stay in a core's second-level cache

    workers: Pool

    def __init__(self) -> None:
        self.workers = Pool()

    def array(self, values: Any, dtype: Any = None) -> Array:
        return np.array(values, dtype=dtype, order="C")

    def numpy(self, array: Array) -> np.ndarray:
        return np.array(array, order="C")

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return np.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        # Pages that are never written take no memory: those of the gradients, if a model does not learn.
        return np.zeros(shape, dtype)

    def row_stride(self, width: int) -> int:
        # Rows a power of two apart would share a few places of the cache. An odd number of lines spreads a column over
        # all places.
        return width if width < _LINE * _LINE else (-(-width // _LINE) | 1) * _LINE

    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        if not self.workers.splits_products or b.ndim != 2 or 2 * a.size * b.shape[-1] < _WORTH_SPLITTING:
            if add:
                _add_product(a, b, out)
            else:
                np.matmul(a, b, out=out)
            return
        count, rows = self.workers.count, len(a)
        edges = [rows * i // count for i in range(count + 1)]

        def of_rows(part: slice) -> None:
            if add:
                _add_product(a[part], b, out[part])
            else:
                np.matmul(a[part], b, out=out[part])

        self.workers.each(of_rows, [slice(start, end) for start, end in pairwise(edges)])

    def row_sums(self, x: Array, *, out: Array, add: bool = False) -> None:
        sums = x.sum(axis=1, keepdims=True)
        if add:
            out += sums
        else:
            out[...] = sums

    def one_hot_product(self, W: Array, ids: np.ndarray, *, x1: Array, out: Array) -> None:
        flat = ids.ravel()
        columns = np.flatnonzero(flat >= 0)
        x1[:-1] = 0
        x1[:-1][flat[columns], columns] = 1
        x1[-1] = 1
        self.matmul(W, x1, out=out)

    def one_hot_grad(self, dz: Array, ids: np.ndarray, *, x1: Array, out: Array, add: bool = False) -> None:
        self.matmul(dz, x1.T, out=out, add=add)

    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        rows = table[ids]  # [T, B, D]; -1 takes the last row, overwritten below
        rows[ids < 0] = 0
        out[...] = rows.transpose(0, 2, 1)

    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        flat = ids.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat[order], 0) :]  # leaves out the ids -1
        if not order.size:
            return
        rows = d_out.transpose(0, 2, 1).reshape(flat.size, -1)[order]
        named, first = np.unique(flat[order], return_index=True)
        table_grad[named] += np.add.reduceat(rows, first, axis=0)

    def move_columns(self, x: Array, origin: Places, *, out: Array, to: Places) -> None:
        out[to[0], :, to[1]] = x[origin[0], :, origin[1]]

    def sigmoid(self, x: Array) -> None:
        """sigma(x) = (1 + tanh(x/2)) / 2."""
        x *= 0.5
        np.tanh(x, out=x)
        x += 1.0
        x *= 0.5

    def log_softmax(self, logits: Array) -> None:
        logits -= np.maximum.reduce(logits, axis=0)
        logits -= np.log(np.add.reduce(np.exp(logits), axis=0))

    def cross_entropy(
        self, logits: Array, targets: np.ndarray, *, bias: Array | None = None, scale: float | None = None
    ) -> Array:
        """softmax = e / S with e = exp(logits - largest) and S = sum of e, both in blocks of rows.

        Each block has a largest logit of its own, so that one pass over the logits computes e. The second pass
        multiplies each block with exp(its largest - largest) scale / S.
        """
        columns = np.flatnonzero(targets >= 0)
        chosen = targets[columns], columns
        V, N = logits.shape
        bias = np.zeros((V, 1), logits.dtype) if bias is None else bias
        chosen_logits = (logits[chosen] + bias[targets[columns], 0]).astype(np.float64)
        size = max(1, _LOGITS // max(1, N))
        blocks = [slice(start, start + size) for start in range(0, V, size)]
        largest = np.empty((len(blocks), N), logits.dtype)
        sums = np.empty_like(largest)
        lowest = np.finfo(logits.dtype).min  # a block of logits -inf is then 0, not NaN

        def exponentials(number: int) -> None:
            rows = blocks[number]
            # Without a gradient, scratch that stays in the cache: the logits are then not written to memory again.
            e = np.add(logits[rows], bias[rows], out=None if scale is None else logits[rows])
            e.max(axis=0, initial=lowest, out=largest[number])
            e -= largest[number]
            np.exp(e, out=e)
            e.sum(axis=0, out=sums[number])

        self.workers.each(exponentials, range(len(blocks)))
        shift = largest.max(axis=0).astype(np.float64)
        weights = np.exp(largest - shift)
        total = (weights * sums).sum(axis=0)
        losses = np.zeros(N)
        # Both logits may be large: if ln(total) were added to one of them, its digits would be rounded away.
        losses[columns] = np.log(total[columns]) - (chosen_logits - shift[columns])
        if scale is not None:
            factors = (weights * (np.where(targets >= 0, scale, 0.0) / total)).astype(logits.dtype)
            for block, factor in zip(blocks, factors, strict=True):
                logits[block] *= factor
            logits[chosen] -= scale
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
        betas: tuple[float, float] = BETAS,
    ) -> None:
        (b1, b2), (rest1, rest2) = betas, map(complement, betas)
        root = math.sqrt(1.0 - b2**count)  # multiplied out, so that v^ needs no pass of its own
        tiny, rate = 1e-8 * root, learning_rate * root / (1.0 - b1**count)

        def update(part: slice) -> None:
            gradient, first, second = g[part], m[part], v[part]
            if scale is not None:
                gradient *= scale
            tmp = np.multiply(gradient, gradient)
            tmp *= rest2
            second *= b2
            second += tmp
            gradient *= rest1
            first *= b1
            first += gradient
            np.sqrt(second, out=tmp)
            tmp += tiny
            np.divide(first, tmp, out=tmp)
            tmp *= rate
            w[part] -= tmp

        self.workers.each(update, [slice(start, start + self.block) for start in range(0, len(w), self.block)])

    def norm(self, vector: Array) -> float:
        parts = (vector[start : start + self.block] for start in range(0, vector.size, self.block))
        total = sum(float(np.dot(part, part)) for part in parts)
        if not math.isfinite(total):  # the squares overflow float32 before their root does
            return float(np.linalg.norm(vector.astype(np.float64)))
        return math.sqrt(total)

    def clipping(self, norm: float, most: float, dtype: Any) -> float | None:
        return most / norm if norm > most else None

    def dropout(self, x: Array, *, rate: float, key: int, out: Array) -> None:
        batch = x.shape[-1]
        flat_x, flat_out = x.reshape(-1, batch), out.reshape(-1, batch)
        first, second = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32 & 0xFFFFFFFF)
        threshold = np.uint32(min(rate * 2.0**32, 2.0**32 - 1))
        kept = flat_x.dtype.type(1.0 / (1.0 - rate))
        of_lane = np.arange(batch, dtype=np.uint32)

        def mask(part: slice) -> None:
            bits = np.arange(part.start, part.stop, dtype=np.uint32)[:, None] * np.uint32(batch) + of_lane
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
        self.workers.each(mask, [slice(at, min(at + rows, len(flat_x))) for at in range(0, len(flat_x), rows)])


def _add_product(a: Array, b: Array, out: Array) -> None:
    # In blocks of rows, so that a product is still in the cache when it is added.
    rows = max(1, _ADDED * len(a) // max(1, out.size))
    for at in range(0, len(a), rows):
        out[..., at : at + rows, :] += np.matmul(a[at : at + rows], b)
