"""All parameters of a network in one flat vector, with named views into it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from charlm.backends import Array, Backend, Shape

_ALIGNMENT = 16  # elements: parameters keep the alignment of the vector that they lie in


class Parameters:
    """One flat vector of values, one of gradients, and named views of both.

    Clipping, the optimizer, zeroing and saving are one call each on the whole; a weight that two layers share is one
    name that both bind. The gaps between parameters hold zeros and stay zero under every optimizer.

    shapes: name -> shape, in the order of the file; values: a vector of this layout to share, in place of a new one
    """

    def __init__(self, shapes: Mapping[str, Shape], ops: Backend, dtype: str, *, values: Array | None = None) -> None:
        self.shapes = dict(shapes)
        self._starts: dict[str, int] = {}
        end = 0
        for name, shape in self.shapes.items():
            self._starts[name] = end
            end += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        self.values = ops.shared(end, dtype) if values is None else values
        self.grads = ops.shared(end, dtype)

    def _view(self, flat: Array, name: str) -> Array:
        start, shape = self._starts[name], self.shapes[name]
        return flat[start : start + math.prod(shape)].reshape(shape)

    def value(self, name: str) -> Array:
        """Give the view of one parameter's values."""
        return self._view(self.values, name)

    def grad(self, name: str) -> Array:
        """Give the view of one parameter's gradient, dL/dparameter."""
        return self._view(self.grads, name)

    def named(self, flat: Array) -> dict[str, Array]:
        """Give the named views into any flat vector of this layout, such as an optimizer's moments."""
        return {name: self._view(flat, name) for name in self.shapes}

    def clear_gaps(self) -> None:
        """Set the gradients' gaps to zero, which nothing else writes to but what goes over the whole vector."""
        for name, start in self._starts.items():
            end = start + math.prod(self.shapes[name])
            if end % _ALIGNMENT:
                self.grads[end : -(-end // _ALIGNMENT) * _ALIGNMENT] = 0

    @property
    def count(self) -> int:
        """The number of parameters, without the gaps."""
        return sum(math.prod(shape) for shape in self.shapes.values())
