"""The time loop: the part of a recurrent layer that waits for itself, forward and backward through time.

A recurrent layer is *project, scan, weight products*. The projection W_x x + b and the gradients of the weights are
single large products over all steps. Only the scan, a<t> from a<t-1> and back, goes step by step, and only the scan
differs by device: `Backend.scans` names a device's own by the name of the cell. `ReferenceScan` runs any cell on any
array library; tests hold every other scan to it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charlm.backends import Array, ScanGrads
from charlm.nn.cells.base import Cell
from charlm.nn.layer import State
from charlm.nn.workspace import Workspace, columns_of


class Scan(Protocol):
    """A cell over a whole sequence. It is made from a cell and from the workspace that its arrays lie in."""

    def forward(self, zx: Array, first: State, starts: np.ndarray | None) -> tuple[Array, State]:
        """Go through all steps.

        zx [G·H, T, B]: W_x x<t> + b for all steps; not changed
        first: the states before the first step, arrays [H, B] in the order of `Cell.states`; copied
        starts [T, B]: bool or None; a new sequence begins here, so the states before it are set to zero.
        Returns y [T, H, B] = a<t>, which is the scan's until its next forward, and copies of the last states.
        """

    def backward(self, dy: Array, d_last: State) -> tuple[ScanGrads, State]:
        """Go back through all steps of the last forward, once.

        dy [T, H, B]: dL/dy; d_last: dL/d(the last states), () for zeros. Neither is changed.
        Returns what the weight products need, the scan's until its next pass, and dL/d(the first states), copies.
        """

    def step(self, zx: Array, state: State) -> State:
        """Go one step on in one sequence, for sampling; there is no way back. W_a is that of the scan's first step.

        zx [G, H, 1]: W_x x<t> + b; not changed
        state: the states before the step, arrays [H, 1]; not changed
        Returns the states after it, which are the scan's until the step after next.
        """

    def state_grads(self) -> Array:
        """Return dL/da<t-1> of all steps, [T, H, B], as the last backward computed them; they are the scan's."""


class ReferenceScan:
    """Any cell on any array library with ufuncs: the loop that the equations describe.

    Going back, dL/da<t> is the sum of dL/dy<t>, from above, and of what comes back from step t+1. The cell turns it
    into dz<t>, and W_a^T dz<t> goes on to step t-1, plus what the cell returns: its part outside that product.
    """

    def __init__(self, cell: Cell, ws: Workspace) -> None:
        self.cell, self.ops, self.ws = cell, cell.ops, ws
        self._places: tuple[State, State] | None = None

    def forward(self, zx: Array, first: State, starts: np.ndarray | None) -> tuple[Array, State]:
        cell, ws = self.cell, self.ws
        (_, T, batch), H, G = zx.shape, cell.hidden, len(cell.gates)
        self.W_a = ws.columns("W_a", cell.rows, H)
        self.W_a[...] = cell.W_a
        self.z = ws.array("z", (T, G, H, batch))
        self.kept = [ws.array(name, (T, H, batch)) for name in cell.kept]
        states = [ws.array(f"{name}_old", (T + 1, H, batch)) for name in cell.states]
        self.old = [state[:T] for state in states]
        self.starts = starts
        if starts is not None:
            self.continues: Array = self.ops.array(~starts, zx.dtype)  # 0 where a sequence starts, else 1
        # Where sequences start, a<t-1> is not everywhere the output of the step before.
        y = states[0][1:] if starts is None else ws.array("y", (T, H, batch))
        after, tmp = [y, *(state[1:] for state in states[1:])], ws.array("tmp", (H, batch))
        zx_of_step, reached = zx.reshape(G, H, T, batch).transpose(2, 0, 1, 3), len(cell.reached) * H
        for state, array in zip(states, first, strict=True):
            state[0] = array
        for t in range(T):
            old = [state[t] for state in states]
            if starts is not None:
                if t:
                    old[0][...] = y[t - 1]
                if starts[t].any():
                    for array in old:
                        np.multiply(array, self.continues[t], out=array)
            z, new, kept = self.z[t], [array[t] for array in after], [array[t] for array in self.kept]
            self.ops.matmul(self.W_a[:reached], old[0], out=z.reshape(G * H, batch)[:reached])
            cell.step(self.W_a, z, zx_of_step[t], old, new, kept, tmp)
        return y, tuple(array[T - 1].copy() for array in after)

    def backward(self, dy: Array, d_last: State) -> tuple[ScanGrads, State]:
        cell, ws = self.cell, self.ws
        (T, H, batch), K = dy.shape, len(cell.blocks)
        reached = len(cell.reached) * H  # the rows of dz_a
        W_a_T = ws.columns("W_a_T", H, reached)
        for blocks, rows in cell.runs:
            W_a_T[:, blocks] = cell.W_a[rows].T
        dz, d_a = ws.array("dz", (T, K * H, batch)), ws.array("d_a", (T, H, batch))
        tmp = ws.array("tmp", (H, batch))
        d = [ws.array(f"d_{name}_next", (H, batch)) for name in cell.states]
        for array, given in zip(d, d_last or (0,) * len(d), strict=True):
            array[...] = given
        from_after = d[0]
        for t in reversed(range(T)):
            np.add(from_after, dy[t], out=d[0])
            old, kept = [array[t] for array in self.old], [array[t] for array in self.kept]
            d_outside = cell.step_back(self.W_a, self.z[t], old, kept, d, dz[t].reshape(K, H, batch), tmp)
            from_after = d_a[t]
            self.ops.matmul(W_a_T, dz[t, :reached], out=from_after)
            if d_outside is not None:
                from_after += d_outside
            if self.starts is not None and self.starts[t].any():
                for array in (from_after, *d[1:]):
                    np.multiply(array, self.continues[t], out=array)
        self._d_a = d_a
        columns = columns_of(dz, ws, "dz_columns"), columns_of(self.old[0], ws, "a_columns")
        return ScanGrads(*columns, self.old, self.kept, ws), (d_a[0].copy(), *(array.copy() for array in d[1:]))

    def state_grads(self) -> Array:
        return self._d_a

    def step(self, zx: Array, state: State) -> State:
        if self._places is None:
            self._places = self._make_places()
        new = self._places[state is self._places[0]]
        self.ops.matmul(self._step_W_reached, state[0], out=self._step_product)
        self.cell.step(self._step_W_a, self._step_z, zx, state, new, self._step_kept, self._step_tmp)
        return new

    def _make_places(self) -> tuple[State, State]:
        """Make the arrays of a single step; return the two places that the states go back and forth between."""
        cell, ws, H, G = self.cell, self.ws, self.cell.hidden, len(self.cell.gates)
        # A vector times contiguous rows of W_a^T is faster than W_a times a vector.
        self._step_W_a = self.ops.array(cell.W_a.T).T
        self._step_W_reached = self._step_W_a[: len(cell.reached) * H]
        self._step_z = ws.array("z", (G, H, 1))
        self._step_product = self._step_z.reshape(G * H, 1)[: len(self._step_W_reached)]
        self._step_kept = [ws.array(name, (H, 1)) for name in cell.kept]
        self._step_tmp = ws.array("tmp", (H, 1))
        now, after = (tuple(ws.array(f"{name}_{when}", (H, 1)) for name in cell.states) for when in ("now", "after"))
        return now, after
