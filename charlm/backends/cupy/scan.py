"""The time loop on a GPU: all steps of a layer, forward or backward, are launched as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from charlm.backends.base import Array, ScanGrads
from charlm.backends.cupy.cells import CELLS, CellKernels

_GRAPHS_KEPT = 8  # shapes: the batches of an epoch differ by a step, and those of lines to score by more

State = tuple[Array, ...]


class CellFacts(Protocol):
    """What a scan uses of `charlm.nn.cells.Cell`."""

    name: Any
    gates: Any
    states: Any
    kept: Any
    ops: Any
    hidden: int
    rows: int
    blocks: tuple[str, ...]
    reached: tuple[str, ...]
    p: Mapping[str, Array]
    W: Array
    W_a: Array
    runs: list[tuple[slice, slice]]


class Buffers(Protocol):
    """What a scan uses of a workspace."""

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a named buffer."""

    def columns(self, name: str, n: int, width: int) -> Array:
        """Return a named buffer of `n` rows."""


@dataclass
class _Steps:
    """What the kernels of all steps take, always at the same addresses.

    arrays: of each step, by the names of the kernels' arguments
    n: rows of z that W_a a<t-1> is written to, and of dz_a, which W_a^T is multiplied with
    W_a [G·H, H], W_a_T [H, n]: copies of the recurrent weights, in the order of the rows of z and of dz_a
    continues [T+1, B]: 0 where a sequence starts at the step, else 1; its last row is 1; None where none starts
    """

    cell: CellFacts
    kernels: CellKernels
    arrays: list[dict[str, Array]]
    n: int
    W_a: Array
    W_a_T: Array
    continues: Array | None = None

    def run_step(self, s: Mapping[str, Array]) -> None:
        """Compute the states after a step."""
        matmul, n = self.cell.ops.matmul, self.n
        matmul(self.W_a[:n], s["a"], out=s["z"][:n])
        if self.kernels.gates is not None:
            self.kernels.gates(s)
            matmul(self.W_a[n:], s["relevant"], out=s["z_c"])
        self.kernels.step(s)

    def run_back(self, s: Mapping[str, Array]) -> None:
        """Compute dz of a step and dL/da<t-1>."""
        matmul, n = self.cell.ops.matmul, self.n
        self.kernels.back(s)
        if self.kernels.merge is not None:
            matmul(self.W_a[n:].T, s["dz_c"], out=s["d_relevant"])
            self.kernels.merge(s)
        matmul(self.W_a_T, s["dz"][:n], out=s["d_a"], add="d_a" in self.kernels.back.writes)


@dataclass
class _Pass:
    """The arrays of a pass over T steps, and its two graphs.

    states: the states before each step and after the last, arrays [T+1, H, B]
    y, dy, d_a [T, H, B]: a<t>, dL/dy<t>, dL/da<t-1>; d_last: dL/d(the last states), arrays [H, B], overwritten
    dz [K·H, T, B], a_columns [H, T·B], kept [T, H, B]: as in `ScanGrads`
    """

    steps: _Steps
    states: list[Array]
    y: Array
    dy: Array
    d_a: Array
    d_last: list[Array]
    dz: Array
    a_columns: Array
    kept: list[Array]
    forward: Callable[[], None] = field(init=False)
    backward: Callable[[], None] = field(init=False)


