"""Named buffers, reused from step to step, so that a training step allocates next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

from charlm.backends import Array, Backend, Shape

_SHAPES_REMEMBERED = 4  # batches of an epoch differ by a step, and lines to score by more


class Workspace:
    """The buffers of one forward and backward pass; a second workspace is a second, independent pass.

    An array's contents are undefined when it is handed out, and it is the caller's until the same name is asked for
    again. Buffers grow and never shrink.
    """

    def __init__(self, ops: Backend, dtype: str) -> None:
        self.ops = ops
        self.dtype = dtype
        self._buffers: dict[str, Array] = {}
        self._views: dict[Hashable, Any] = {}
        self._kept: dict[str, Any] = {}
        self._scopes: dict[str, Workspace] = {}

    def array(self, name: str, shape: Shape) -> Array:
        """Give the buffer `name` as a C-contiguous array of `shape`."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = self.ops.empty((size,), self.dtype)
            self._views.clear()  # they look into the buffer that is gone
        return buffer[:size].reshape(shape)

    def views(self, shape: Shape, build: Callable[[], Any]) -> Any:
        """Give what `build` made for this shape before, or make it: views are cheap, but not thousands of them."""
        if shape not in self._views:
            made = build()  # may ask for arrays, which may clear what is remembered
            while len(self._views) >= _SHAPES_REMEMBERED:
                self._views.pop(next(iter(self._views)))
            self._views[shape] = made
        return self._views[shape]

    def keep(self, name: str, value: Any) -> None:
        """Remember what the forward pass was given, for the backward pass."""
        self._kept[name] = value

    def kept(self, name: str) -> Any:
        """Give what was remembered."""
        return self._kept[name]

    def scope(self, name: str) -> Workspace:
        """Give the workspace of a part of the network."""
        if name not in self._scopes:
            self._scopes[name] = Workspace(self.ops, self.dtype)
        return self._scopes[name]

    def fill(self, value: float) -> None:
        """Overwrite every buffer: a pass that reads what it did not write then shows."""
        for buffer in self._buffers.values():
            buffer[...] = value
        for scope in self._scopes.values():
            scope.fill(value)
