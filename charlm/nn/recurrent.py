"""The time loop: any cell, over a whole sequence, forward and backward through time."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn.cells import Cell
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, LayerStep, Read, State, Views, pieces
from charlm.nn.stepping import RecurrentStep
from charlm.nn.unrolled import Unrolled
from charlm.nn.workspace import Workspace


class Recurrent(Layer):
    """y<t> = a<t>, with a<t> (and c<t>) = cell(a<t-1>, x<t>), from t = 1 to T; the weights are the same at every step.

    Forward, W_x x<t> + b is computed for many steps at once, as it waits for nothing. Backward, from t = T to 1:
    dL/da<t> is the sum of what comes from above, dL/dy<t>, and of what comes back in time, W_a^T dz<t+1>; the cell
    turns it into dz<t>; and from all dz together the gradient of the weights is one product, and that of x another.

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

    def bind(self, values: Views, grads: Grads) -> None:
        self.cell.bind(values, grads)

    def initialise(self, rng: np.random.Generator) -> None:
        self.cell.initialise(rng)

    def zero_state(self, batch: int) -> State:
        cell = self.cell
        return tuple(self.ops.zeros((cell.hidden, batch), cell.W.dtype) for _ in cell.states)

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        u = self._unrolled(ws, x.shape[0], x.shape[2], starts is not None)
        u.take_input(x, projected=self.projected)
        u.a_old[0] = state[0]
        if u.c is not None:
            u.c[0] = state[1]
        u.take_starts(starts)
        if u.direct:
            u.project(0, self.cell.W_x1)
            u.forward()
        else:
            self._step_by_step(u)
        last = [u.y[-1], *([u.c[u.T]] if u.c is not None else [])]
        return u.y, tuple(array.copy() for array in last)

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        for first, end in pieces(len(out), out.shape[2]):
            part = None if starts is None else starts[first:end]
            out[first:end], state = self.forward(read(first, end), state, ws, starts=part)
        return state

    def _step_by_step(self, u: Unrolled) -> None:
        keep = _keep(u.starts, u.y.dtype, self.ops)
        u.W_a[...] = self.cell.W_a
        for t, s in enumerate(u.steps):
            if t % u.chunk == 0:
                u.project(t, self.cell.W_x1)
            if keep is not None:
                if t:
                    s.a[...] = u.y[t - 1]
                if keep[t] is not None:
                    s.a *= keep[t]
                    if u.c is not None:
                        s.c_old *= keep[t]
            self.cell.step(s)

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        u: Unrolled = ws.kept("unrolled")
        for name, array in zip(self.cell.states, d_state or (0,) * len(self.cell.states), strict=True):
            getattr(u.d, name)[...] = array
        if u.direct:
            u.dy[...] = dy
            u.backward()
        else:
            self._step_by_step_back(u, dy)
        self.cell.weight_grads(u.columns(), ws)
        ws.keep("d_a", u.d_a)
        dx = u.dz_steps[:, -self.cell.rows :] if self.projected else u.input_grad(self.cell.W_x1, self.wants_dx)
        return dx, tuple(array.copy() for array in (u.d_a[0], *([u.d.c] if u.c is not None else [])))

    def _step_by_step_back(self, u: Unrolled, dy: Array) -> None:
        d, keep = u.d, _keep(u.starts, dy.dtype, self.ops)
        self.cell.fill_back(u.W_back)
        from_after: Array = d.a  # what came back from the step after, here from beyond the last one
        for first, block in u.blocks:
            self.cell.slopes(block)
            for t in range(min(first + u.block, u.T) - 1, first - 1, -1):
                s = u.steps[t]
                np.add(from_after, dy[t], out=d.a)
                self.cell.step_back(s, d)
                from_after = s.d_a
                if keep is not None and keep[t] is not None:
                    from_after *= keep[t]
                    if u.c is not None:
                        d.c *= keep[t]
            u.lay(first, block)

    def stepper(self, ws: Workspace, *, tokens: bool = False) -> LayerStep:
        return RecurrentStep(self, ws, tokens=tokens)

    def state_grads(self, ws: Workspace) -> Array:
        """Give dL/da<t-1> for t = 1 ... T, `[T, H, B]`, as the last backward brought it; the workspace's."""
        grads: Array = ws.kept("d_a")
        return grads

    def _unrolled(self, ws: Workspace, T: int, batch: int, cut: bool) -> Unrolled:
        """Give the arrays of a pass; cut: whether sequences start within it."""
        ws.keep("unrolled", None)  # the one of the pass before may be gone before another is made
        unrolled: Unrolled = ws.views((T, batch, cut), lambda: Unrolled(self.cell, ws, T, batch, cut=cut))
        ws.keep("unrolled", unrolled)
        return unrolled


def _keep(starts: np.ndarray | None, dtype: object, ops: Backend) -> list[Array | None] | None:
    """Give for each step the factors [B] of the state before it, 0 where a sequence starts; None where all are 1."""
    if starts is None:
        return None
    factors = ops.array(~starts, dtype)
    return [factors[t] if of_step.any() else None for t, of_step in enumerate(starts)]