class GraphScan:
    """The scan of a cell for which `cells.CELLS` has kernels. Its arguments are those of `charlm.nn.scan.Scan`.

    A graph holds the addresses of its arrays, so there is one for each shape of a pass and each place of zx.
    """

    def __init__(self, cell: CellFacts, ws: Buffers) -> None:
        self.cell, self.ws = cell, ws
        self.ops = cell.ops
        self.kernels = CELLS[cell.name]
        self._passes: dict[tuple[int, ...], _Pass] = {}
        self._largest = 0
        self._stepping: _Stepping | None = None

    def forward(self, zx: Array, first: State, starts: np.ndarray | None) -> tuple[Array, State]:
        now = self._now = self._pass_of(zx, with_starts=starts is not None)
        for place, array in zip(now.states, first, strict=True):
            place[0] = array
        if starts is not None and now.steps.continues is not None:
            np.logical_not(self.ops.to_device(starts), out=now.steps.continues[:-1])
        now.forward()
        return now.y, tuple(array[-1].copy() for array in (now.y, *now.states[1:]))

    def backward(self, dy: Array, d_last: State) -> tuple[ScanGrads, State]:
        now = self._now
        for place, array in zip(now.d_last, d_last or (0,) * len(now.d_last), strict=True):
            place[...] = array
        now.dy[...] = dy
        now.backward()
        old = [states[:-1] for states in now.states]
        grads = ScanGrads(now.dz.reshape(len(now.dz), -1), now.a_columns, old, now.kept, self.ws)
        return grads, tuple(array.copy() for array in (now.d_a[0], *now.d_last[1:]))

    def state_grads(self) -> Array:
        return self._now.d_a

    def step(self, zx: Array, state: State) -> State:
        if self._stepping is None:
            self._stepping = _Stepping(self.cell, self.ws)
        return self._stepping.step(zx, state)

    def _pass_of(self, zx: Array, *, with_starts: bool) -> _Pass:
        """Return the pass for zx, whose graphs are for its shape and its address."""
        _, T, batch = zx.shape
        key = T, batch, with_starts, zx.data.ptr
        if key not in self._passes:
            if T * batch > self._largest:  # the buffers grow, and the graphs of before would keep the smaller ones
                self._passes.clear()
                self._largest = T * batch
            while len(self._passes) >= _GRAPHS_KEPT:
                self._passes.pop(next(iter(self._passes)))
            self._passes[key] = _make_pass(self.cell, self.kernels, self.ws, zx, with_starts=with_starts)
        return self._passes[key]


def _make_pass(cell: CellFacts, kernels: CellKernels, ws: Buffers, zx: Array, *, with_starts: bool) -> _Pass:
    _, T, batch = zx.shape
    H, n = cell.hidden, len(cell.reached) * cell.hidden
    states = [ws.array(f"{name}_old", (T + 1, H, batch)) for name in cell.states]
    d_last = [ws.array(f"d_{name}_last", (H, batch)) for name in cell.states]
    d_a, dy = (ws.array(name, (T, H, batch)) for name in ("d_a", "dy"))
    dz = ws.columns("dz", len(cell.blocks) * H, T * batch).reshape(-1, T, batch)
    continues = ws.array("continues", (T + 1, batch)) if with_starts else None
    y = ws.array("y", (T, H, batch)) if with_starts else states[0][1:]
    z, kept = ws.array("z", (T, cell.rows, batch)), [ws.array(name, (T, H, batch)) for name in cell.kept]
    arrays = []
    for t in range(T):
        s = _arrays_of_step(cell, [state[t] for state in states], [y[t], *(state[t + 1] for state in states[1:])])
        s |= {"z": z[t], "zx": zx[:, t], "dz": dz[:, t], "d_a": d_a[t], "above": dy[t]}
        s |= dict(zip(cell.kept, (array[t] for array in kept), strict=True))
        # The way back begins with d_last[0], which is scratch from then on.
        s |= {"back": d_a[t + 1] if t + 1 < T else d_last[0], "d_relevant": d_last[0], "dc": d_last[-1]}
        if continues is not None:
            s |= {"continues": continues[t + 1], "a_next": states[0][t + 1]}
        arrays.append(s | _blocks(cell, s))
    # cuBLAS is faster with a transposed row-major matrix.
    steps = _Steps(cell, kernels, arrays, n, ws.columns("W_a", cell.rows, H), ws.array("W_a_T", (n, H)).T, continues)
    made = _Pass(steps, states, y, dy, d_a, d_last, dz, ws.columns("a_columns", H, T * batch), kept)
    made.forward = cell.ops.replayable(partial(_all_steps, steps, [state[0] for state in states]))
    made.backward = cell.ops.replayable(partial(_all_steps_back, steps, d_a, d_last[1:], states[0][:T], made.a_columns))
    return made


