"""The simple recurrent unit: tanh or ReLU of one product."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array
from charlm.nn.cells.base import Arrays, Cell


class Rnn(Cell):
    """a<t> = tanh(W_a a<t-1> + W_x x<t> + b). Source: the notes, "forward pass"."""

    name: ClassVar[str] = "rnn-tanh"
    gates: ClassVar[tuple[str, ...]] = ("a",)
    equations: ClassVar[tuple[str, ...]] = (
        "z_a<t> = W_aa a<t-1> + W_ax x<t> + b_a",
        "a<t> = tanh(z_a<t>)",
    )

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        z += zx
        self.activate(z)
        new[0][...] = z[0]

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> None:
        """dz = da' dg/dz."""
        self.slope(z, dz)
        dz *= d[0]

    def activate(self, z: Array) -> None:
        """Compute tanh(z) in place."""
        np.tanh(z, out=z)

    def slope(self, a_new: Array, out: Array) -> None:
        """Write d tanh(z) / dz = 1 - a'^2 to `out`."""
        np.multiply(a_new, a_new, out=out)
        np.subtract(1.0, out, out=out)


class ReluRnn(Rnn):
    """a<t> = max(0, W_a a<t-1> + W_x x<t> + b). Source: the notes, "hidden activations tanh/ReLU"."""

    name: ClassVar[str] = "rnn-relu"
    equations: ClassVar[tuple[str, ...]] = (Rnn.equations[0], "a<t> = ReLU(z_a<t>)")

    def activate(self, z: Array) -> None:
        """Compute max(0, z) in place."""
        np.maximum(z, 0.0, out=z)

    def slope(self, a_new: Array, out: Array) -> None:
        """Write d ReLU(z) / dz to `out`: 1 where a' > 0, else 0."""
        np.sign(a_new, out=out)
