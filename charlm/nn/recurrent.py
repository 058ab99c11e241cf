"""The time loop: any cell, over a whole sequence, forward and backward through time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn.cells import Cell
from charlm.nn.layer import Layer, State, Views
from charlm.nn.workspace import Workspace


class Recurrent(Layer):
    """y<t> = a<t>, with a<t> (and c<t>) = cell(a<t-1>, x<t>), from t = 1 to T; the weights are the same at every step.

    Backward, from t = T to 1: dL/da<t> is the sum of what comes from above, dL/dy<t>, and of what comes back in time,
    W_a^T dz<t+1>; the cell turns it into dz<t>; and from all dz together the gradient of the weights is one product.

    wants_dx: whether the layer below learns; where not, dL/dx is not computed
    projected: the input is W_x x<t> already, [T, G·H, B], made by a look-up
    """

    def __init__(self, cell: Cell, *, wants_dx: bool = True, projected: bool = False) -> None:
        self.cell, self.ops = cell, cell.ops
        self.n_in = cell.rows if projected else cell.n_in
        self.n_out = cell.hidden
        self.wants_dx, self.projected = wants_dx, projected

    def shapes(self) -> dict[str, Shape]:
        return self.cell.shapes()

    def bind(self, values: Views, grads: Views) -> None:
        self.cell.bind(values, grads)

    def initialise(self, rng: np.random.Generator) -> None:
        self.cell.initialise(rng)

    def zero_state(self, batch: int) -> State:
        cell = self.cell
        zeros = np.zeros((cell.hidden, batch))
        return tuple(self.ops.array(zeros, cell.W.dtype) for _ in cell.states)

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        T, batch = x.shape[0], x.shape[2]
        H = self.n_out
        buffers = self._buffers(ws, T, batch)
        steps, ax, c = buffers.steps, buffers.ax, buffers.c
        if self.projected:
            for s, zx in zip(steps, x, strict=True):
                s.zx = zx
        else:
            ax[:T, H:-1] = x
        ax[:T, -1] = 1
        keep = buffers.keep = _keep(starts, T, ax.dtype, self.ops)
        ax[0, :H] = state[0]
        if len(state) > 1:
            c[0] = state[1]
        for t, s in enumerate(steps):
            if t:
                s.a[...] = steps[t - 1].a_new
            if keep[t] is not None:
                s.a *= keep[t]
                if c is not None:
                    s.c_old *= keep[t]
            self.cell.step(s)
        last = [buffers.y[-1], *([c[T]] if c is not None else [])]
        return buffers.y, tuple(array.copy() for array in last)

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        T, batch = dy.shape[0], dy.shape[2]
        buffers = self._buffers(ws, T, batch)
        d, keep = buffers.d, buffers.keep
        buffers.W_back[...] = self.cell.W[:, : buffers.W_back.shape[0]].T
        for name, array in zip(self.cell.states, d_state or (0,) * len(self.cell.states), strict=True):
            getattr(d, name)[...] = array
        for t in range(T - 1, -1, -1):
            s = buffers.steps[t]
            d.a += dy[t]
            self.cell.step_back(s, d)
            d.a[...] = s.d_a
            if keep[t] is not None:
                d.a *= keep[t]
                if buffers.c is not None:
                    d.c *= keep[t]
        self.cell.weight_grads(buffers.all_steps, ws)
        ws.keep("d_a", buffers.all_steps.d_a)
        dx = buffers.all_steps.z if self.projected else buffers.d_ax[:, self.n_out :]
        return dx, tuple(getattr(d, name).copy() for name in self.cell.states)

    def state_grads(self, ws: Workspace) -> Array:
        """Give dL/da<t-1> for t = 1 ... T, `[T, H, B]`, as the last backward brought it; the workspace's."""
        grads: Array = ws.kept("d_a")
        return grads

    def _buffers(self, ws: Workspace, T: int, batch: int) -> SimpleNamespace:
        buffers: SimpleNamespace = ws.views((T, batch), lambda: self._make_buffers(ws, T, batch))
        return buffers

    def _make_buffers(self, ws: Workspace, T: int, batch: int) -> SimpleNamespace:
        """Make every array of a pass, and for each step the views of it that `Cell` describes."""
        cell, H, I = self.cell, self.n_out, self.cell.n_in
        back = H + (I if self.wants_dx else 0)
        sequence = {"z": ws.array("z", (T, cell.rows, batch))}
        sequence |= {name: ws.array(name, (T, H, batch)) for name in cell.kept}
        scratch = {name: ws.array(name, (blocks * H, batch)) for name, blocks in cell.scratch.items()}
        scratch |= {"tmp_x": ws.array("tmp_x", (back - H, batch)), "W_back": ws.array("W_back", (back, cell.rows))}
        ax, y = ws.array("ax", (T, H + I + 1, batch)), ws.array("y", (T, H, batch))
        d_ax = ws.array("d_ax", (T, back, batch))
        c = ws.array("c", (T + 1, H, batch)) if "c" in cell.states else None
        d = SimpleNamespace(**{name: ws.array(f"d_{name}", (H, batch)) for name in cell.states})
        sequence |= {"ax": ax, "a": ax[:, :H], "x1": ax[:, H:], "a_new": y}
        sequence |= {"d_ax": d_ax, "d_a": d_ax[:, :H], "d_x": d_ax[:, H:]}
        if c is not None:
            sequence |= {"c_old": c[:T], "c_new": c[1:]}
        steps = [
            SimpleNamespace(**{name: array[t] for name, array in sequence.items()}, **scratch, zx=None)
            for t in range(T)
        ]
        all_steps = SimpleNamespace(**sequence)
        return SimpleNamespace(
            steps=steps, all_steps=all_steps, ax=ax, y=y, c=c, d=d, d_ax=d_ax, W_back=scratch["W_back"], keep=[]
        )


def _keep(starts: np.ndarray | None, steps: int, dtype: object, ops: Backend) -> list[Array | None]:
    """Give for each step the factors [B] of the state before it, 0 where a sequence starts; None where all are 1."""
    if starts is None:
        return [None] * steps
    factors = ops.array(~starts, dtype)
    return [factors[t] if starts[t].any() else None for t in range(steps)]
