"""The full gated recurrent unit, with its relevance gate before or after the product.

The form of the notes is in `relevance.py`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array, ScanGrads, Shape
from charlm.nn.cells.base import Arrays
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.workspace import columns_of


class GruResetAfter(SimpleGru):
    """c~ = tanh(Gamma_r z_ca + W_cx x + b_cx), z_ca = W_ca c + b_ca, Gamma_r = sigma(W_r [c, x] + b_r).

    The rest as `SimpleGru`. Source: the form of PyTorch, cuDNN and ONNX, with two biases. dz_ca goes with c, and dz_c,
    the gradient of the argument of tanh, with x. So the way back has four blocks: ca, u, r and c.
    """

    name: ClassVar[str] = "gru-after"
    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("z_ca",)
    equations: ClassVar[tuple[str, ...]] = (
        *SimpleGru.equations[:2],
        "z_r<t> = W_rc c<t-1> + W_rx x<t> + b_r",
        "Gamma_r<t> = sigma(z_r<t>)",
        "z_ca<t> = W_cc c<t-1> + b_ca",
        "z_c<t> = Gamma_r<t> * z_ca<t> + W_cx x<t> + b_c",
        *SimpleGru.equations[3:],
    )
    rows_a: ClassVar[tuple[str, ...]] = ("c", "u", "r")

    def shapes(self) -> dict[str, Shape]:
        return {**super().shapes(), "b_ca": (self.hidden, 1)}

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        (z_ca,) = kept
        gates = z[:2]
        gates += zx[:2]
        self.ops.sigmoid(gates)
        np.add(z[2], self.p["b_ca"], out=z_ca)
        np.multiply(z[1], z_ca, out=z[2])
        z[2] += zx[2]
        self.update(z, old[0], new[0])

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> Array:
        """dz_ca = dz_c Gamma_r    dz_r = dz_c z_ca Gamma_r (1 - Gamma_r)."""
        gamma_r, (z_ca,) = z[1], kept
        dz_ca, dz_u, dz_r, dz_c = dz[0], dz[1], dz[2], dz[3]
        da = self.update_back(z, old[0], d[0], dz_u, dz_c, tmp)
        np.multiply(dz_c, gamma_r, out=dz_ca)
        np.subtract(1.0, gamma_r, out=dz_r)
        dz_r *= z_ca
        dz_r *= dz_ca
        return da

    def other_grads(self, back: ScanGrads) -> None:
        """Add db_ca = sum over t and the batch of dz_ca."""
        self.g.add_row_sums("b_ca", back.dz[: self.hidden])


class GruResetBefore(SimpleGru):
    """c~ = tanh(W_c [Gamma_r c, x] + b_c), W_c = [W_ca, W_cx]. Source: Cho et al. 2014 and Chung et al. 2014."""

    name: ClassVar[str] = "gru-before"
    gates: ClassVar[tuple[str, ...]] = ("u", "r", "c")
    kept: ClassVar[tuple[str, ...]] = ("relevant",)  # Gamma_r c
    equations: ClassVar[tuple[str, ...]] = (
        *SimpleGru.equations[:2],
        "z_r<t> = W_rc c<t-1> + W_rx x<t> + b_r",
        "Gamma_r<t> = sigma(z_r<t>)",
        "z_c<t> = W_cc (Gamma_r<t> * c<t-1>) + W_cx x<t> + b_c",
        *SimpleGru.equations[3:],
    )
    rows_a: ClassVar[tuple[str, ...]] = ("u", "r")  # W_ca's product is with Gamma_r c

    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        (a,), (relevant,) = old, kept
        gates = z[:2]
        gates += zx[:2]
        self.ops.sigmoid(gates)
        np.multiply(z[1], a, out=relevant)
        self.ops.matmul(W_a[2 * self.hidden :], relevant, out=z[2])
        z[2] += zx[2]
        self.update(z, a, new[0])

    def step_back(self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array) -> Array:
        """With e = W_ca^T dz_c = dL/d(Gamma_r c): dz_r = e c Gamma_r (1 - Gamma_r)    da += Gamma_r e."""
        gamma_r, (relevant,) = z[1], kept
        dz_u, dz_r, dz_c = dz[0], dz[1], dz[2]
        da = self.update_back(z, old[0], d[0], dz_u, dz_c, tmp)
        self.ops.matmul(W_a[2 * self.hidden :].T, dz_c, out=tmp)
        np.multiply(gamma_r, tmp, out=dz_r)
        da += dz_r
        np.subtract(1.0, gamma_r, out=dz_r)
        dz_r *= relevant
        dz_r *= tmp
        return da

    def other_grads(self, back: ScanGrads) -> None:
        """Add dW_ca = sum over t and the batch of dz_c<t> (Gamma_r c<t-1>)^T."""
        H = self.hidden
        relevant = columns_of(back.kept[0], back.ws, "relevant_columns")
        self.g.add_product("W", back.dz[2 * H :], relevant.T, rows=slice(2 * H, None), columns=slice(0, H))
