"""Memory with a margin on both sides, which shows what is written beyond an array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charlm.backends.compiled.backend import CompiledBackend

_MARGIN = 128  # elements: more than the widest vector, and a whole number of lines of the cache
_MARK = 0x7FF8DEAD  # of a NaN that no arithmetic makes


class Guarded:
    """A vector of `size` elements in the midst of marked memory.

    offset: elements by which it begins beside a line of the cache
    """

    def __init__(self, size: int, dtype: Any, offset: int = 0) -> None:
        kind = np.dtype(dtype)
        memory = np.empty((size + 3 * _MARGIN) * kind.itemsize, np.uint8)
        first = -memory.ctypes.data % 64
        words = memory[first : first + (size + 2 * _MARGIN) * kind.itemsize].view(np.uint32)
        words[...] = _MARK
        self._words, per = words, kind.itemsize // 4
        begin = _MARGIN + offset
        self._before, self._after = words[: begin * per], words[(begin + size) * per :]
        self.vector = words.view(kind)[begin : begin + size]

    def is_whole(self) -> bool:
        """Return whether the margins are as they were."""
        return bool((self._before == _MARK).all() and (self._after == _MARK).all())


def marks(array: np.ndarray) -> np.ndarray:
    """Return which elements of a view of such memory have never been written."""
    return np.ascontiguousarray(array).view(np.uint32).reshape(*array.shape, array.itemsize // 4)[..., 0] == _MARK


class Matrix:
    """A matrix [rows, columns] with gaps between its rows, or its columns, in marked memory.

    values: what it holds, or None for nothing
    by_rows: whether its rows are contiguous, or else its columns
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: Any,
        *,
        values: Any = None,
        by_rows: bool = True,
        gap: int = 3,
        offset: int = 1,
    ) -> None:
        count, width = shape if by_rows else shape[::-1]
        self._memory = Guarded(count * (width + gap), dtype, offset)
        whole = self._memory.vector.reshape(count, width + gap)
        self._gaps, own = whole[:, width:], whole[:, :width]
        self.view = own if by_rows else own.T
        if values is not None:
            self.view[...] = values

    def is_whole(self) -> bool:
        """Return whether the margins and the gaps are as they were."""
        return self._memory.is_whole() and bool(marks(self._gaps).all())


def guard(ops: CompiledBackend) -> list[Guarded]:
    """Put margins around all buffers that a backend makes from now on; return those that it has made."""
    made: list[Guarded] = []

    def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        made.append(Guarded(math.prod(shape), dtype))
        return made[-1].vector.reshape(shape)

    ops.empty = empty
    return made
