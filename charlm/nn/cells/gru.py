"""The full gated recurrent unit with its relevance gate before or after the product.

The notes' own form is in `relevance.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Shape
from charlm.nn.cells.base import sigmoid
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.grads import Grads
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace, columns_of


class GruResetAfter(SimpleGru):
    """c~ = tanh(Gamma_r (W_c c + b_ca) + W_cx x + b_cx): PyTorch's, cuDNN's and ONNX's form, with two biases.

    Gamma_r = sigma(W_r [c, x] + b_r); the update is the simple GRU's. With z_ca = W_c c + b_ca, which c reaches and x
    does not, and z_c, which x reaches and c does not, the way back has four blocks, ca, u, r and c.
    """

    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("z_ca",)
    before_gates: ClassVar[tuple[str, ...]] = ("ca",)
    rows_of: ClassVar[Mapping[str, str]] = {"ca": "c"}
    kernel: ClassVar[str] = "gru_after"
    beyond_a: ClassVar[int] = 1
    stacked: ClassVar[bool] = False

    def shapes(self) -> dict[str, Shape]:
        return {**super().shapes(), "b_ca": (self.hidden, 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        super().bind(values, grads)
        self.beside = (values["b_ca"],)

    def step(self, s: SimpleNamespace) -> None:
        self.linear(s)
        if self.fused:
            self.fused["step"](s, *self.beside)
            return
        s.gates += s.zx_gates
        sigmoid(s.gates)
        np.add(s.z_c, self.p["b_ca"], out=s.z_ca)
        np.multiply(s.z_r, s.z_ca, out=s.z_c)
        s.z_c += s.zx_c
        self.update(s)

    def slopes(self, b: SimpleNamespace) -> None:
        """f_ca = f_c Gamma_r    f_r = f_c z_ca Gamma_r (1 - Gamma_r); the others as in the simple GRU."""
        super().slopes(b)
        np.multiply(b.f_c, b.z_r, out=b.f_ca)
        np.subtract(1.0, b.z_r, out=b.f_r)
        b.f_r *= b.z_ca
        b.f_r *= b.f_ca

    def weight_grads(self, w: SimpleNamespace, ws: Workspace) -> None:
        super().weight_grads(w, ws)
        self.g.add("b_ca", w.dz[: self.hidden].sum(axis=1, keepdims=True))


class GruResetBefore(SimpleGru):
    """c~ = tanh(W_c [Gamma_r c, x] + b_c): Cho et al. 2014 and Chung et al. 2014."""

    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("relevant",)  # Gamma_r c
    kernel: ClassVar[str] = "gru_before"
    kernels: ClassVar[tuple[str, ...]] = ("gates_step", "step", "step_back", "merge_step_back")
    beyond_a: ClassVar[int] = 1  # W_c's product is with Gamma_r c
    stacked: ClassVar[bool] = False

    def step(self, s: SimpleNamespace) -> None:
        self.ops.matmul(s.W_a[: 2 * self.hidden], s.a, out=s.gates)
        if self.fused:
            self.fused["gates_step"](s)
            self.ops.matmul(s.W_a[2 * self.hidden :], s.relevant, out=s.z_c)
            self.fused["step"](s)
            return
        s.gates += s.zx_gates
        sigmoid(s.gates)
        np.multiply(s.z_r, s.a, out=s.relevant)
        self.ops.matmul(s.W_a[2 * self.hidden :], s.relevant, out=s.z_c)
        s.z_c += s.zx_c
        self.update(s)

    def slopes(self, b: SimpleNamespace) -> None:
        """f_r = c Gamma_r (1 - Gamma_r), to be multiplied with e = W_ca^T dz_c = dL/d(Gamma_r c)."""
        super().slopes(b)
        np.subtract(1.0, b.z_r, out=b.f_r)
        b.f_r *= b.relevant

    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """With e = W_ca^T dz_c = dL/d(Gamma_r c): dz_r = f_r e, and c gets Gamma_r e beside the rest."""
        np.multiply(s.f_u, d.a, out=s.dz_u)
        np.multiply(s.f_c, d.a, out=s.dz_c)
        self.ops.matmul(s.W_a[2 * self.hidden :].T, s.dz_c, out=s.tmp)
        np.multiply(s.f_r, s.tmp, out=s.dz_r)
        self.linear_back(s)
        s.tmp *= s.z_r
        s.d_a += s.tmp
        np.multiply(s.f_direct, d.a, out=s.tmp)
        s.d_a += s.tmp

    def back(self, s: SimpleNamespace) -> None:
        """A device's kernels do what stands before, between and behind the products."""
        self.fused["step_back"](s)
        self.ops.matmul(s.W_a[2 * self.hidden :].T, s.dz_c, out=s.e)
        self.fused["merge_step_back"](s)
        self.ops.matmul(s.W_back, s.dz_a, out=s.d_a, add=True)

    def weight_grads(self, w: SimpleNamespace, ws: Workspace) -> None:
        """Add dL/dW_c = sum over t of dz_c<t> (Gamma_r c<t-1>)^T too."""
        super().weight_grads(w, ws)
        H = self.hidden
        relevant = columns_of(w.relevant, ws, "relevant_columns")
        self.g.add_product("W", w.dz[2 * H :], relevant.T, rows=slice(2 * H, None), columns=slice(H))
