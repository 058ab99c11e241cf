"""The simple recurrent unit: tanh or ReLU of one product."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.nn.cells.base import Cell


class Rnn(Cell):
    """a<t> = tanh(W_a [a<t-1>, x<t>] + b_a). Source: the notes, "forward pass"."""

    gates: ClassVar[tuple[str, ...]] = ("a",)
    kernel: ClassVar[str] = "rnn_tanh"

    def activate(self, s: SimpleNamespace) -> None:
        np.tanh(s.z, out=s.z)
        s.a_new[...] = s.z

    def slopes(self, b: SimpleNamespace) -> None:
        """f = tanh' = 1 - a^2."""
        np.multiply(b.z, b.z, out=b.f)
        np.subtract(1.0, b.f, out=b.f)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """dz = f da."""
        np.multiply(s.f, d.a, out=s.dz)
        self.linear_back(s)


class ReluRnn(Rnn):
    """a<t> = max(0, W_a [a<t-1>, x<t>] + b_a). Source: the notes, "hidden activations tanh/ReLU"."""

    kernel: ClassVar[str] = "rnn_relu"

    def activate(self, s: SimpleNamespace) -> None:
        np.maximum(s.z, 0.0, out=s.z)
        s.a_new[...] = s.z

    def slopes(self, b: SimpleNamespace) -> None:
        """f = 1 where a > 0, else 0."""
        np.sign(b.z, out=b.f)
