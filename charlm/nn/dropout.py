"""Dropout between layers, applied to what goes up and never to what goes on in time."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend
from charlm.nn.layer import Layer, State
from charlm.nn.workspace import Workspace


class Dropout(Layer):
    """y = x m / (1 - rate), where each element of the mask m is 0 with probability `rate`, else 1.

    Source: Srivastava et al. 2014.
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
        self.ops.dropout(x, rate=self.rate, key=key_at(noise, self.place), out=out)
        return out


class VariationalDropout(Dropout):
    """y<t> = x<t> m / (1 - rate), with one mask m for all steps that a lane has in a batch.

    Source: Gal and Ghahramani 2016. They also mask a<t-1>; Merity et al. 2018 drop recurrent weights instead, as
    `WeightDrop` does. A lane is a sequence, a part of one, or several short ones.
    """

    def _masked(self, x: Array, ws: Workspace, noise: int | None) -> Array:
        if noise is None:
            return x
        mask = factors((1, *x.shape[1:]), self.rate, key_at(noise, self.place), ws)
        out = ws.steps("masked", x.shape)
        np.multiply(x, mask, out=out)
        return out


def key_at(noise: int, place: int) -> int:
    """Return the key of one of the network's masks from the key of a training step."""
    return (noise + place * 0x9E3779B97F4A7C15) % 2**64  # an odd constant spreads the places over the keys


def factors(shape: tuple[int, ...], rate: float, key: int, ws: Workspace) -> Array:
    """Return factors m / (1 - rate) of a shape [T, n, B], 0 with probability `rate`; they are the workspace's."""
    ones, mask = ws.steps("ones", shape), ws.steps("mask", shape)
    ones[...] = 1
    ws.ops.dropout(ones, rate=rate, key=key, out=mask)
    return mask
