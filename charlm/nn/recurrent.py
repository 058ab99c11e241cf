"""A recurrent layer: project, scan, weight products."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Shape
from charlm.nn.cells import Cell
from charlm.nn.embedding import InputColumns
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, State, Views
from charlm.nn.scan import ReferenceScan, Scan
from charlm.nn.weight_drop import WeightDrop
from charlm.nn.workspace import Workspace, steps_of


class Recurrent(Layer):
    """y<t> = a<t>, with (a<t>, c<t>) = cell(a<t-1>, c<t-1>, x<t>), t = 1 to T; the weights are the same at every step.

    Forward, W_x x<t> + b is one product for all steps, as it waits for nothing. Then the scan goes step by step.
    Backward, the scan goes from t = T to 1 and leaves dL/dz of all steps. The gradient of the weights is then one
    product over all steps, and the gradient of x another.

    wants_dx: whether a layer below learns; if not, dL/dx is not computed
    one_hot: the input is ids [T, B], which stand for one-hot columns [I]
    columns: the layer below, if it holds W_x, by token; the input is ids, and I = 0
    side: the direction of this layer, 0 or 1, which its part of each row of `columns` depends on
    weight_drop: the dropout of the recurrent weights, if they have one
    """

    def __init__(
        self,
        cell: Cell,
        *,
        wants_dx: bool = True,
        one_hot: bool = False,
        columns: InputColumns | None = None,
        side: int = 0,
        weight_drop: WeightDrop | None = None,
    ) -> None:
        self.cell, self.ops = cell, cell.ops
        self.n_in = cell.n_in if columns is None else columns.n_in
        self.n_out = cell.hidden
        self.one_hot, self.columns = one_hot, columns
        self.wants_dx = wants_dx and not one_hot and columns is None
        self.own_columns = slice(side * cell.rows, (side + 1) * cell.rows)
        self.weight_drop = weight_drop

    def shapes(self) -> dict[str, Shape]:
        return self.cell.shapes()

    def bind(self, values: Views, grads: Grads) -> None:
        self.cell.bind(values, grads)

    def initialise(self, rng: np.random.Generator) -> None:
        self.cell.initialise(rng)

    def zero_state(self, batch: int) -> State:
        return tuple(self.ops.zeros((self.cell.hidden, batch), self.cell.W.dtype) for _ in self.cell.states)

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        if self.weight_drop is not None and noise is not None:
            scan = self._made(self.weight_drop.dropped(self.cell, ws, noise), ws, "dropped_scan")
        else:
            scan = self._made(self.cell, ws, "scan")
        ws.keep("noise", noise)
        ws.keep("scan", scan)
        return scan.forward(self.project(x, ws), state, starts)

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """dW += dz [a<t-1>; x; 1]^T and dx = W_x^T dz, each over all T·B columns."""
        scan: Scan = ws.kept("scan")
        back, d_first = scan.backward(dy, d_state)
        cell, T = self.cell, len(dy)
        H, dz = cell.hidden, back.dz[-cell.rows :]  # dz_x; the runs of rows below make up dz_a
        x1 = ws.columns("x1", cell.n_in + 1, dz.shape[1])
        if self.one_hot:
            cell.g.add_one_hot("W", dz, ws.kept("ids"), x1, columns=slice(H, None))
        else:
            cell.g.add_product("W", dz, x1.T, columns=slice(H, None))
        for blocks, rows in cell.runs:
            cell.g.add_product("W", back.dz[blocks], back.a.T, rows=rows, columns=slice(H))
        if cell.other_grads is not None:
            cell.other_grads(back)
        if self.weight_drop is not None and (noise := ws.kept("noise")) is not None:
            self.weight_drop.drop_grad(cell, ws, noise)
        if self.columns is not None:
            grad = self.columns.g.zeroed("E")[:, self.own_columns]
            self.ops.lookup_grad(steps_of(dz, T), ws.kept("ids"), table_grad=grad)
        n_in = cell.n_in if self.wants_dx else 0
        dx = ws.columns("dx", n_in, dz.shape[1])
        if n_in:
            self.ops.matmul(cell.W_x1[:, :n_in].T, dz, out=dx)
        return steps_of(dx, T), d_first

    def project(self, x: Array, ws: Workspace) -> Array:
        """Return W_x x<t> + b for all steps, [G·H, T, B], the workspace's; keep the columns [x; 1] for the way back."""
        T, batch, cell = x.shape[0], x.shape[-1], self.cell
        x1 = ws.columns("x1", cell.n_in + 1, T * batch)
        zx = ws.columns("zx", cell.rows, T * batch)
        steps = zx.reshape(cell.rows, T, batch)
        if self.one_hot:
            ws.keep("ids", x)
            self.ops.one_hot_product(cell.W_x1, x, x1=x1, out=zx)
            return steps
        x1[-1] = 1
        if self.columns is not None:
            ws.keep("ids", x)
            found = ws.steps("found", (T, cell.rows, batch))
            self.ops.lookup(self.columns.table[:, self.own_columns], x, out=found)
            np.add(found.transpose(1, 0, 2), cell.W_x1[:, :, None], out=steps)
            return steps
        x1[:-1].reshape(cell.n_in, T, batch).transpose(1, 0, 2)[...] = x
        self.ops.matmul(cell.W_x1, x1, out=zx)
        return steps

    def scan(self, ws: Workspace) -> Scan:
        """Return the scan of a workspace: the device's own for this cell, or else the reference."""
        return self._made(self.cell, ws, "scan")

    def _made(self, cell: Cell, ws: Workspace, name: str) -> Scan:
        make = self.ops.scans.get(cell.name, ReferenceScan)
        scan: Scan = ws.once(name, lambda: make(cell, ws.scope(name)))
        return scan
