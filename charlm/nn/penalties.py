"""Penalties on the activations of the last recurrent layer, which the loss of training adds. Merity et al. 2017.

The loss that is reported is without them. Without the key of a training step, a penalty passes its input on.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend
from charlm.nn.layer import Layer, State
from charlm.nn.workspace import Workspace


class Penalty(Layer):
    """y = x, and a backward pass that adds the gradient of the penalty to dL/dx; factor: of the penalty."""

    passes_on: ClassVar[bool] = True

    def __init__(self, ops: Backend, size: int, factor: float) -> None:
        self.ops = ops
        self.n_in = self.n_out = size
        self.factor = factor

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        ws.keep("input", None if noise is None else (x, starts))
        return x, ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        if ws.kept("input") is None:
            return dy, ()
        dx = ws.steps("dx", dy.shape)
        x, starts = ws.kept("input")
        self._gradient(x, starts, ws, dx)
        dx += dy
        return dx, ()

    @abstractmethod
    def _gradient(self, x: Array, starts: np.ndarray | None, ws: Workspace, out: Array) -> None:
        """Overwrite `out` with the penalty's gradient by x, both [T, n, B]."""


class ActivationPenalty(Penalty):
    """L += factor mean(x^2), the mean over all steps, units and lanes; dx += 2 factor x / (T n B)."""

    def _gradient(self, x: Array, starts: np.ndarray | None, ws: Workspace, out: Array) -> None:
        np.multiply(x, 2.0 * self.factor / x.size, out=out)


class TemporalPenalty(Penalty):
    """L += factor mean((x<t> - x<t-1>)^2), the mean over all units and all pairs of steps of one sequence.

    With d<t> = x<t> - x<t-1> and N such pairs, dx<t> += 2 factor (d<t> - d<t+1>) / (N n).
    """

    def _gradient(self, x: Array, starts: np.ndarray | None, ws: Workspace, out: Array) -> None:
        T, n, batch = x.shape
        pairs = (T - 1) * batch if starts is None else int(np.count_nonzero(~starts[1:]))
        d = ws.steps("differences", x.shape)
        d[0] = 0
        np.subtract(x[1:], x[:-1], out=d[1:])
        if starts is not None:
            d[1:] *= np.logical_not(self.ops.to_device(starts))[1:, None]
        out[...] = d
        out[:-1] -= d[1:]
        out *= 2.0 * self.factor / max(1, pairs * n)
