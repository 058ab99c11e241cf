"""The lstm with peepholes: its gates also see the memory."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array, ScanGrads, Shape
from charlm.nn import initializers
from charlm.nn.cells.base import Arrays
from charlm.nn.cells.lstm import Lstm


class PeepholeLstm(Lstm):
    """Gamma = sigma(W [a, x] + P c + b) with a diagonal P for each gate; the rest as `Lstm`.

    Source: the notes; Gers et al. 2002, whose output gate sees c' instead.
    """

    name: ClassVar[str] = "lstm-peephole"
    equations: ClassVar[tuple[str, ...]] = (
        "z_u<t> = W_ua a<t-1> + W_ux x<t> + P_u * c<t-1> + b_u",
        Lstm.equations[1],
        "z_f<t> = W_fa a<t-1> + W_fx x<t> + P_f * c<t-1> + b_f",
        Lstm.equations[3],
        "z_o<t> = W_oa a<t-1> + W_ox x<t> + P_o * c<t-1> + b_o",
        *Lstm.equations[5:],
    )

    def shapes(self) -> dict[str, Shape]:
        return {**super().shapes(), "P": (3 * self.hidden, 1)}

    def initialise(self, rng: np.random.Generator) -> None:
        super().initialise(rng)
        self.p["P"][...] = self.ops.array(initializers.normal((3 * self.hidden, 1), 0.1, rng), self.W.dtype)

    @property
    def P(self) -> Array:
        """The diagonals, [3, H, 1]."""
        return self.p["P"].reshape(3, self.hidden, 1)

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        for gate in range(3):
            np.multiply(self.P[gate], old[1], out=tmp)
            z[gate] += tmp
        super().step(W_a, z, zx, old, new, kept, tmp)

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> None:
        """As `Lstm`, and dc += sum over the gates of P dz."""
        super().step_back(W_a, z, old, kept, d, dz, tmp)
        dc = d[1]
        for gate in range(3):
            np.multiply(self.P[gate], dz[gate], out=tmp)
            dc += tmp

    def other_grads(self, back: ScanGrads) -> None:
        """Add dP = sum over t and the batch of dz<t> c<t-1>."""
        T, H, batch = back.old[1].shape
        dz = back.dz[: 3 * H].reshape(3, H, T, batch)
        c = back.old[1].transpose(1, 0, 2)
        self.g.add("P", (dz * c).sum(axis=(2, 3)).reshape(3 * H, 1))
