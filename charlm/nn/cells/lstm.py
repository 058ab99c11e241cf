"""Long short-term memory: a memory c beside the output a, and gates that say what it takes in, keeps and shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Shape
from charlm.nn import initializers
from charlm.nn.cells.base import Cell
from charlm.nn.grads import Grads
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace


class Lstm(Cell):
    """Gamma_u, Gamma_f, Gamma_o = sigma(W [a, x] + b); c~ = tanh(W_c [a, x] + b_c);
    c' = Gamma_u c~ + Gamma_f c; a' = Gamma_o tanh(c').

    Source: the notes; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """

    gates: ClassVar[tuple[str, ...]] = ("u", "f", "o", "c")
    states: ClassVar[tuple[str, ...]] = ("a", "c")
    kept: ClassVar[tuple[str, ...]] = ("tanh_c",)
    kernel: ClassVar[str] = "lstm"

    def initialise(self, rng: np.random.Generator) -> None:
        """As every cell, and b_f = 1: a memory that is kept until learning says otherwise, Jozefowicz et al. 2015."""
        super().initialise(rng)
        self.W[self.hidden : 2 * self.hidden, -1] = 1

    def activate(self, s: SimpleNamespace) -> None:
        """Compute one step from the pre-activations s.z, which become gate values.

        Gamma = sigma(z_Gamma)   c~ = tanh(z_c)   c' = Gamma_u c~ + Gamma_f c   a' = Gamma_o tanh(c')

        sigma(z) = (1 + tanh(z/2)) / 2, so that one tanh does for all. Writes s.c_new, s.a_new and s.tanh_c = tanh(c').
        """
        s.gates *= 0.5
        np.tanh(s.z, out=s.z)
        s.gates += 1.0
        s.gates *= 0.5
        np.multiply(s.z_u, s.z_c, out=s.c_new)
        np.multiply(s.z_f, s.c_old, out=s.tanh_c)  # scratch until c' is whole
        s.c_new += s.tanh_c
        np.tanh(s.c_new, out=s.tanh_c)
        np.multiply(s.z_o, s.tanh_c, out=s.a_new)

    def slopes(self, b: SimpleNamespace) -> None:
        """Compute the factors of the way back, with sigma' = Gamma (1 - Gamma) and tanh' = 1 - tanh^2.

        f_u = c~ sigma'    f_f = c sigma'    f_c = Gamma_u tanh'    dL/dc' times these is dz_u, dz_f, dz_c
        f_o = tanh(c') sigma'                dL/da' times this is dz_o
        Gamma_o tanh'(c')                    dL/da' times this goes to dL/dc'; it overwrites b.tanh_c
        """
        np.subtract(1.0, b.gates, out=b.f_gates)
        b.f_gates *= b.gates
        b.f_u *= b.z_c
        b.f_f *= b.c_old
        b.f_o *= b.tanh_c
        np.multiply(b.z_c, b.z_c, out=b.f_c)
        np.subtract(1.0, b.f_c, out=b.f_c)
        b.f_c *= b.z_u
        b.tanh_c *= b.tanh_c
        np.subtract(1.0, b.tanh_c, out=b.tanh_c)
        b.tanh_c *= b.z_o

    def through_memory(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """Multiply: dL/dc' += dL/da' Gamma_o tanh'(c'), then dz as `slopes` says, and dL/dc = dL/dc' Gamma_f.

        d.a [H, B]: dL/da'; d.c: dL/dc' from the step after on entry, dL/dc on exit, and d.spare the other way round
        """
        np.multiply(d.a, s.tanh_c, out=d.spare)
        d.c += d.spare
        np.multiply(s.f_o, d.a, out=s.dz_o)
        np.multiply(s.f_u, d.c, out=s.dz_u)
        np.multiply(s.f_f, d.c, out=s.dz_f)
        np.multiply(s.f_c, d.c, out=s.dz_c)
        np.multiply(s.z_f, d.c, out=d.spare)
        d.c, d.spare = d.spare, d.c

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        self.through_memory(s, d)
        self.linear_back(s)


class PeepholeLstm(Lstm):
    """The lstm whose gates also see the memory: Gamma = sigma(W [a, x] + P c<t-1> + b), P diagonal for each gate.

    Source: the notes; Gers et al. 2002 (whose output gate sees c<t> instead).
    """

    kernel: ClassVar[str] = "lstm_peephole"

    def shapes(self) -> dict[str, Shape]:
        return {**super().shapes(), "P": (3 * self.hidden, 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        super().bind(values, grads)
        self.beside = self.beside_back = tuple(self._by_gate(values["P"]))

    def initialise(self, rng: np.random.Generator) -> None:
        super().initialise(rng)
        self.p["P"][...] = self.ops.array(initializers.normal((3 * self.hidden, 1), 0.1, rng), self.W.dtype)

    def _by_gate(self, rows: Array) -> Array:
        return rows.reshape(3, self.hidden, -1)

    def activate(self, s: SimpleNamespace) -> None:
        np.multiply(self._by_gate(self.p["P"]), s.c_old, out=self._by_gate(s.f_gates))
        s.gates += s.f_gates
        super().activate(s)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """Beside the lstm's: dL/dc<t-1> += sum over the gates of P dz. The gate values are overwritten."""
        self.through_memory(s, d)
        np.multiply(self.p["P"], s.dz[: 3 * self.hidden], out=s.gates)
        for gate in self._by_gate(s.gates):
            d.c += gate
        self.linear_back(s)

    def weight_grads(self, w: SimpleNamespace, ws: Workspace) -> None:
        """Add dP = sum over t and the batch of dz<t> c<t-1> too."""
        super().weight_grads(w, ws)
        steps, H, batch = w.c_old.shape
        for gate in range(3):
            rows = slice(gate * H, (gate + 1) * H)
            of_steps = w.dz[rows].reshape(H, steps, batch).transpose(1, 0, 2)
            self.g.add("P", (of_steps * w.c_old).sum(axis=(0, 2))[:, None], rows=rows)
