"""The cells whose candidate is as the notes write it, c~ = tanh(Gamma_r * W_c [c, x] + b_c), the bias outside the gate.

The stacked product gives z_c = W_c [c, x] + b_c with the bias inside, so the argument of tanh is
Gamma_r (z_c - b_c) + b_c.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array
from charlm.nn.cells.base import sigmoid
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.cells.lstm import Lstm
from charlm.nn.grads import Grads
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace


def relevance_forward(s: SimpleNamespace, gamma_r: Array, b_c: Array) -> None:
    """Turn s.z_c into the argument of tanh, and keep what the gate multiplies, s.inner = z_c - b_c."""
    np.subtract(s.z_c, b_c, out=s.inner)
    np.multiply(s.inner, gamma_r, out=s.z_c)
    s.z_c += b_c


def relevance_slopes(b: SimpleNamespace) -> None:
    """Lead the factors on through `relevance_forward`; b.f_c holds that of e = dL/d(argument of tanh) on entry.

    dz_c = e Gamma_r    dz_r = e (z_c - b_c) Gamma_r (1 - Gamma_r)    db_c = sum of e: beside its share of dz_c,
    which the weights' own product adds, b_c gets e (1 - Gamma_r), whose factor overwrites b.inner
    """
    np.subtract(1.0, b.z_r, out=b.f_beside)
    b.f_beside *= b.f_c
    b.f_c *= b.z_r
    np.multiply(b.f_beside, b.inner, out=b.f_r)
    b.f_r *= b.z_r
    b.inner[...] = b.f_beside


class RelevanceLstm(Lstm):
    """The lstm with the notes' Gamma_r = sigma(W_r [a, x] + b_r): c~ = tanh(Gamma_r W_c [a, x] + b_c)."""

    gates: ClassVar[tuple[str, ...]] = ("u", "f", "o", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("tanh_c", "inner")
    kernel: ClassVar[str] = "lstm_relevance"
    factors: ClassVar[tuple[str, ...]] = ("beside",)

    def bind(self, values: Views, grads: Grads) -> None:
        super().bind(values, grads)
        self.b_c = self.W[-self.hidden :, -1:]
        self.beside = (self.b_c,)

    def activate(self, s: SimpleNamespace) -> None:
        s.tmp[...] = s.z_r
        sigmoid(s.tmp)  # a copy, as the lstm makes gate values of all gates' rows itself
        relevance_forward(s, s.tmp, self.b_c)
        super().activate(s)

    def slopes(self, b: SimpleNamespace) -> None:
        super().slopes(b)
        relevance_slopes(b)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        self.through_memory(s, d)
        dc = d.spare  # where the lstm leaves dL/dc'
        np.multiply(s.f_r, dc, out=s.dz_r)
        s.inner *= dc
        self.linear_back(s)

    def weight_grads(self, w: SimpleNamespace, ws: Workspace) -> None:
        super().weight_grads(w, ws)
        of_candidate = slice(-self.hidden, None)
        self.g.add("W", w.inner.sum(axis=(0, 2))[:, None], rows=of_candidate, columns=slice(-1, None))


class GruResetBoth(SimpleGru):
    """c~ = tanh(Gamma_r W_c [c, x] + b_c), Gamma_r = sigma(W_r [c, x] + b_r). Source: the notes, full GRU."""

    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("inner",)
    kernel: ClassVar[str] = "gru_both"
    factors: ClassVar[tuple[str, ...]] = ("direct", "beside")

    def bind(self, values: Views, grads: Grads) -> None:
        super().bind(values, grads)
        self.b_c = self.W[-self.hidden :, -1:]
        self.beside = (self.b_c,)

    def activate(self, s: SimpleNamespace) -> None:
        sigmoid(s.gates)
        relevance_forward(s, s.z_r, self.b_c)
        self.update(s)

    def slopes(self, b: SimpleNamespace) -> None:
        super().slopes(b)
        relevance_slopes(b)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        super().step_back(s, d)
        s.inner *= d.a

    def weight_grads(self, w: SimpleNamespace, ws: Workspace) -> None:
        super().weight_grads(w, ws)
        of_candidate = slice(-self.hidden, None)
        self.g.add("W", w.inner.sum(axis=(0, 2))[:, None], rows=of_candidate, columns=slice(-1, None))
