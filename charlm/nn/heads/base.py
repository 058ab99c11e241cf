"""What stands on top of a body: it turns the last layer's output into a loss, and into probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from charlm.backends import Array, Backend, Number, Shape
from charlm.nn import initializers
from charlm.nn.grads import Grads
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace


class Head(ABC):
    """The output layer y^<t> = g(W_y a<t> + b_y) of the notes, and its loss.

    outputs: numbers that y^ has; tied: W_y is not its own, but bound to another layer's array
    """

    def __init__(self, ops: Backend, n_in: int, outputs: int, *, tied: bool = False) -> None:
        self.ops = ops
        self.n_in, self.outputs, self.tied = n_in, outputs, tied

    def shapes(self) -> dict[str, Shape]:
        """Give the shape of each parameter."""
        own = {} if self.tied else {"W_y": (self.outputs, self.n_in)}
        return {**own, "b_y": (self.outputs, 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        """Take the views of the parameters and of their gradients."""
        self.W_y, self.b_y, self.g = values["W_y"], values["b_y"], grads

    def initialise(self, rng: np.random.Generator) -> None:
        """Write the weights that learning starts from."""
        if not self.tied:
            self.W_y[...] = self.ops.array(initializers.glorot(self.W_y.shape, rng), self.W_y.dtype)
        self.b_y[...] = 0

    def logits(self, a: Array, ws: Workspace) -> Array:
        """Give W_y a + b_y for columns a `[n, N]`, as `[outputs, N]`, the workspace's."""
        logits = ws.columns("logits", self.outputs, a.shape[1])
        self.ops.matmul(self.W_y, a, out=logits)
        logits += self.b_y
        return logits

    @property
    @abstractmethod
    def blind_nats(self) -> float:
        """The loss of a target under a uniform guess."""

    @abstractmethod
    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """Give the loss, summed in nats, a number of the device, and dy; add to the bound gradients.

        y [T, n, B]; targets [T, B], `NO_TARGET` where none
        scale: what the gradients are multiplied with, usually 1 / number of targets, for the mean
        """

    @abstractmethod
    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        """Give -ln P(target) of each target, float64 [T, B] on the host; 0 where there is none.

        best [T, B]: overwritten with the likeliest choice at each step, where given
        """

    @abstractmethod
    def log_probs(self, y: Array, ws: Workspace) -> Array:
        """Give ln P of every token, `[V, T·B]`, for y [T, n, B]."""
