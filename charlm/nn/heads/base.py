"""What stands on top of a body: it turns the last layer's output into a loss, and into probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace


class Head(ABC):
    """The output layer y^ = softmax(W_y a + b_y) of the notes, or another one, with its loss."""

    ops: Backend

    @abstractmethod
    def shapes(self) -> dict[str, Shape]:
        """Give the shape of each parameter."""

    @abstractmethod
    def bind(self, values: Views, grads: Views) -> None:
        """Take the views of the parameters and of their gradients."""

    @abstractmethod
    def initialise(self, rng: np.random.Generator) -> None:
        """Write the weights that learning starts from."""

    @abstractmethod
    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[float, Array]:
        """Give the loss, summed in nats, and dy; add `scale` times the gradients to the bound ones.

        y [T, n, B]; targets [T, B], `NO_TARGET` where none; scale: usually 1 / number of targets, for the mean
        """

    @abstractmethod
    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        """Give -ln P(target) of each target, float64 [T, B] on the host; 0 where there is none.

        best [T, B]: overwritten with the likeliest choice at each step, where given
        """

    @abstractmethod
    def log_probs(self, y: Array, ws: Workspace) -> Array:
        """Give ln P of every token, `[V, T·B]`, for y [T, n, B]."""
