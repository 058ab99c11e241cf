"""From gradients to weights; each works on the flat vectors, in blocks that stay in the cache."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Number
from charlm.nn.parameters import Parameters


class Optimizer(ABC):
    """A rule that turns the gradient g of the weights w into a step; its memory is one flat vector for each slot."""

    slots: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[str] = ""  # name under which a device may have a kernel for the whole step

    def __init__(self, parameters: Parameters, ops: Backend) -> None:
        self.parameters, self.ops = parameters, ops
        self.memory = {slot: ops.zeros(parameters.values.shape, parameters.values.dtype) for slot in self.slots}

    def step(self, count: int, learning_rate: float, scale: Number | None = None) -> None:
        """Take step number `count` (from 1) along the gradient, times `scale` if any; the gradient is overwritten."""
        p, size = self.parameters, self.parameters.values.size
        if (fused := self.ops.fused.get(self.kernel)) is not None:
            fused(p.values, p.grads, *self.memory.values(), learning_rate=learning_rate, count=count, scale=scale)
            return

        def of_part(part: slice) -> None:
            g = p.grads[part]
            if scale is not None:
                g *= scale
            memory = [self.memory[slot][part] for slot in self.slots]
            tmp = self.ops.empty(g.shape, g.dtype)
            self.update(p.values[part], g, memory, tmp, learning_rate, count)

        self.ops.each(of_part, self.ops.blocks(size))

    @abstractmethod
    def update(self, w: Array, g: Array, memory: list[Array], tmp: Array, learning_rate: float, count: int) -> None:
        """Update one block of the weights in place."""


class Sgd(Optimizer):
    """w -= lr g."""

    def update(self, w: Array, g: Array, memory: list[Array], tmp: Array, learning_rate: float, count: int) -> None:
        g *= learning_rate
        w -= g


class RmsProp(Optimizer):
    """v = 0.95 v + 0.05 g^2; w -= lr g / (sqrt(v) + 1e-8). Tieleman and Hinton 2012, with char-rnn's decay."""

    slots = ("v",)

    def update(self, w: Array, g: Array, memory: list[Array], tmp: Array, learning_rate: float, count: int) -> None:
        (v,) = memory
        np.multiply(g, g, out=tmp)
        tmp *= 0.05
        v *= 0.95
        v += tmp
        np.sqrt(v, out=tmp)
        tmp += 1e-8
        g /= tmp
        g *= learning_rate
        w -= g


class Adam(Optimizer):
    """m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g^2; w -= lr m^ / (sqrt(v^) + 1e-8). Kingma and Ba 2015.

    m^ = m / (1 - 0.9^t) and v^ = v / (1 - 0.999^t) make up for the zeros that both start from.
    """

    slots = ("m", "v")
    kernel = "adam"

    def update(self, w: Array, g: Array, memory: list[Array], tmp: Array, learning_rate: float, count: int) -> None:
        m, v = memory
        np.multiply(g, g, out=tmp)
        tmp *= 0.001
        v *= 0.999
        v += tmp
        g *= 0.1
        m *= 0.9
        m += g
        root = math.sqrt(1.0 - 0.999**count)  # multiplied out, so that v^ needs no pass of its own
        np.sqrt(v, out=tmp)
        tmp += 1e-8 * root
        np.divide(m, tmp, out=tmp)
        tmp *= learning_rate * root / (1.0 - 0.9**count)
        w -= tmp


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "rmsprop": RmsProp, "sgd": Sgd}
