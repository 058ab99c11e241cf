"""Long short-term memory: a memory c beside the output a, and gates that say what it takes in, keeps and shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn import initializers
from charlm.nn.cells.base import Cell, sigmoid
from charlm.nn.workspace import Workspace


def lstm_forward(z: Array, c_old: Array, c_new: Array, a_new: Array, tanh_c: Array) -> None:
    """Compute one step from the pre-activations; z [G·H, B]: pre-activations in, gate values out.

    Gamma = sigma(z_Gamma)   c~ = tanh(z_c)   c' = Gamma_u c~ + Gamma_f c   a' = Gamma_o tanh(c')

    Writes c_new, a_new and tanh_c = tanh(c'), all [H, B].
    """
    H = c_old.shape[0]
    gamma, candidate = z[:-H], z[-H:]
    sigmoid(gamma)
    np.tanh(candidate, out=candidate)
    gamma_u, gamma_f, gamma_o = z[:H], z[H : 2 * H], z[2 * H : 3 * H]
    np.multiply(gamma_u, candidate, out=c_new)
    np.multiply(gamma_f, c_old, out=tanh_c)  # scratch until c' is whole
    c_new += tanh_c
    np.tanh(c_new, out=tanh_c)
    np.multiply(gamma_o, tanh_c, out=a_new)


def lstm_backward(z: Array, c_old: Array, tanh_c: Array, da: Array, dc: Array, tmp: Array, slope: Array) -> None:
    """Go back through `lstm_forward`; z [G·H, B]: gate values in, dL/dz of Gamma_u, Gamma_f, Gamma_o and c~ out.

    dc += da Gamma_o (1 - tanh(c')^2)              then, with sigma' = Gamma (1 - Gamma) and tanh' = 1 - c~^2,
    dz_o = da tanh(c') sigma'    dz_f = dc c sigma'    dz_u = dc c~ sigma'    dz_c = dc Gamma_u tanh'    dc = dc Gamma_f

    dc [H, B]: dL/dc' from the step after on entry, dL/dc on exit. Overwrites tanh_c, tmp [H, B], slope [3H, B].
    """
    H = c_old.shape[0]
    gamma, candidate = z[: 3 * H], z[-H:]
    gamma_u, gamma_f, gamma_o = z[:H], z[H : 2 * H], z[2 * H : 3 * H]
    np.multiply(tanh_c, tanh_c, out=tmp)
    np.subtract(1.0, tmp, out=tmp)
    tmp *= gamma_o
    tmp *= da
    dc += tmp
    np.subtract(1.0, gamma, out=slope)
    slope *= gamma
    tanh_c *= da
    np.multiply(slope[2 * H :], tanh_c, out=gamma_o)
    np.multiply(dc, gamma_u, out=tanh_c)  # dL/dc~
    np.multiply(dc, candidate, out=tmp)
    np.multiply(slope[:H], tmp, out=gamma_u)
    np.multiply(candidate, candidate, out=candidate)
    np.subtract(1.0, candidate, out=candidate)
    candidate *= tanh_c
    np.multiply(dc, c_old, out=tmp)
    dc *= gamma_f
    np.multiply(slope[H : 2 * H], tmp, out=gamma_f)


class Lstm(Cell):
    """Gamma_u, Gamma_f, Gamma_o = sigma(W [a, x] + b); c~ = tanh(W_c [a, x] + b_c);
    c' = Gamma_u c~ + Gamma_f c; a' = Gamma_o tanh(c').

    Source: the notes; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """

    gates: ClassVar[tuple[str, ...]] = ("u", "f", "o", "c")
    states: ClassVar[tuple[str, ...]] = ("a", "c")
    kept: ClassVar[tuple[str, ...]] = ("tanh_c",)
    scratch: ClassVar[Mapping[str, int]] = {"tmp": 1, "slope": 3}

    def __init__(self, ops: Backend, n_in: int, hidden: int, **options: float) -> None:
        super().__init__(ops, n_in, hidden, **options)
        self.forward = ops.fused.get("lstm_forward", lstm_forward)
        self.backward = ops.fused.get("lstm_backward", lstm_backward)

    def initialise(self, rng: np.random.Generator) -> None:
        """As every cell, and b_f = 1: a memory that is kept until learning says otherwise, Jozefowicz et al. 2015."""
        super().initialise(rng)
        self.W[self.hidden : 2 * self.hidden, -1] = 1

    def step(self, s: SimpleNamespace) -> None:
        self.linear(s)
        self.forward(s.z, s.c_old, s.c_new, s.a_new, s.tanh_c)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        self.backward(s.z, s.c_old, s.tanh_c, d.a, d.c, s.tmp, s.slope)
        self.linear_back(s)


class PeepholeLstm(Lstm):
    """The lstm whose gates also see the memory: Gamma = sigma(W [a, x] + P c<t-1> + b), P diagonal for each gate.

    Source: the notes; Gers et al. 2002 (whose output gate sees c<t> instead).
    """

    def shapes(self) -> dict[str, Shape]:
        return {**super().shapes(), "P": (3 * self.hidden, 1)}

    def initialise(self, rng: np.random.Generator) -> None:
        super().initialise(rng)
        self.p["P"][...] = self.ops.array(initializers.normal((3 * self.hidden, 1), 0.1, rng), self.W.dtype)

    def _by_gate(self, rows: Array) -> Array:
        return rows.reshape(3, self.hidden, -1)

    def step(self, s: SimpleNamespace) -> None:
        self.linear(s)
        np.multiply(self._by_gate(self.p["P"]), s.c_old, out=self._by_gate(s.slope))
        s.z[: 3 * self.hidden] += s.slope
        self.forward(s.z, s.c_old, s.c_new, s.a_new, s.tanh_c)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """Beside the lstm's: dL/dc<t-1> += sum over the gates of P dz."""
        self.backward(s.z, s.c_old, s.tanh_c, d.a, d.c, s.tmp, s.slope)
        np.multiply(self.p["P"], s.z[: 3 * self.hidden], out=s.slope)
        for gate in self._by_gate(s.slope):
            d.c += gate
        self.linear_back(s)

    def weight_grads(self, all_steps: SimpleNamespace, ws: Workspace) -> None:
        """Add dP = sum over t and the batch of dz<t> c<t-1>."""
        super().weight_grads(all_steps, ws)
        H = self.hidden
        for gate in range(3):
            rows = slice(gate * H, (gate + 1) * H)
            self.g["P"][rows] += (all_steps.z[:, rows] * all_steps.c_old).sum(axis=(0, 2))[:, None]
