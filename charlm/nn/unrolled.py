"""The arrays of a recurrent layer's pass over T steps, and for each step the views that `Cell` describes."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from charlm.backends import Array
from charlm.nn.cells import Cell
from charlm.nn.layer import COLUMNS
from charlm.nn.workspace import Workspace, steps_of

_FACTORS = 1 << 17  # numbers that `slopes` computes at once: they stay in a core's second-level cache


class Unrolled:
    """A layer unrolled in time; what is known or wanted for all steps at once lies as columns, [rows, T·B].

    cut: whether sequences start within it: a<t-1> is then not everywhere a<t> of the step before, and gets its own
    place
    chunk: steps whose W_x x<t> + b is computed at once; block: steps whose factors `slopes` computes at once
    direct: whether the device has kernels for a step: there are no factors then, dz is written as columns, and all
    steps together, `forward` and `backward`, are one piece of work that always finds its arrays in the same places
    """

    def __init__(self, cell: Cell, ws: Workspace, T: int, batch: int, *, cut: bool) -> None:
        self.cell, self.ops, self.ws = cell, cell.ops, ws
        self.T, self.batch = T, batch
        H, n_blocks = cell.hidden, len(cell.blocks)
        self.direct = bool(cell.fused)
        self.chunk = T if self.direct else min(T, -(-COLUMNS // batch))
        n_factors = n_blocks + len(cell.factors)
        self.block = T if self.direct else max(1, min(T, _FACTORS // (n_factors * H * batch)))
        self.starts: np.ndarray | None = None
        self.keep = ws.array("keep", (T + 1, batch)) if cut and self.direct else None
        self.a_old = ws.array("a_old", (T + 1, H, batch))
        self.y = ws.array("y", (T, H, batch)) if cut else self.a_old[1:]
        self.c = ws.array("c", (T + 1, H, batch)) if "c" in cell.states else None
        self.d_a = ws.array("d_a", (T, H, batch))
        self.ax1 = ws.columns("ax1", H + cell.n_in + 1, T * batch)
        self.x1 = self.ax1[H:].reshape(-1, T, batch)
        self.zx = ws.array("zx", (cell.rows, self.chunk, batch))
        self.dz = ws.columns("dz", n_blocks * H, T * batch).reshape(-1, T, batch)
        self.dz_steps = self.dz.transpose(1, 0, 2)
        self.f = ws.array("f", (1 if self.direct else self.block, n_factors * H, batch))
        # W_a out of W, whose rows begin anywhere in a line of the cache, which slows a product down
        self.W_a = ws.columns("W_a", cell.rows, H)
        reached = len(cell.reached_by_a) * H
        # A device's library multiplies with the transpose of rows, one of ours with rows that lie so, in less time.
        self.W_back = ws.array("W_back", (reached, H)).T if self.direct else ws.columns("W_back", H, reached)
        names = [*cell.states, *(["spare"] if self.c is not None and not self.direct else [])]
        self.d = SimpleNamespace(**{name: ws.array(f"next_{name}", (H, batch)) for name in names})
        self.every = {"a": self.a_old[:T], "a_new": self.y, "d_a": self.d_a}
        self.every["z"] = ws.array("z", (T, cell.rows, batch))
        self.every |= {name: ws.array(name, (T, H, batch)) for name in cell.kept}
        if self.c is not None:
            self.every |= {"c_old": self.c[:T], "c_new": self.c[1:]}
        if self.direct:
            self.dy = self.every["above"] = ws.array("dy", (T, H, batch))
        self.tmp = tmp = ws.array("tmp", (H, batch))
        self.steps = [self._views(slice(t, t + 1), tmp, step=t) for t in range(T)]
        firsts = range(0, T, self.block)
        self.blocks = [(t, self._views(slice(t, t + self.block), tmp)) for t in reversed(firsts)]
        # Of what they need and no more: with all of this object, they would keep its arrays when nobody needs them.
        self.forward = self.ops.recorded(partial(_all_steps, cell, self.W_a, self.steps, self.keep))
        of_all = self.keep, self.d_a, self.every["a"], self.ax1[:H]
        self.backward = self.ops.recorded(partial(_all_steps_back, cell, self.W_back, self.steps, *of_all))

    @property
    def nbytes(self) -> int:
        """The bytes of the views themselves: of a long sequence side by side with few, more than what they look at."""
        one = vars(self.steps[0])
        return (self.T + len(self.blocks)) * (
            sys.getsizeof(one) + sum(sys.getsizeof(view) for view in one.values() if view is not self.tmp)
        )

    def _views(self, part: slice, tmp: Array, *, step: int | None = None) -> SimpleNamespace:
        """Give the views of some steps, or of one, whose arrays have no axis of steps."""
        cell, H = self.cell, self.cell.hidden
        arrays = {name: array[part] for name, array in self.every.items()}
        arrays["f"] = self.f[0 if self.direct else part.start % self.block :][: len(arrays["z"])]
        if step is not None:
            arrays["zx"] = self.zx[:, step % self.chunk][None]
        arrays |= _by_name("z", arrays["z"], cell.gates, H) | {"gates": arrays["z"][:, :-H]}
        arrays["dz"] = self.dz_steps[part] if self.direct else arrays["f"][:, : len(cell.blocks) * H]
        arrays |= _by_name("dz", arrays["dz"], cell.blocks, H)
        arrays["dz_a"] = arrays["dz"][:, : len(cell.reached_by_a) * H]
        arrays |= _by_name("f", arrays["f"], (*cell.blocks, *cell.factors), H)
        gates = len(cell.before_gates) * H
        arrays["f_gates"] = arrays["f"][:, gates : gates + cell.rows - H]
        if "zx" in arrays:
            arrays |= _by_name("zx", arrays["zx"], cell.gates, H) | {"zx_gates": arrays["zx"][:, :-H]}
        if step is not None:
            arrays = {name: array[0] for name, array in arrays.items()}
            arrays["dz_blocks"] = arrays["dz"].reshape(len(cell.blocks), H, self.batch)
            arrays |= self._views_of_kernels(step)
        return SimpleNamespace(**arrays, tmp=tmp, W_a=self.W_a, W_back=self.W_back)

    def _views_of_kernels(self, t: int) -> dict[str, Array]:
        """Give what a step's kernels take beside; the way back begins with d.a, which is scratch from then on."""
        if not self.direct:
            return {"keep": None}
        arrays = {"back": self.d_a[t + 1] if t + 1 < self.T else self.d.a, "e": self.d.a, "keep": None}
        if self.c is not None:
            arrays["dc"] = self.d.c
        if self.keep is not None:
            arrays |= {"keep": self.keep[t + 1], "a_next": self.a_old[t + 1]}
        return arrays

    def take_starts(self, starts: np.ndarray | None) -> None:
        """Take note of where sequences start [T, B]; for a device's kernels as self.keep [T+1, B], 0 where one does."""
        self.starts = starts
        if self.keep is None or starts is None:
            return
        np.logical_not(self.ops.handed_over(starts), out=self.keep[:-1])

    def take_input(self, x: Array, *, projected: bool) -> None:
        """Lay x [T, I, B] as columns over a row of ones; or take W_x x<t> as it was looked up, and add b."""
        self.x1[-1] = 1
        if not projected:
            self.x1[:-1] = x.transpose(1, 0, 2)
            self.looked_up: Array = None
            return
        self.looked_up = x.transpose(1, 0, 2)

    def project(self, t: int, W_x1: Array) -> None:
        """Compute W_x x + b for the steps from t on, as many as a chunk has."""
        n = min(self.chunk, self.T - t)
        zx = self.zx[:, :n]
        if self.looked_up is not None:
            np.add(self.looked_up[:, t : t + n], W_x1[:, :, None], out=zx)
            return
        out = zx if n == self.chunk else self.ws.array("zx_rest", (self.cell.rows, n, self.batch))
        columns = self.ax1[self.cell.hidden :, t * self.batch : (t + n) * self.batch]
        self.ops.matmul(W_x1, columns, out=out.reshape(len(out), -1))
        if out is not zx:
            zx[...] = out

    def columns(self) -> SimpleNamespace:
        """Give what `Cell.weight_grads` takes."""
        arrays: dict[str, Any] = {**self.every}
        H = self.cell.hidden
        if not self.direct:
            _lay(self.every["a"], self.ax1[:H])
        arrays |= {"ax1": self.ax1, "a": self.ax1[:H], "x1": self.ax1[H:]}
        arrays["dz"] = self.dz.reshape(len(self.dz), -1)
        return SimpleNamespace(**arrays)

    def lay(self, first: int, block: SimpleNamespace) -> None:
        """Lay the dz of a block of steps, from `first` on, as columns: in long rows, as scattered ones take longer."""
        self.dz_steps[first : first + len(block.dz)] = block.dz

    def input_grad(self, W_x1: Array, wanted: bool) -> Array:
        """Give dL/dx = W_x^T dz, [T, I, B]; or, where it is not wanted, an array without rows."""
        n_in = self.cell.n_in if wanted else 0
        dx = self.ws.columns("dx", n_in, self.T * self.batch)
        if n_in:
            dz = self.dz[-self.cell.rows :].reshape(self.cell.rows, -1)
            self.ops.matmul(W_x1[:, :n_in].T, dz, out=dx)
        return steps_of(dx, self.T)


