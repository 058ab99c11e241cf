"""Dropout between layers, Srivastava et al. 2014, applied to what goes up and never to what goes on in time."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend
from charlm.nn.layer import Layer, State
from charlm.nn.workspace import Workspace


class Dropout(Layer):
    """y = x m / (1 - rate), where each element of the mask m is 0 with probability `rate`, else 1.

    The mask is a hash of the step's key, so that nothing is stored; without a key (no training), y = x.
    place: which of the network's dropouts this is, so that no two share a mask
    """

    passes_on: ClassVar[bool] = True

    def __init__(self, ops: Backend, size: int, rate: float, place: int) -> None:
        self.ops = ops
        self.n_in = self.n_out = size
        self.rate, self.place = rate, place

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        ws.keep("noise", noise)
        return self._masked(x, ws, noise), ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        return self._masked(dy, ws, ws.kept("noise")), ()

    def _masked(self, x: Array, ws: Workspace, noise: int | None) -> Array:
        if noise is None:
            return x
        out = ws.steps("masked", x.shape)
        key = (noise + self.place * 0x9E3779B97F4A7C15) % 2**64  # an odd constant spreads the places over the keys
        self.ops.dropout(x, rate=self.rate, key=key, out=out)
        return out
