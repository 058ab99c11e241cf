"""What a cell is: one time step of a recurrent layer, forward and backward.

All cells share the notes' stacked form: `W = [W_a | W_x | b]` with `[a<t-1>; x<t>; 1]` gives the pre-activations z of
all gates, a block of H rows each. W_x x<t> + b is known for all steps before the first, so it is computed for many at
once; W_a a<t-1> is what has to wait. A cell's own file holds what it does with them.

Going back, what a step multiplies dL/da<t> and dL/dc<t> with is known before the way back begins, as it hangs on values
of the forward pass alone: sigma' = Gamma (1 - Gamma), tanh' = 1 - tanh^2, times what stands beside them. `slopes`
computes these factors for many steps at once, and what is left for `step_back`, which has to go step by step, is to
multiply.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn import initializers
from charlm.nn.grads import Grads
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

    `step` and `step_back` get the views `s` of that step, and may use nothing else of the sequence; B is the last axis:

    | s.a, s.a_new | [H, B] | a<t-1>, and a<t>, written by `step`                                                   |
    | s.c_old, s.c_new | [H, B] | c<t-1> and c<t>, of cells with a second state                                     |
    | s.zx     | [G·H, B]  | W_x x<t> + b                                                                          |
    | s.z      | [G·H, B]  | gate values after `step`; s.z_u its block of the gate u, and so on; s.gates all but   |
    |          |           | the last block, the candidate                                                         |
    | s.dz     | [D·H, B]  | dL/dz, written by `step_back`, a block for each name in `blocks`; s.dz_u, ... as above, |
    |          |           | which lie where their factors s.f_u, ... do                                           |
    | s.dz_a   | [.., B]   | the first of these blocks, `reached_by_a`                                             |
    | s.d_a    | [H, B]    | dL/da<t-1>, written by `step_back`                                                    |
    | s.W_a    | [G·H, H]  | a copy of W_a                                                                         |
    | s.W_back | [H, ..]   | a copy of the columns of W_a^T that go with s.dz_a                                    |
    | s.f      | [F·H, B]  | where `slopes` leaves its factors: a block for each of `blocks`, s.f_u, ...,           |
    |          |           | and for each name in `factors`                                                        |
    | s.tmp    | [H, B]    | scratch                                                                               |

    and an array [H, B] for each name in `kept`, untouched between `step` and `slopes`.

    For a device's kernels there are, beside those of `back`, s.e [H, B], scratch, and where sequences may start, s.keep
    [B], 0 where one starts at the next step, else 1, and s.a_next [H, B], where `step` leaves a<t> times it; c<t> it
    leaves so, too.
    """

    gates: ClassVar[tuple[str, ...]]  # the row blocks of W and z in order: sigmoid gates first, the candidate last
    states: ClassVar[tuple[str, ...]] = ("a",)  # what goes from step to step; the first is the output
    kept: ClassVar[tuple[str, ...]] = ()
    before_gates: ClassVar[tuple[str, ...]] = ()  # blocks of dz beside those of the gates
    rows_of: ClassVar[Mapping[str, str]] = {}  # of such a block: the gate whose rows of W_a it goes with
    beyond_a: ClassVar[int] = 0  # how many of the last blocks a<t-1> does not reach through W_a
    factors: ClassVar[tuple[str, ...]] = ()
    stacked: ClassVar[bool] = True  # whether a<t-1> and x<t> meet in one sum, W [a; x; 1], and nowhere before
    kernel: ClassVar[str] = ""  # name under which a device may have kernels for all but the product of a step,
    kernels: ClassVar[tuple[str, ...]] = ("step", "step_back")  # ... and what these are called beside it
    bypassed: ClassVar[bool] = False  # whether a<t-1> reaches a<t> beside the product, too

    def __init__(self, ops: Backend, n_in: int, hidden: int, *, input_rms: float = OUTPUT_RMS) -> None:
        self.ops = ops
        self.n_in, self.hidden, self.input_rms = n_in, hidden, input_rms
        self.rows = len(self.gates) * hidden
        self.blocks = (*self.before_gates, *self.gates)
        self.reached_by_a = self.blocks[: len(self.blocks) - self.beyond_a]
        fused = {name: ops.fused[key] for name in self.kernels if (key := f"{self.kernel}_{name}") in ops.fused}
        self.fused = fused if len(fused) == len(self.kernels) else {}  # a device has all that a step takes, or none
        self.beside: tuple[Array, ...] = ()  # parameters beside W, which a device's kernel of a step takes
        self.beside_back: tuple[Array, ...] = ()  # and that of the way back

    def shapes(self) -> dict[str, Shape]:
        """Give the parameters' shapes: W [G·H, H+I+1], and what a cell has beside it."""
        return {"W": (self.rows, self.hidden + self.n_in + 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        """Take the views of the parameters and of their gradients."""
        self.p, self.g = values, grads
        self.W = values["W"]
        self.W_a, self.W_x1 = self.W[:, : self.hidden], self.W[:, self.hidden :]

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

    def step(self, s: SimpleNamespace) -> None:
        """Compute a<t> (and c<t>) from a<t-1>, W_x x<t> + b (and c<t-1>)."""
        self.linear(s)
        if self.fused:
            self.fused["step"](s, *self.beside)
            return
        s.z += s.zx
        self.activate(s)

    @abstractmethod
    def activate(self, s: SimpleNamespace) -> None:
        """Go on from s.z = W_a a<t-1> + W_x x<t> + b, for `stacked` cells: their `step` is the product and this."""

    @abstractmethod
    def slopes(self, b: SimpleNamespace) -> None:
        """Compute the factors of several steps at once: `b` has the arrays of `s` with the steps as first axis."""

    @abstractmethod
    def step_back(self, s: SimpleNamespace, d: SimpleNamespace) -> None:
        """Go one step back in time.

        d.a [H, B]: dL/da<t> in full; d.c [H, B]: dL/dc<t> as it came from step t+1, dL/dc<t-1> on exit (the name may
        then stand for another array). Writes s.dz and s.d_a.
        """

    def back(self, s: SimpleNamespace) -> None:
        """Go one step back in time, as `step_back` does, by a device's kernels, which do it at once, without `slopes`.

        s.back, s.above [H, B]: both parts of dL/da<t>, what came back in time and what comes from above; s.dc [H, B]:
        dL/dc<t> on entry, dL/dc<t-1> on exit. What goes to a<t-1> beside the product, they leave in s.d_a.
        """
        self.fused["step_back"](s, *self.beside_back)
        self.ops.matmul(s.W_back, s.dz_a, out=s.d_a, add=self.bypassed)

    def linear(self, s: SimpleNamespace) -> None:
        """z = W_a a<t-1>; what x<t> adds, s.zx, is left to the cell."""
        self.ops.matmul(s.W_a, s.a, out=s.z)

    def linear_back(self, s: SimpleNamespace) -> None:
        """dL/da<t-1> = W_a^T dz, as far as it goes by way of the product."""
        self.ops.matmul(s.W_back, s.dz_a, out=s.d_a)

    def fill_back(self, W_back: Array) -> None:
        """Write the columns of W_a^T that go with `reached_by_a` to `W_back [H, ..]`."""
        for number, rows in enumerate(self._rows_of_blocks()):
            W_back[:, number * self.hidden : (number + 1) * self.hidden] = self.W_a[rows].T

    def weight_grads(self, w: SimpleNamespace, ws: Workspace) -> None:
        """Add dL/dW = sum over t of dz<t> [a<t-1>; x<t>; 1]^T: one large product once a sequence, not T small ones.

        w.dz [D·H, T·B], w.ax1 [H+I+1, T·B], and of this w.a [H, T·B] and w.x1 [I+1, T·B]: the columns of all steps,
        with a last row of ones, which gives b; beside them the arrays of `s` for all steps, [T, H, B]
        """
        H = self.hidden
        if self.reached_by_a == self.gates:
            self.g.add_product("W", w.dz, w.ax1.T)
            return
        self.g.add_product("W", w.dz[-self.rows :], w.x1.T, columns=slice(H, None))
        dz_a = w.dz[: len(self.reached_by_a) * H]
        if not self.before_gates:
            self.g.add_product("W", dz_a, w.a.T, rows=slice(len(dz_a)), columns=slice(H))
            return
        product = ws.array("by_blocks", (len(dz_a), H))
        self.ops.matmul(dz_a, w.a.T, out=product)
        for number, rows in enumerate(self._rows_of_blocks()):
            self.g.add("W", product[number * H : (number + 1) * H], rows=rows, columns=slice(H))

    def _rows_of_blocks(self) -> list[slice]:
        """Give for each block that a<t-1> reaches the rows of W_a that it is multiplied with."""
        H = self.hidden
        starts = [self.gates.index(self.rows_of.get(name, name)) * H for name in self.reached_by_a]
        return [slice(start, start + H) for start in starts]
