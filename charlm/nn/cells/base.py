"""What a cell is: one time step of a recurrent layer, forward and backward.

All cells share the notes' stacked form: one product of `W = [W_a | W_x | b]` with `[a<t-1>; x<t>; 1]` gives the
pre-activations z of all gates, a block of H rows each. A cell's own file holds what it does with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn import initializers
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace

OUTPUT_RMS = 1 / 3  # about what a recurrent layer's output has before it has learned


def sigmoid(x: Array) -> None:
    """Compute sigma(x) = (1 + tanh(x/2)) / 2 in place: no overflow, and tanh is the fast path."""
    x *= 0.5
    np.tanh(x, out=x)
    x += 1.0
    x *= 0.5


class Cell(ABC):
    """One time step; `input_rms` is the root mean square of the numbers of x that learning begins with.

    `step` and `step_back` get the views `s` of that step, and may use nothing else of the sequence:

    | s.ax    | [H+I+1, B]  | [a<t-1>; x<t>; 1]; s.a is its first H rows, s.x1 the others                          |
    | s.zx    | [G·H, B]    | W_x x<t> where a look-up has made it (then I = 0), else None                          |
    | s.z     | [G·H, B]    | gate values after `step`; dL/dz after `step_back`                                     |
    | s.a_new | [H, B]      | a<t>, written by `step`                                                               |
    | s.c_old, s.c_new | [H, B] | c<t-1> and c<t>, of cells with a second state                                     |
    | s.d_ax  | [H+I, B]    | dL/d[a<t-1>; x<t>], written by `step_back`; s.d_a is its first H rows, s.d_x the      |
    |         |             | others, of which there are none where dx is not wanted                                |
    | s.W_back | [H+I, G·H] | the transpose of W's columns for [a; x], or for a alone                               |

    and an array [H, B] a step for each name in `kept`, untouched between forward and backward, and one for all steps
    for each name in `scratch`. Batch B is the last axis throughout.
    """

    gates: ClassVar[tuple[str, ...]]  # the row blocks of W and z in order: sigmoid gates first, the candidate last
    states: ClassVar[tuple[str, ...]] = ("a",)  # what goes from step to step; the first is the output
    kept: ClassVar[tuple[str, ...]] = ()
    scratch: ClassVar[Mapping[str, int]] = {}  # name -> blocks of H rows

    def __init__(self, ops: Backend, n_in: int, hidden: int, *, input_rms: float = OUTPUT_RMS) -> None:
        self.ops = ops
        self.n_in, self.hidden, self.input_rms = n_in, hidden, input_rms
        self.rows = len(self.gates) * hidden

    def shapes(self) -> dict[str, Shape]:
        """Give the parameters' shapes: W [G·H, H+I+1], and what a cell has beside it."""
        return {"W": (self.rows, self.hidden + self.n_in + 1)}

    def bind(self, values: Views, grads: Views) -> None:
        """Take the views of the parameters and of their gradients."""
        self.p, self.g = values, grads
        self.W = values["W"]

    def initialise(self, rng: np.random.Generator) -> None:
        """Write an orthogonal W_a, a W_x such that W_x x has variance 1, and zero biases but for the candidate's.

        With those zero too, the notes' first step, x<1> = 0 and a<0> = 0, would give a<1> = 0, which says nothing:
        drawn at random, they make "nothing" a token among others.
        """
        H = self.hidden
        for row in range(0, self.rows, H):
            block = self.W[row : row + H]
            block[:, :H] = self.ops.array(initializers.orthogonal(H, rng), self.W.dtype)
            block[:, H:-1] = self.ops.array(
                initializers.unit_variance((H, self.n_in), self.input_rms, rng), self.W.dtype
            )
            block[:, -1] = 0
        block[:, -1] = self.ops.array(initializers.normal((H,), 0.5, rng), self.W.dtype)

    @abstractmethod
    def step(self, s: SimpleNamespace) -> None:
        """Compute a<t> (and c<t>) from a<t-1>, x<t> (and c<t-1>)."""

    @abstractmethod
    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """Go one step back in time.

        d.a [H, B]: dL/da<t> in full; d.c [H, B]: dL/dc<t> as it came from step t+1, dL/dc<t-1> on exit. Turns s.z from
        gate values into dL/dz and writes s.d_ax.
        """

    def linear(self, s: SimpleNamespace) -> None:
        """z = W [a<t-1>; x<t>; 1]."""
        self.ops.matmul(self.W, s.ax, out=s.z)
        if s.zx is not None:
            s.z += s.zx

    def linear_back(self, s: SimpleNamespace) -> None:
        """d[a<t-1>; x<t>] = W^T dz."""
        self.ops.matmul(s.W_back, s.z, out=s.d_ax)

    def weight_grads(self, all_steps: SimpleNamespace, ws: Workspace) -> None:
        """Add dL/dW = sum over t of dz<t> [a<t-1>; x<t>; 1]^T: one large product once a sequence, not T small ones.

        all_steps: arrays as in `s`, `[T, rows, B]`
        """
        self.add_outer(self.g["W"], all_steps.z, all_steps.ax, ws)

    def add_outer(self, grad: Array, dz: Array, x: Array, ws: Workspace) -> None:
        """Add sum over t of dz<t> x<t>^T to `grad [m, n]`, for dz [T, m, B] and x [T, n, B]."""
        steps, m, batch = dz.shape
        n = x.shape[1]
        dz_columns = ws.array("dz_columns", (m, steps, batch))
        x_columns = ws.array("x_columns", (n, steps, batch))
        product = ws.array("product", (m, n))
        dz_columns[...] = dz.transpose(1, 0, 2)
        x_columns[...] = x.transpose(1, 0, 2)
        self.ops.matmul(dz_columns.reshape(m, -1), x_columns.reshape(n, -1).T, out=product)
        grad += product
