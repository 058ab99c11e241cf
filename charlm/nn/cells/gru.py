"""The full gated recurrent unit with its relevance gate before or after the product.

The notes' own form is in `relevance.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Shape
from charlm.nn.cells.base import sigmoid
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace


class Gru(SimpleGru):
    """What `before` and `after` have in common: c and x reach the candidate apart, as the gate comes between.

    Gamma_r = sigma(W_r [c, x] + b_r); the update is the simple GRU's.
    """

    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    scratch: ClassVar[Mapping[str, int]] = {"tmp": 1, "tmp_r": 1}

    def bind(self, values: Views, grads: Views) -> None:
        super().bind(values, grads)
        H = self.hidden
        self.W_gates, self.W_ca, self.W_cx = self.W[: 2 * H], self.W[2 * H :, :H], self.W[2 * H :, H:]

    def blocks(self, s: SimpleNamespace) -> tuple[Array, Array, Array]:
        """Give z's blocks of rows u, r and c."""
        H = self.hidden
        return s.z[:H], s.z[H : 2 * H], s.z[2 * H :]

    def linear(self, s: SimpleNamespace) -> None:
        """z_u and z_r as in every cell; of z_c only what x gives, W_cx x + b_c."""
        H = self.hidden
        self.ops.matmul(self.W_gates, s.ax, out=s.z[: 2 * H])
        self.ops.matmul(self.W_cx, s.x1, out=s.z[2 * H :])
        if s.zx is not None:
            s.z += s.zx

    def linear_back(self, s: SimpleNamespace) -> None:
        """The way back through `linear`: dz_c reaches x alone."""
        H = self.hidden
        self.ops.matmul(s.W_back[:, : 2 * H], s.z[: 2 * H], out=s.d_ax)
        if s.d_x.shape[0]:
            self.ops.matmul(s.W_back[H:, 2 * H :], s.z[2 * H :], out=s.tmp_x)
            s.d_x += s.tmp_x

    def weight_grads(self, all_steps: SimpleNamespace, ws: Workspace) -> None:
        H = self.hidden
        self.add_outer(self.g["W"][: 2 * H], all_steps.z[:, : 2 * H], all_steps.ax, ws)
        self.add_outer(self.g["W"][2 * H :, H:], all_steps.z[:, 2 * H :], all_steps.x1, ws)


class GruResetAfter(Gru):
    """c~ = tanh(Gamma_r (W_c c + b_ca) + W_cx x + b_cx): PyTorch's, cuDNN's and ONNX's form, with two biases."""

    kept: ClassVar[tuple[str, ...]] = ("z_ca",)

    def shapes(self) -> dict[str, Shape]:
        return {**super().shapes(), "b_ca": (self.hidden, 1)}

    def step(self, s: SimpleNamespace) -> None:
        self.linear(s)
        self.ops.matmul(self.W_ca, s.a, out=s.z_ca)
        s.z_ca += self.p["b_ca"]
        sigmoid(s.z[: 2 * self.hidden])
        gamma_u, gamma_r, z_c = self.blocks(s)
        np.multiply(gamma_r, s.z_ca, out=s.a_new)
        z_c += s.a_new
        self.forward(gamma_u, z_c, s.a, s.a_new)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """dz_ca = dz_c Gamma_r (left in s.z_ca for the weights), dz_r = dz_c z_ca Gamma_r (1 - Gamma_r)."""
        gamma_u, gamma_r, z_c = self.blocks(s)
        self.backward(gamma_u, z_c, s.a, d.a, s.tmp)
        np.multiply(z_c, gamma_r, out=s.tmp)
        s.z_ca *= s.tmp
        np.subtract(1.0, gamma_r, out=gamma_r)
        gamma_r *= s.z_ca
        s.z_ca[...] = s.tmp
        self.linear_back(s)
        s.d_a += d.a
        self.ops.matmul(self.W_ca.T, s.z_ca, out=s.tmp)
        s.d_a += s.tmp

    def weight_grads(self, all_steps: SimpleNamespace, ws: Workspace) -> None:
        super().weight_grads(all_steps, ws)
        H = self.hidden
        self.add_outer(self.g["W"][2 * H :, :H], all_steps.z_ca, all_steps.a, ws)
        self.g["b_ca"][...] += all_steps.z_ca.sum(axis=(0, 2))[:, None]


class GruResetBefore(Gru):
    """c~ = tanh(W_c [Gamma_r c, x] + b_c): Cho et al. 2014 and Chung et al. 2014."""

    kept: ClassVar[tuple[str, ...]] = ("relevant",)  # Gamma_r c

    def step(self, s: SimpleNamespace) -> None:
        self.linear(s)
        sigmoid(s.z[: 2 * self.hidden])
        gamma_u, gamma_r, z_c = self.blocks(s)
        np.multiply(gamma_r, s.a, out=s.relevant)
        self.ops.matmul(self.W_ca, s.relevant, out=s.a_new)
        z_c += s.a_new
        self.forward(gamma_u, z_c, s.a, s.a_new)

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """With e = W_ca^T dz_c = dL/d(Gamma_r c): dz_r = e c Gamma_r (1 - Gamma_r), and c gets e Gamma_r."""
        gamma_u, gamma_r, z_c = self.blocks(s)
        self.backward(gamma_u, z_c, s.a, d.a, s.tmp)
        self.ops.matmul(self.W_ca.T, z_c, out=s.tmp)
        np.multiply(s.tmp, gamma_r, out=s.tmp_r)
        d.a += s.tmp_r
        s.tmp_r *= s.a
        np.subtract(1.0, gamma_r, out=gamma_r)
        gamma_r *= s.tmp_r
        self.linear_back(s)
        s.d_a += d.a

    def weight_grads(self, all_steps: SimpleNamespace, ws: Workspace) -> None:
        super().weight_grads(all_steps, ws)
        H = self.hidden
        self.add_outer(self.g["W"][2 * H :, :H], all_steps.z[:, 2 * H :], all_steps.relevant, ws)
