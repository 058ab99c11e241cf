"""The gradients of the parameters, added up over a backward pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from charlm.backends import Array, Backend

_Block = tuple[int, int, int, int]  # first row, row after the last, first column, column after the last
_ALL = slice(None)


class Rows(NamedTuple):
    """Rows `first` to `end` - 1 of a parameter."""

    name: str
    first: int
    end: int


class Grads:
    """Named gradients: the sum of all contributions of a pass.

    The first contribution of a pass to an array, or to a block of its rows and columns, overwrites what the pass before
    left there. Further contributions are added. A block is new, or it lies within one contribution before it.

    arrays: the gradient of each parameter, [rows, columns]
    aliases: for each name of shared weights, the rows that they are
    """

    def __init__(self, arrays: Mapping[str, Array], ops: Backend, *, aliases: Mapping[str, Rows] | None = None) -> None:
        shared = dict(aliases or {})
        self._ops = ops
        self._wholes = dict(arrays)
        self._arrays = dict(arrays) | {name: arrays[one.name][one.first : one.end] for name, one in shared.items()}
        self._rows = {name: Rows(name, 0, len(array)) for name, array in arrays.items()} | shared
        self._written: dict[str, list[_Block]] = {}  # by the original name; shared with the parts of a network

    def begin(self) -> None:
        """Begin a pass: the next contribution to each array overwrites it."""
        self._written.clear()

    def of(self, prefix: str) -> Grads:
        """Return the gradients whose names begin with `prefix`, under their names without it."""
        part = copy.copy(self)
        names = {name.removeprefix(prefix): name for name in self._arrays if name.startswith(prefix)}
        part._arrays = {short: self._arrays[name] for short, name in names.items()}
        part._rows = {short: self._rows[name] for short, name in names.items()}
        return part

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def add(self, name: str, value: Array, *, rows: slice = _ALL, columns: slice = _ALL) -> None:
        """Add `value` to a gradient, or to a block of its rows and columns."""
        block, is_first = self._block(name, rows, columns)
        if is_first:
            block[...] = value
        else:
            block += value

    def add_product(self, name: str, a: Array, b: Array, *, rows: slice = _ALL, columns: slice = _ALL) -> None:
        """Add `a @ b` to a gradient, or to a block of its rows and columns."""
        block, is_first = self._block(name, rows, columns)
        self._ops.matmul(a, b, out=block, add=not is_first)

    def add_one_hot(self, name: str, dz: Array, ids: np.ndarray, x1: Array, *, columns: slice) -> None:
        """Add `dz [x; 1]^T` to some columns of a gradient, with the one-hot columns x of ids; see `Backend`."""
        block, is_first = self._block(name, _ALL, columns)
        self._ops.one_hot_grad(dz, ids, x1=x1, out=block, add=not is_first)

    def add_row_sums(self, name: str, x: Array) -> None:
        """Add the sum of each row of x to a gradient, [n, 1]."""
        array, is_first = self._block(name, _ALL, _ALL)
        self._ops.row_sums(x, out=array, add=not is_first)

    def zeroed(self, name: str) -> Array:
        """Return the array to add to; it contains zeros unless this pass has contributed to it."""
        array, is_first = self._block(name, _ALL, _ALL)
        if is_first:
            array[...] = 0
        return array

    def _block(self, name: str, rows: slice, columns: slice) -> tuple[Array, bool]:
        """Return a block of an array, and whether this pass has not contributed to it yet."""
        array, (original, first, end) = self._arrays[name], self._rows[name]
        whole, written = self._wholes[original], self._written.setdefault(original, [])
        height, width = array.shape
        top, bottom, _ = rows.indices(height)
        block = (first + top, first + bottom, *columns.indices(width)[:2])
        for before in written:
            top, bottom = max(before[0], block[0]), min(before[1], block[1])
            left, right = max(before[2], block[2]), min(before[3], block[3])
            if (top, bottom, left, right) == block:
                return array[rows, columns], False
            if top < bottom and left < right:
                raise ValueError(f"{original}: rows and columns {block} overlap with {before}")
        if height < len(whole):
            if block != (first, end, 0, width):
                raise ValueError(f"{name}: the first contribution to shared weights is to all of them")
            whole[:first] = 0
            whole[end:] = 0
            block = (0, len(whole), 0, width)
        written.append(block)
        return array[rows, columns], True
