"""Named buffers, reused from step to step, so that a training step allocates next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from charlm.backends import Array, Backend, Shape

Made = TypeVar("Made")


class Workspace:
    """The buffers of one forward and backward pass; a second workspace is a second, independent pass.

    The contents of a new buffer are undefined. A call with the same name and shape returns the same memory, so backward
    finds what forward wrote; a larger shape makes a new buffer. Buffers grow and never shrink.
    """

    def __init__(self, ops: Backend, dtype: str) -> None:
        self.ops = ops
        self.dtype = dtype
        self._buffers: dict[str, Array] = {}
        self._made: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._scopes: dict[str, Workspace] = {}

    def array(self, name: str, shape: Shape) -> Array:
        """Return the buffer `name` as a C-contiguous array of `shape`."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = self.ops.empty((size,), self.dtype)
        return buffer[:size].reshape(shape)

    def columns(self, name: str, n: int, width: int) -> Array:
        """Return the buffer `name` as `[n, width]`, in the device's order and at the distance that it reads fastest.

        Its rows are contiguous, or its columns where the device is batch first.
        """
        if self.ops.batch_first:
            return self.array(name, (width, self.ops.row_stride(n)))[:, :n].T
        rows: Array = self.array(name, (n, self.ops.row_stride(width)))[:, :width]
        return rows

    def steps(self, name: str, shape: Shape) -> Array:
        """Return the buffer `name` as activations `[T, n, B]`, in the device's order."""
        T, n, batch = shape
        return steps_of(self.columns(name, n, T * batch), T) if self.ops.batch_first else self.array(name, shape)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """Return what `make` made for this name before, or make it."""
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made

    def keep(self, name: str, value: Any) -> None:
        """Keep a value of the forward pass for the backward pass."""
        self._kept[name] = value

    def kept(self, name: str) -> Any:
        """Return the value that was kept last under this name."""
        return self._kept[name]

    def scope(self, name: str) -> Workspace:
        """Return the workspace of a part of the network."""
        if name not in self._scopes:
            self._scopes[name] = Workspace(self.ops, self.dtype)
        return self._scopes[name]

    @property
    def nbytes(self) -> int:
        """The bytes of all buffers."""
        own = sum(int(buffer.nbytes) for buffer in self._buffers.values())
        return own + sum(scope.nbytes for scope in self._scopes.values())

    def free(self) -> None:
        """Free all buffers; the next pass makes new ones."""
        for held in (self._buffers, self._made, self._kept):
            held.clear()
        for scope in self._scopes.values():
            scope.free()

    def fill(self, value: float) -> None:
        """Overwrite every buffer, which reveals a pass that reads what it has not written."""
        for buffer in self._buffers.values():
            buffer[...] = value
        for scope in self._scopes.values():
            scope.fill(value)


def columns_of(x: Array, ws: Workspace, name: str) -> Array:
    """Return `x [T, n, B]` as columns `[n, T·B]`, for one product over all steps; a copy unless a view is possible."""
    T, n, batch = x.shape
    rows = x.transpose(1, 0, 2)
    if T == 1:
        return rows[:, 0]
    if x.strides[0] == batch * x.strides[2]:
        return rows.reshape(n, T * batch)
    columns = ws.columns(name, n, T * batch)
    columns.reshape(n, T, batch)[...] = rows
    return columns


def steps_of(columns: Array, T: int) -> Array:
    """Return columns `[n, T·B]` as a view `[T, n, B]`."""
    n, width = columns.shape
    return columns.reshape(n, T, width // T).transpose(1, 0, 2)
