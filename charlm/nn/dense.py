"""A feed-forward layer without connections in time, as the notes put on top of a deep recurrent network."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn import initializers
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, State, Views
from charlm.nn.workspace import Workspace, columns_of, steps_of


class Dense(Layer):
    """y<t> = g(W x<t> + b), g = tanh or ReLU, at each step alone."""

    def __init__(self, ops: Backend, n_in: int, n_out: int, activation: str) -> None:
        self.ops = ops
        self.n_in, self.n_out = n_in, n_out
        self.activation = activation

    def shapes(self) -> dict[str, Shape]:
        return {"W": (self.n_out, self.n_in), "b": (self.n_out, 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        self.p, self.g = values, grads

    def initialise(self, rng: np.random.Generator) -> None:
        self.p["W"][...] = self.ops.array(initializers.glorot((self.n_out, self.n_in), rng), self.p["W"].dtype)
        self.p["b"][...] = 0

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        T, _, batch = x.shape
        columns = columns_of(x, ws, "x")
        ws.keep("x", columns)
        y = ws.columns("y_columns", self.n_out, T * batch)
        self.ops.matmul(self.p["W"], columns, out=y)
        y += self.p["b"]
        if self.activation == "tanh":
            np.tanh(y, out=y)
        else:
            np.maximum(y, 0.0, out=y)
        return steps_of(y, T), ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """dz = dy dg/dz;  dW += dz x^T, db += sum of dz, dx = W^T dz, each over all T·B columns."""
        T, _, batch = dy.shape
        # dz overwrites y.
        x, dz = ws.kept("x"), ws.columns("y_columns", self.n_out, T * batch)
        if self.activation == "tanh":
            np.multiply(dz, dz, out=dz)
            np.subtract(1.0, dz, out=dz)
        else:
            np.sign(dz, out=dz)
        dz *= columns_of(dy, ws, "dy")
        self.g.add_product("W", dz, x.T)
        self.g.add_row_sums("b", dz)
        dx = ws.columns("dx_columns", self.n_in, T * batch)
        self.ops.matmul(self.p["W"].T, dz, out=dx)
        return steps_of(dx, T), ()
