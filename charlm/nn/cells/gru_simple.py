"""Gated recurrent units: the memory is the output, c = a, and an update gate says which of its numbers change."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend
from charlm.nn.cells.base import Cell, sigmoid


def update_forward(gamma_u: Array, candidate: Array, c_old: Array, c_new: Array) -> None:
    """c' = Gamma_u c~ + (1 - Gamma_u) c; `candidate` holds z_c on entry and c~ = tanh(z_c) on exit."""
    np.tanh(candidate, out=candidate)
    np.subtract(candidate, c_old, out=c_new)
    c_new *= gamma_u
    c_new += c_old


def update_backward(gamma_u: Array, candidate: Array, c_old: Array, dc: Array, tmp: Array) -> None:
    """Go back through `update_forward`, in place.

    dz_u = dc (c~ - c) Gamma_u (1 - Gamma_u)    dz_c = dc Gamma_u (1 - c~^2)    dc = dc (1 - Gamma_u)
    """
    np.subtract(candidate, c_old, out=tmp)
    tmp *= dc
    tmp *= gamma_u
    np.multiply(candidate, candidate, out=candidate)
    np.subtract(1.0, candidate, out=candidate)
    candidate *= dc
    candidate *= gamma_u
    np.subtract(1.0, gamma_u, out=gamma_u)
    dc *= gamma_u
    gamma_u *= tmp


class SimpleGru(Cell):
    """c~ = tanh(W_c [c, x] + b_c); Gamma_u = sigma(W_u [c, x] + b_u); c' = Gamma_u c~ + (1 - Gamma_u) c; a' = c'.

    Source: the notes, the simplified GRU.
    """

    gates: ClassVar[tuple[str, ...]] = ("u", "c")
    scratch: ClassVar[Mapping[str, int]] = {"tmp": 1}

    def __init__(self, ops: Backend, n_in: int, hidden: int, **options: float) -> None:
        super().__init__(ops, n_in, hidden, **options)
        self.forward = ops.fused.get("update_forward", update_forward)
        self.backward = ops.fused.get("update_backward", update_backward)

    def step(self, s: SimpleNamespace) -> None:
        H = self.hidden
        self.linear(s)
        sigmoid(s.z[:H])
        self.forward(s.z[:H], s.z[H:], s.a, s.a_new)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        H = self.hidden
        self.backward(s.z[:H], s.z[H:], s.a, d.a, s.tmp)
        self.linear_back(s)
        s.d_a += d.a
