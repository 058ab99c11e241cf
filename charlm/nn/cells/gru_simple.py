"""The simplified gated recurrent unit: the memory is the output, and an update gate decides which units change."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array
from charlm.nn.cells.base import Arrays, Cell


class SimpleGru(Cell):
    """c~ = tanh(W_c [c, x] + b_c); Gamma_u = sigma(W_u [c, x] + b_u); c' = Gamma_u c~ + (1 - Gamma_u) c; a' = c'.

    Source: the notes, the simplified GRU.
    """

    name: ClassVar[str] = "gru-simple"
    gates: ClassVar[tuple[str, ...]] = ("u", "c")
    equations: ClassVar[tuple[str, ...]] = (
        "z_u<t> = W_uc c<t-1> + W_ux x<t> + b_u",
        "Gamma_u<t> = sigma(z_u<t>)",
        "z_c<t> = W_cc c<t-1> + W_cx x<t> + b_c",
        "c~<t> = tanh(z_c<t>)",
        "c<t> = Gamma_u<t> * c~<t> + (1 - Gamma_u<t>) * c<t-1>",
        "a<t> = c<t>",
    )

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        z += zx
        self.ops.sigmoid(z[:-1])
        self.update(z, old[0], new[0])

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> Array:
        return self.update_back(z, old[0], d[0], dz[0], dz[-1], tmp)

    def update(self, z: Array, a: Array, a_new: Array) -> None:
        """Compute a' = Gamma_u c~ + (1 - Gamma_u) a; z[-1] holds the argument of tanh on entry and c~ on exit."""
        gamma_u, candidate = z[0], z[-1]
        np.tanh(candidate, out=candidate)
        np.subtract(candidate, a, out=a_new)
        a_new *= gamma_u
        a_new += a

    def update_back(self, z: Array, a: Array, da: Array, dz_u: Array, dz_c: Array, tmp: Array) -> Array:
        """Go back through `update`; overwrite dz_u, dz_c, tmp, and da' with da, the part of it outside the product.

        dz_u = da' (c~ - a) Gamma_u (1 - Gamma_u)    dz_c = da' Gamma_u (1 - c~^2)    da = da' (1 - Gamma_u)
        """
        gamma_u, candidate = z[0], z[-1]
        np.multiply(candidate, candidate, out=dz_c)
        np.subtract(1.0, dz_c, out=dz_c)
        dz_c *= gamma_u
        dz_c *= da
        np.subtract(1.0, gamma_u, out=tmp)
        np.subtract(candidate, a, out=dz_u)
        dz_u *= gamma_u
        dz_u *= tmp
        dz_u *= da
        np.multiply(da, tmp, out=da)
        return da