def _all_steps(cell: Cell, W_a: Array, steps: list[SimpleNamespace], keep: Array | None) -> None:
    """Go through all steps by a device's kernels; keep [T+1, B]: see `Unrolled.take_starts`, its last row for none."""
    W_a[...] = cell.W_a
    if keep is not None:
        keep[-1] = 1
        first = steps[0]
        for state in (first.a, first.c_old) if "c" in cell.states else (first.a,):
            np.multiply(state, keep[0], out=state)
    for s in steps:
        cell.step(s)


def _all_steps_back(
    cell: Cell, W_back: Array, steps: list[SimpleNamespace], keep: Array | None, d_a: Array, a: Array, columns: Array
) -> None:
    """Go back through all steps; a [T, H, B] is laid as columns [H, T·B], which the gradient of the weights takes."""
    cell.fill_back(W_back)
    for s in reversed(steps):
        cell.back(s)
    if keep is not None:
        np.multiply(d_a, keep[:-1, None], out=d_a)
        if "c" in cell.states:
            dc = steps[0].dc
            np.multiply(dc, keep[0], out=dc)
    _lay(a, columns)


def _lay(steps: Array, columns: Array) -> None:
    """Write steps [T, n, B] as columns [n, T·B]."""
    T, n, batch = steps.shape
    columns.reshape(n, T, batch)[...] = steps.transpose(1, 0, 2)


def _by_name(prefix: str, rows: Array, names: tuple[str, ...], H: int) -> dict[str, Array]:
    """Give the blocks of rows by name; rows [n, len(names)·H, B]."""
    return {f"{prefix}_{name}": rows[:, i * H : (i + 1) * H] for i, name in enumerate(names)}
