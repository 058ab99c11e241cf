"""The output layer: from the outputs of the body to a loss and to probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Number, Shape
from charlm.nn import initializers
from charlm.nn.grads import Grads
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import NO_TARGET


@dataclass(frozen=True)
class Transitions:
    """What a label adds to the score of a sequence besides that of its step; float64, on the host.

    A [L, L]: A_ij of label j after label i; first, last [L]: of the first and of the last label of a sequence
    """

    A: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Head(ABC):
    """The output layer y^<t> = g(W_y a<t> + b_y) of the notes, and its loss.

    outputs: rows of y^
    tied: whether W_y is another layer's array
    is_chain: whether an output depends on its neighbours, so that a sequence must not be cut
    """

    is_chain: ClassVar[bool] = False

    def __init__(self, ops: Backend, n_in: int, outputs: int, *, tied: bool = False) -> None:
        self.ops = ops
        self.n_in, self.outputs, self.tied = n_in, outputs, tied

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each of the head's own parameters."""
        own = {} if self.tied else {"W_y": (self.outputs, self.n_in)}
        return {**own, "b_y": (self.outputs, 1)}

    def tied_rows(self) -> dict[str, tuple[int, int]]:
        """Return which rows of the embedding, first and end, each shared array of a head with tied weights is."""
        return {"W_y": (0, self.outputs)} if self.tied else {}

    def bind(self, values: Views, grads: Grads) -> None:
        """Use these arrays as parameters, and add to these gradients."""
        self.W_y, self.b_y, self.g = values["W_y"], values["b_y"], grads

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the initial weights of the head's own parameters."""
        if not self.tied:
            self.W_y[...] = self.ops.array(initializers.glorot(self.W_y.shape, rng), self.W_y.dtype)
        self.b_y[...] = 0

    @property
    @abstractmethod
    def blind_nats(self) -> float:
        """The loss of a target under a uniform guess."""

    def bounded(self, starts: np.ndarray | None) -> Head:
        """Return the head for sequences that begin at `starts [T, B]`: itself, if its outputs are independent."""
        return self

    def transitions(self) -> Transitions | None:
        """Return what neighbouring outputs add to the score of a sequence; None if they are independent."""
        return None

    def counts(self, targets: np.ndarray) -> np.ndarray:
        """Return how often each of V choices occurs among the targets [T, B], [V] int64; `NO_TARGET` is not counted."""
        return np.bincount(targets[targets != NO_TARGET], minlength=self.outputs)

    def frequency_nats(self, seen: np.ndarray, judged: np.ndarray) -> float:
        """Return the mean loss of targets under P(k) = (n_k + 1) / (n + V), their frequencies with Laplace's smoothing.

        seen, judged: `counts` of the targets that the frequencies come from, and of those to predict
        """
        log_probs = np.log(seen + 1.0) - np.log(seen.sum() + self.outputs)
        return float(-(judged * log_probs).sum() / max(1, judged.sum()))

    @abstractmethod
    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """Return the loss summed over the targets, in nats, and `scale` dL/dy, the workspace's; add to the gradients.

        y [T, n, B]: outputs of the body
        targets [T, B]: `NO_TARGET` where there is no target
        scale: factor of the gradients but not of the loss; 1 / number of targets for those of the mean
        """

    @abstractmethod
    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        """Return -ln P(target) of each target, float64 [T, B] on the host; 0 where there is no target.

        best [T, B]: if given, overwritten with the likeliest choice at each step
        """

    @abstractmethod
    def log_probs(self, y: Array, ws: Workspace) -> Array:
        """Return ln P of every choice, `[outputs, T·B]`, for y [T, n, B]; the workspace's."""

    def next_log_probs(self, a: Array, ws: Workspace) -> Array:
        """Return ln P of every choice, `[outputs]`, for the one column a [n, 1]; the workspace's."""
        return self.log_probs(a[None], ws)[:, 0]
