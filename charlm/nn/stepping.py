"""One token after the other, as drawing needs it: every array is made once, and a step allocates next to nothing."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from charlm.backends import Array
from charlm.nn.layer import LayerStep, State
from charlm.nn.outputs import checked
from charlm.nn.unrolled import Unrolled
from charlm.nn.workspace import Workspace

if TYPE_CHECKING:
    from charlm.nn.cells import Cell
    from charlm.nn.heads import Head
    from charlm.nn.layer import Layer
    from charlm.nn.recurrent import Recurrent


class RecurrentStep(LayerStep):
    """A cell and its state, which goes back and forth between two places: what was a<t> is the next step's a<t-1>.

    Where x is a vector, not a token, z = W [a; x; 1] of a `stacked` cell is one product with W^T as it lies in a copy:
    a vector times a matrix whose rows are contiguous takes less time than that matrix times a vector.

    tokens: whether x is an id, which stands for a one-hot column: W_x x + b is then a row of a table
    """

    def __init__(self, layer: Recurrent, ws: Workspace, *, tokens: bool) -> None:
        cell, ops = layer.cell, layer.ops
        self.cell, self.ops, self.H = cell, ops, cell.hidden
        self.tokens, self.projected = tokens, layer.projected
        self.b = cell.W_x1[:, -1:]
        self.table = ops.array((cell.W_x1[:, :-1] + self.b).T) if tokens else None
        self.stacked = cell.stacked and not cell.fused  # a device's kernel adds W_x x + b to W_a a itself
        self.takes_rows = tokens or self.projected
        rows = cell.W_a if self.takes_rows else cell.W if self.stacked else cell.W_x1
        self.W_T = ops.array(rows.T)
        self.ax = ops.array(np.ones((1, self.H + cell.n_in + 1)), ws.dtype)
        unrolled = Unrolled(cell, ws, 1, 1, cut=False)
        unrolled.W_a[...] = cell.W_a
        now = unrolled.steps[0]
        after = SimpleNamespace(**vars(now))
        after.a, after.a_new = now.a_new, now.a
        if len(cell.states) > 1:
            after.c_old, after.c_new = now.c_new, now.c_old
        for s in (now, after):  # the rows that the products take and give
            s.a_row, s.z_row, s.zx_row = s.a.T, s.z.T, s.zx.T
        self.a_part, self.x_part = self.ax[:, : self.H], self.ax[:, self.H : -1]
        self.now, self.after = now, after
        x1 = None if self.takes_rows else self.ax[:, self.H :]
        self.run_now, self.run_after = (ops.recorded(partial(_step, cell, s, x1, self.W_T)) for s in (now, after))
        self.load(layer.zero_state(1))

    def load(self, state: State) -> None:
        s = self.now
        for place, array in zip((s.a, s.c_old) if len(state) > 1 else (s.a,), state, strict=True):
            place[...] = array

    def step(self, x: Array) -> Array:
        s, cell, ax = self.now, self.cell, self.ax
        if self.takes_rows:
            zx = self.table[x[0]][:, None] if self.table is not None else np.add(x, self.b, out=s.zx)
            if self.stacked:
                self.ops.matmul(s.a_row, self.W_T, out=s.z_row)
                s.z += zx
                cell.activate(s)
            else:
                s.zx[...] = zx
                self.run_now()
        elif self.stacked:
            self.a_part[...] = s.a_row
            self.x_part[...] = x.T
            self.ops.matmul(ax, self.W_T, out=s.z_row)
            cell.activate(s)
        else:
            self.x_part[...] = x.T
            self.run_now()
        self.now, self.after = self.after, s
        self.run_now, self.run_after = self.run_after, self.run_now
        return s.a_new


def _step(cell: Cell, s: SimpleNamespace, x1: Array | None, W_T: Array) -> None:
    """Take a step with W_x x + b, of the row [x; 1] if it is not there yet."""
    if x1 is not None:
        cell.ops.matmul(x1, W_T, out=s.zx_row)
    cell.step(s)


class Stepper:
    """A body that reads from left to right and its softmax, fed one token at a time; the weights are those of now.

    Two of them do not know of each other.
    """

    def __init__(self, body: Layer, head: Head, ws: Workspace) -> None:
        self.ops = body.ops
        self._head = head
        self._body = body.stepper(ws.scope("body"))
        self._column = ws.array("logits", (head.outputs, 1))
        self._logits, self._b_y = self._column[:, 0], head.b_y[:, 0]  # sums of vectors are faster than of columns
        self._token = np.empty(1, np.int32)

    def load(self, state: State) -> None:
        """Go on from a state of one sequence; it is copied."""
        self._body.load(state)

    @np.errstate(all="ignore")
    def next_log_probs(self, token_id: int) -> np.ndarray:
        """Read a token and give ln P of every next one, `[V]`; raise NonFiniteOutputError as `Model` does."""
        self._token[0] = token_id
        self.ops.matmul(self._head.W_y, self._body.step(self._token), out=self._column)
        logits = self._logits
        logits += self._b_y
        self.ops.log_softmax(logits)
        return checked(self.ops.numpy(logits))
