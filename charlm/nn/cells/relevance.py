"""The cells whose candidate is as the notes write it, c~ = tanh(Gamma_r * W_c [c, x] + b_c), the bias outside the gate.

The stacked product gives z_c = W_c [c, x] + b_c with the bias inside, so the argument of tanh is
Gamma_r (z_c - b_c) + b_c.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array
from charlm.nn.cells.base import sigmoid
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.cells.lstm import Lstm
from charlm.nn.layer import Views


def relevance_forward(candidate: Array, gamma_r: Array, b_c: Array, z_c: Array) -> None:
    """Turn `candidate [H, B]` from z_c into the argument of tanh, and keep z_c."""
    z_c[...] = candidate
    candidate -= b_c
    candidate *= gamma_r
    candidate += b_c


def relevance_backward(candidate: Array, gamma_r: Array, b_c: Array, db_c: Array, z_c: Array, tmp: Array) -> None:
    """Go back through `relevance_forward`, in place; `candidate` holds e = dL/d(argument of tanh) on entry.

    dz_c = e Gamma_r    dz_r = e (z_c - b_c) Gamma_r (1 - Gamma_r)    db_c = sum of e: beside its share of dz_c,
    which the weights' own product adds, b_c gets e (1 - Gamma_r)

    Leaves dz_c in `candidate`, dz_r in `gamma_r`; overwrites z_c and tmp.
    """
    np.subtract(1.0, gamma_r, out=tmp)
    tmp *= candidate
    db_c += tmp.sum(axis=1, keepdims=True)
    candidate *= gamma_r
    z_c -= b_c
    tmp *= gamma_r
    np.multiply(z_c, tmp, out=gamma_r)


class RelevanceLstm(Lstm):
    """The lstm with the notes' Gamma_r = sigma(W_r [a, x] + b_r): c~ = tanh(Gamma_r W_c [a, x] + b_c)."""

    gates: ClassVar[tuple[str, ...]] = ("u", "f", "o", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("tanh_c", "z_c")

    def bind(self, values: Views, grads: Views) -> None:
        super().bind(values, grads)
        self.b_c, self.db_c = self.W[-self.hidden :, -1:], grads["W"][-self.hidden :, -1:]

    def step(self, s: SimpleNamespace) -> None:
        H = self.hidden
        self.linear(s)
        s.tmp[...] = s.z[3 * H : 4 * H]
        sigmoid(s.tmp)  # a copy, as `forward` makes gate values of all gates' rows itself
        relevance_forward(s.z[4 * H :], s.tmp, self.b_c, s.z_c)
        self.forward(s.z, s.c_old, s.c_new, s.a_new, s.tanh_c)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        H = self.hidden
        self.backward(s.z, s.c_old, s.tanh_c, d.a, d.c, s.tmp, s.slope)
        relevance_backward(s.z[4 * H :], s.z[3 * H : 4 * H], self.b_c, self.db_c, s.z_c, s.tmp)
        self.linear_back(s)


class GruResetBoth(SimpleGru):
    """c~ = tanh(Gamma_r W_c [c, x] + b_c), Gamma_r = sigma(W_r [c, x] + b_r). Source: the notes, full GRU."""

    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("z_c",)
    scratch: ClassVar[Mapping[str, int]] = {"tmp": 1}

    def bind(self, values: Views, grads: Views) -> None:
        super().bind(values, grads)
        self.b_c, self.db_c = self.W[-self.hidden :, -1:], grads["W"][-self.hidden :, -1:]

    def step(self, s: SimpleNamespace) -> None:
        H = self.hidden
        self.linear(s)
        sigmoid(s.z[: 2 * H])
        relevance_forward(s.z[2 * H :], s.z[H : 2 * H], self.b_c, s.z_c)
        self.forward(s.z[:H], s.z[2 * H :], s.a, s.a_new)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        H = self.hidden
        self.backward(s.z[:H], s.z[2 * H :], s.a, d.a, s.tmp)
        relevance_backward(s.z[2 * H :], s.z[H : 2 * H], self.b_c, self.db_c, s.z_c, s.tmp)
        self.linear_back(s)
        s.d_a += d.a