def _arrays_of_step(cell: CellFacts, old: list[Array], new: list[Array]) -> dict[str, Array]:
    """Return the states and the parameters of a step by their names."""
    H, p = cell.hidden, cell.p
    arrays = {"a": old[0], "a_new": new[0], "b_c": cell.W[-H:, -1:]}
    if len(old) > 1:
        arrays |= {"c_old": old[1], "c_new": new[1]}
    if "P" in p:
        arrays |= {f"P_{gate}": p["P"][i * H : (i + 1) * H] for i, gate in enumerate("ufo")}
    return arrays | {name: array for name, array in p.items() if name not in ("W", "P")}


def _blocks(cell: CellFacts, s: Mapping[str, Array]) -> dict[str, Array]:
    """Return the blocks of z, zx and dz by the names of their gates."""
    H, extra = cell.hidden, len(cell.blocks) - len(cell.gates)
    names = {name: cell.gates for name in ("z", "zx")}
    names["dz"] = (*("ca",) * extra, *cell.gates)
    return {
        f"{name}_{gate}": s[name][i * H : (i + 1) * H]
        for name, gates in names.items()
        if name in s
        for i, gate in enumerate(gates)
    }


def _all_steps(steps: _Steps, first: list[Array]) -> None:
    steps.W_a[...] = steps.cell.W_a
    if steps.continues is not None:
        steps.continues[-1] = 1
        for state in first:
            np.multiply(state, steps.continues[0], out=state)
    for s in steps.arrays:
        steps.run_step(s)


def _all_steps_back(steps: _Steps, d_a: Array, d_others: list[Array], a: Array, a_columns: Array) -> None:
    for blocks, rows in steps.cell.runs:
        steps.W_a_T[:, blocks] = steps.cell.W_a[rows].T
    for s in reversed(steps.arrays):
        steps.run_back(s)
    if steps.continues is not None:
        np.multiply(d_a, steps.continues[:-1, None], out=d_a)
        for d in d_others:
            np.multiply(d, steps.continues[0], out=d)
    T, H, batch = a.shape
    a_columns.reshape(H, T, batch)[...] = a.transpose(1, 0, 2)


class _Stepping:
    """One step after the other for one sequence; the states go back and forth between two places."""

    def __init__(self, cell: CellFacts, ws: Buffers) -> None:
        self._zx = ws.array("zx", (cell.rows, 1))
        self._now, self._after = (
            tuple(ws.array(f"{name}_{when}", (cell.hidden, 1)) for name in cell.states) for when in ("now", "after")
        )
        z = ws.array("z", (cell.rows, 1))
        kept = {name: ws.array(name, (cell.hidden, 1)) for name in cell.kept}
        W_a = ws.columns("W_a", cell.rows, cell.hidden)
        W_a[...] = cell.W_a
        n, runs = len(cell.reached) * cell.hidden, []
        for old, new in ((self._now, self._after), (self._after, self._now)):
            s = _arrays_of_step(cell, list(old), list(new)) | kept | {"z": z, "zx": self._zx}
            s |= _blocks(cell, s)
            runs.append(cell.ops.replayable(partial(_Steps(cell, CELLS[cell.name], [s], n, W_a, W_a).run_step, s)))
        self._run_now, self._run_after = runs

    def step(self, zx: Array, state: State) -> State:
        self._zx[...] = zx.reshape(self._zx.shape)
        if state is self._after:
            self._run_after()
            return self._now
        if state is not self._now:
            for place, array in zip(self._now, state, strict=True):
                place[...] = array
        self._run_now()
        return self._after
