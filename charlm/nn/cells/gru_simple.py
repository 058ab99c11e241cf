"""Gated recurrent units: the memory is the output, c = a, and an update gate says which of its numbers change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.nn.cells.base import Cell, sigmoid


class SimpleGru(Cell):
    """c~ = tanh(W_c [c, x] + b_c); Gamma_u = sigma(W_u [c, x] + b_u); c' = Gamma_u c~ + (1 - Gamma_u) c; a' = c'.

    Source: the notes, the simplified GRU.
    """

    gates: ClassVar[tuple[str, ...]] = ("u", "c")
    factors: ClassVar[tuple[str, ...]] = ("direct",)
    kernel: ClassVar[str] = "gru_simple"
    bypassed: ClassVar[bool] = True

    def activate(self, s: SimpleNamespace) -> None:
        sigmoid(s.gates)
        self.update(s)

    def update(self, s: SimpleNamespace) -> None:
        """a' = Gamma_u c~ + (1 - Gamma_u) a; s.z_c holds the argument of tanh on entry and c~ on exit."""
        np.tanh(s.z_c, out=s.z_c)
        np.subtract(s.z_c, s.a, out=s.a_new)
        s.a_new *= s.z_u
        s.a_new += s.a

    def slopes(self, b: SimpleNamespace) -> None:
        """Compute what dL/da' is multiplied with on the way back through `update`.

        f_u = (c~ - a) Gamma_u (1 - Gamma_u)    f_c = Gamma_u (1 - c~^2)    f_direct = 1 - Gamma_u, for dL/da
        """
        np.subtract(1.0, b.z_u, out=b.f_direct)
        np.subtract(b.z_c, b.a, out=b.f_u)
        b.f_u *= b.z_u
        b.f_u *= b.f_direct
        np.multiply(b.z_c, b.z_c, out=b.f_c)
        np.subtract(1.0, b.f_c, out=b.f_c)
        b.f_c *= b.z_u

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """dz = f dL/da', a block at a time; dL/da has the share (1 - Gamma_u) dL/da' beside the product's."""
        s.dz_blocks *= d.a
        self.linear_back(s)
        np.multiply(s.f_direct, d.a, out=s.tmp)
        s.d_a += s.tmp
