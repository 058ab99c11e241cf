"""The first layer: token ids to vectors. The id -1, `NOTHING`, is the zero vector, the notes' x<1> = 0."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn import initializers
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, State, Views
from charlm.nn.workspace import Workspace


class MultiHot(Layer):
    """x<t> has a 1 for each key that sounds; zeros and ones `[T, N, B]` -> x `[T, N, B]`."""

    def __init__(self, ops: Backend, keys: int) -> None:
        self.ops = ops
        self.n_in = self.n_out = keys

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        y = ws.steps("x", x.shape)
        y[...] = self.ops.array(x, y.dtype)
        return y, ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        return dy, ()  # nothing below learns


class Embedding(Layer):
    """x<t> = E[token]: the product of a matrix with a one-hot vector is a look-up; ids `[T, B]` -> x `[T, D, B]`.

    rms: root mean square of the elements of E before training
    """

    def __init__(self, ops: Backend, vocabulary_size: int, size: int, *, rms: float = 1.0) -> None:
        self.ops = ops
        self.n_in, self.n_out, self.rms = vocabulary_size, size, rms

    def shapes(self) -> dict[str, Shape]:
        return {"E": (self.n_in, self.n_out)}

    def bind(self, values: Views, grads: Grads) -> None:
        self.table, self.g = values["E"], grads

    def initialise(self, rng: np.random.Generator) -> None:
        self.table[...] = self.ops.array(initializers.normal(self.table.shape, self.rms, rng), self.table.dtype)

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        T, batch = x.shape
        y = ws.steps("x", (T, self.n_out, batch))
        self.ops.lookup(self.table, x, out=y)
        ws.keep("ids", x)
        return y, ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """Add dE: row v is the sum of dL/dx<t> over all t at which the token v was read."""
        self.ops.lookup_grad(dy, ws.kept("ids"), table_grad=self.g.zeroed("E"))
        return dy, ()


class InputColumns(Embedding):
    """W_x of one-hot tokens of a large vocabulary, by token: row v of E is the column of W_x for token v.

    It passes on ids; the recurrent layer above reads W_x x<t> = E[token] and adds dE. In a layer of two directions, a
    row has the column of the first one and then that of the second.
    """

    passes_on: ClassVar[bool] = True

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        return x, ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        return dy, ()
