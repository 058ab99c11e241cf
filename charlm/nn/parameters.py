"""All parameters of a network in one flat vector, with named views into it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from charlm.backends import Array, Backend, Shape

_ALIGNMENT = 16  # elements; each parameter starts at a multiple of it


class Parameters:
    """One flat vector of values, one of gradients, and named views of both.

    Clipping, the optimizer and saving each work on the whole vector at once. The gaps between parameters contain zeros,
    and every optimizer leaves them zero.

    shapes: name -> shape, in the order of the file
    values: a vector of this layout to share; a new one by default
    """

    def __init__(self, shapes: Mapping[str, Shape], ops: Backend, dtype: str, *, values: Array | None = None) -> None:
        self.shapes = dict(shapes)
        self._starts: dict[str, int] = {}
        end = 0
        for name, shape in self.shapes.items():
            self._starts[name] = end
            end += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        self.values = ops.zeros((end,), dtype) if values is None else values
        self.grads = ops.zeros((end,), dtype)

    def _view(self, flat: Array, name: str) -> Array:
        start, shape = self._starts[name], self.shapes[name]
        return flat[start : start + math.prod(shape)].reshape(shape)

    def value(self, name: str) -> Array:
        """Return the view of one parameter's values."""
        return self._view(self.values, name)

    def grad(self, name: str) -> Array:
        """Return the view of one parameter's gradient, dL/dparameter."""
        return self._view(self.grads, name)

    def named(self, flat: Array) -> dict[str, Array]:
        """Return the named views of any flat vector of this layout, such as an optimizer's moments."""
        return {name: self._view(flat, name) for name in self.shapes}

    @property
    def count(self) -> int:
        """The number of parameters, without the gaps."""
        return sum(math.prod(shape) for shape in self.shapes.values())
