"""Long short-term memory: a memory c beside the output a, and gates for what it takes in, keeps and shows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array
from charlm.nn.cells.base import Arrays, Cell


class Lstm(Cell):
    """Gamma_u, Gamma_f, Gamma_o = sigma(W [a, x] + b); c~ = tanh(W_c [a, x] + b_c);
    c' = Gamma_u c~ + Gamma_f c; a' = Gamma_o tanh(c').

    Source: the notes; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """

    name: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("u", "f", "o", "c")
    states: ClassVar[tuple[str, ...]] = ("a", "c")
    kept: ClassVar[tuple[str, ...]] = ("tanh_c",)
    equations: ClassVar[tuple[str, ...]] = (
        "z_u<t> = W_ua a<t-1> + W_ux x<t> + b_u",
        "Gamma_u<t> = sigma(z_u<t>)",
        "z_f<t> = W_fa a<t-1> + W_fx x<t> + b_f",
        "Gamma_f<t> = sigma(z_f<t>)",
        "z_o<t> = W_oa a<t-1> + W_ox x<t> + b_o",
        "Gamma_o<t> = sigma(z_o<t>)",
        "z_c<t> = W_ca a<t-1> + W_cx x<t> + b_c",
        "c~<t> = tanh(z_c<t>)",
        "c<t> = Gamma_u<t> * c~<t> + Gamma_f<t> * c<t-1>",
        "a<t> = Gamma_o<t> * tanh(c<t>)",
    )

    def initialise(self, rng: np.random.Generator) -> None:
        """Start as every cell, with b_f = 1, so that the memory is kept at first (Jozefowicz et al. 2015)."""
        super().initialise(rng)
        self.W[self.hidden : 2 * self.hidden, -1] = 1

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        z += zx
        gates = z[:-1]
        gates *= 0.5  # sigma(z) = (1 + tanh(z/2)) / 2, so one call of tanh serves gates and candidate
        np.tanh(z, out=z)
        gates += 1.0
        gates *= 0.5
        self.memory(z, old[1], new, kept[0], tmp)

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> None:
        self.memory_back(z, old[1], kept[0], d, dz, tmp)

    def memory(self, z: Array, c: Array, new: Arrays, tanh_c: Array, tmp: Array) -> None:
        """Compute c' = Gamma_u c~ + Gamma_f c and a' = Gamma_o tanh(c') from the gate values z."""
        gamma_u, gamma_f, gamma_o, candidate = z[0], z[1], z[2], z[-1]
        a_new, c_new = new
        np.multiply(gamma_u, candidate, out=c_new)
        np.multiply(gamma_f, c, out=tmp)
        c_new += tmp
        np.tanh(c_new, out=tanh_c)
        np.multiply(gamma_o, tanh_c, out=a_new)

    def memory_back(self, z: Array, c: Array, tanh_c: Array, d: Arrays, dz: Array, tmp: Array) -> None:
        """Go back through `memory`; dL/dz = dL/dGamma Gamma (1 - Gamma) for a sigmoid gate.

        dc' += da' Gamma_o (1 - tanh^2(c'))    dc = dc' Gamma_f    dz_c = dc' Gamma_u (1 - c~^2).
        dz_u = dc' c~ Gamma_u (1 - Gamma_u)    dz_f = dc' c Gamma_f (1 - Gamma_f).
        dz_o = da' tanh(c') Gamma_o (1 - Gamma_o).
        """
        gamma_u, gamma_f, gamma_o, candidate = z[0], z[1], z[2], z[-1]
        dz_u, dz_f, dz_o, dz_c = dz[0], dz[1], dz[2], dz[-1]
        da, dc = d  # dL/da', and dL/dc', which becomes dL/dc
        np.multiply(tanh_c, tanh_c, out=tmp)
        np.subtract(1.0, tmp, out=tmp)
        tmp *= gamma_o
        tmp *= da
        dc += tmp
        gates, dz_gates = z[:3], dz[:3]
        np.subtract(1.0, gates, out=dz_gates)
        dz_gates *= gates
        dz_u *= candidate
        dz_u *= dc
        dz_f *= c
        dz_f *= dc
        dz_o *= tanh_c
        dz_o *= da
        np.multiply(candidate, candidate, out=dz_c)
        np.subtract(1.0, dz_c, out=dz_c)
        dz_c *= gamma_u
        dz_c *= dc
        dc *= gamma_f
