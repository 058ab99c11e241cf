"""The cells whose candidate is that of the notes, c~ = tanh(Gamma_r W_c [c, x] + b_c): the bias is outside the gate.

The stacked product gives z_c = W_c [c, x] + b_c with the bias inside, so the argument of tanh is
Gamma_r (z_c - b_c) + b_c.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array, ScanGrads
from charlm.nn.cells.base import Arrays, Cell
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.cells.lstm import Lstm


class Relevance(Cell):
    """What `RelevanceLstm` and `GruResetBoth` share; the blocks r and c come last, and `kept` ends with z_c - b_c."""

    @property
    def b_c(self) -> Array:
        """The bias of the candidate, [H, 1]."""
        return self.W[-self.hidden :, -1:]

    def relevance(self, z: Array, inner: Array) -> None:
        """Turn z_c into the argument of tanh; overwrite inner with z_c - b_c."""
        gamma_r, z_c = z[-2], z[-1]
        np.subtract(z_c, self.b_c, out=inner)
        np.multiply(gamma_r, inner, out=z_c)
        z_c += self.b_c

    def relevance_back(self, z: Array, inner: Array, dz: Array, tmp: Array) -> None:
        """Go back through `relevance`; dz[-1] holds e = dL/d(argument of tanh) on entry.

        dz_c = e Gamma_r    dz_r = e (z_c - b_c) Gamma_r (1 - Gamma_r)    db_c = sum of e. The product of the weights
        gives b_c its share of dz_c; the other share, e (1 - Gamma_r), overwrites inner.
        """
        gamma_r, dz_r, dz_c = z[-2], dz[-2], dz[-1]
        np.subtract(1.0, gamma_r, out=tmp)
        tmp *= dz_c
        np.multiply(tmp, inner, out=dz_r)
        dz_r *= gamma_r
        dz_c *= gamma_r
        inner[...] = tmp

    def other_grads(self, back: ScanGrads) -> None:
        """Add the other share of db_c."""
        share = back.kept[-1].sum(axis=(0, 2))[:, None]
        self.g.add("W", share, rows=slice(-self.hidden, None), columns=slice(-1, None))


class RelevanceLstm(Relevance, Lstm):
    """The lstm with Gamma_r = sigma(W_r [a, x] + b_r) and c~ = tanh(Gamma_r W_c [a, x] + b_c). Source: the notes."""

    name: ClassVar[str] = "lstm-relevance"
    gates: ClassVar[tuple[str, ...]] = ("u", "f", "o", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("tanh_c", "inner")
    equations: ClassVar[tuple[str, ...]] = (
        *Lstm.equations[:6],
        "z_r<t> = W_ra a<t-1> + W_rx x<t> + b_r",
        "Gamma_r<t> = sigma(z_r<t>)",
        "z_c<t> = Gamma_r<t> * (W_ca a<t-1> + W_cx x<t>) + b_c",
        *Lstm.equations[7:],
    )

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        z += zx
        self.ops.sigmoid(z[:-1])
        self.relevance(z, kept[1])
        np.tanh(z[-1], out=z[-1])
        self.memory(z, old[1], new, kept[0], tmp)

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> None:
        self.memory_back(z, old[1], kept[0], d, dz, tmp)
        self.relevance_back(z, kept[1], dz, tmp)


class GruResetBoth(Relevance, SimpleGru):
    """c~ = tanh(Gamma_r W_c [c, x] + b_c), Gamma_r = sigma(W_r [c, x] + b_r). Source: the notes, full GRU."""

    name: ClassVar[str] = "gru-both"
    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("inner",)
    equations: ClassVar[tuple[str, ...]] = (
        *SimpleGru.equations[:2],
        "z_r<t> = W_rc c<t-1> + W_rx x<t> + b_r",
        "Gamma_r<t> = sigma(z_r<t>)",
        "z_c<t> = Gamma_r<t> * (W_cc c<t-1> + W_cx x<t>) + b_c",
        *SimpleGru.equations[3:],
    )

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        z += zx
        self.ops.sigmoid(z[:-1])
        self.relevance(z, kept[0])
        self.update(z, old[0], new[0])

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> Array:
        da = self.update_back(z, old[0], d[0], dz[0], dz[-1], tmp)
        self.relevance_back(z, kept[0], dz, tmp)
        return da
