"""From gradients to weights. Every optimizer works on the flat vectors of all parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Number
from charlm.config import TrainConfig
from charlm.nn.parameters import Parameters


class Optimizer(ABC):
    """A rule that turns the gradient g of the weights w into a step; its memory is one flat vector a slot."""

    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Parameters, ops: Backend, config: TrainConfig | None = None) -> None:
        self.parameters, self.ops, self.config = parameters, ops, config or TrainConfig()
        self.memory = {slot: ops.zeros(parameters.values.shape, parameters.values.dtype) for slot in self.slots}

    @abstractmethod
    def step(self, count: int, learning_rate: float, scale: Number | None = None) -> None:
        """Take step number `count`, from 1, along the gradient times `scale`; the gradient is overwritten."""


class _InBlocks(Optimizer):
    """An optimizer of plain ufuncs, in blocks that stay in the cache."""

    def step(self, count: int, learning_rate: float, scale: Number | None = None) -> None:
        p = self.parameters

        def of_block(block: slice) -> None:
            g = p.grads[block]
            if scale is not None:
                g *= scale
            self.update(p.values[block], g, [self.memory[slot][block] for slot in self.slots], learning_rate)

        self.ops.workers.each(of_block, self.ops.blocks(p.values.size))

    @abstractmethod
    def update(self, w: Array, g: Array, memory: list[Array], learning_rate: float) -> None:
        """Update one block of the weights and of the memory in place; g is overwritten."""


class Sgd(_InBlocks):
    """w -= lr g."""

    def update(self, w: Array, g: Array, memory: list[Array], learning_rate: float) -> None:
        g *= learning_rate
        w -= g


class Momentum(_InBlocks):
    """m = mu m + g; w -= lr m, with mu = `--momentum`. Source: Polyak 1964, in the form of PyTorch."""

    slots = ("m",)

    def update(self, w: Array, g: Array, memory: list[Array], learning_rate: float) -> None:
        (m,) = memory
        m *= self.config.momentum
        m += g
        np.multiply(m, learning_rate, out=g)
        w -= g


class RmsProp(_InBlocks):
    """v = 0.95 v + 0.05 g^2; w -= lr g / (sqrt(v) + 1e-8). Tieleman and Hinton 2012, with char-rnn's decay."""

    slots = ("v",)

    def update(self, w: Array, g: Array, memory: list[Array], learning_rate: float) -> None:
        (v,) = memory
        tmp = np.multiply(g, g)
        tmp *= 0.05
        v *= 0.95
        v += tmp
        np.sqrt(v, out=tmp)
        tmp += 1e-8
        g /= tmp
        g *= learning_rate
        w -= g


class Adam(Optimizer):
    """See `Backend.adam`, Kingma and Ba 2015."""

    slots = ("m", "v")

    def step(self, count: int, learning_rate: float, scale: Number | None = None) -> None:
        p, vectors = self.parameters, (self.memory["m"], self.memory["v"])
        betas = self.config.beta1, self.config.beta2
        self.ops.adam(p.values, p.grads, *vectors, learning_rate=learning_rate, count=count, scale=scale, betas=betas)


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "rmsprop": RmsProp, "sgd": Sgd}


def optimizer_class(config: TrainConfig) -> type[Optimizer]:
    """Return the optimizer of a configuration."""
    return Momentum if config.optimizer == "sgd" and config.momentum else OPTIMIZERS[config.optimizer]
