"""The time loop of the compiled core: all steps of a layer in one call, shared out by lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from charlm.backends.base import Array, ScanGrads
from charlm.backends.compiled.core import Functions, Pass, strides

State = tuple[Array, ...]

# In the order of scan.h: a cell's number is its place.
CELLS = (
    "rnn-tanh",
    "rnn-relu",
    "gru-simple",
    "gru-after",
    "gru-before",
    "gru-both",
    "lstm",
    "lstm-relevance",
    "lstm-peephole",
)
# Operations of a pass below which the lanes are not shared out: a thread takes longer to wake up.
_WORTH_SHARING = 1 << 22


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


class Buffers(Protocol):
    """What a scan uses of a workspace."""

    dtype: str

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a named buffer."""

    def scope(self, name: str) -> Buffers:
        """Return the workspace of a part."""


# The parameters beside W that the equations of a cell read, [params, H].
PARAMETERS: Mapping[str, Callable[[Any], Array]] = {
    "gru-after": lambda cell: cell.p["b_ca"],
    "gru-both": lambda cell: cell.b_c,
    "lstm-relevance": lambda cell: cell.b_c,
    "lstm-peephole": lambda cell: cell.p["P"],
}


class CompiledScan:
    """The scan of every cell. Its arguments are those of `charlm.nn.scan.Scan`, which are batch first in memory.

    The gate values overwrite zx, and dL/dz the gate values, unless it has more blocks than there are gates.
    """

    def __init__(self, cell: CellFacts, ws: Buffers) -> None:
        self.cell, self.ws, self.ops = cell, ws, cell.ops
        self.core: Functions = cell.ops.core_of(ws.dtype)
        self._places: list[tuple[Pass, State, State]] = []  # of single steps
        self._place = 0

    def forward(self, zx: Array, first: State, starts: np.ndarray | None) -> tuple[Array, State]:
        T, batch = zx.shape[1:]
        states = [self._rows(f"{name}_old", (T + 1) * batch) for name in self.cell.states]
        self._old = [self._steps(array, batch) for array in states]
        for array, given in zip(self._old, first, strict=True):
            array[0] = given
        y = self._old[0][1:]
        p = self._pass = self._new_pass(T, batch, states)
        self._z = zx
        columns = zx.reshape(len(zx), T * batch)
        if (len(zx) > 1 and columns.strides[0] != zx.itemsize) or columns.ctypes.data != zx.ctypes.data:
            raise ValueError("zx is not batch first in memory")
        p.x = p.z = zx.ctypes.data
        p.ldx = p.ldz = strides(columns)[1]
        if starts is not None:
            continues = self._continues = np.ones((T + 1, batch), np.uint8)
            np.logical_not(starts, out=continues[:-1], casting="unsafe")
            for state in self._old:
                state[0][:, starts[0]] = 0
            p.continues = continues.ctypes.data
            rows = self._rows("y", T * batch)
            y, p.y = self._steps(rows, batch), rows.ctypes.data
        self._packed(p, self.core.pack_forward)
        self._share(p, self.core.forward)
        return y, (y[T - 1].copy(), *(array[T].copy() for array in self._old[1:]))

    def backward(self, dy: Array, d_last: State) -> tuple[ScanGrads, State]:
        cell, p, H, batch = self.cell, self._pass, self.cell.hidden, self._pass.B
        if dy.strides[1] != dy.itemsize:
            copy = self._steps(self._rows("dy", p.T * batch), batch)
            copy[...] = dy
            dy = copy
        p.dy = dy.ctypes.data
        p.dy_step, _, p.dy_lane = strides(dy)
        d_first = [self._rows(f"d_{name}_last", batch)[:, :H].T for name in cell.states]
        for index, (array, given) in enumerate(zip(d_first, d_last or (0,) * len(d_first), strict=True)):
            array[...] = given
            p.d_last[index] = array.ctypes.data
        d_a = self._rows("d_a", p.T * batch)
        p.d_a, self._d_a = d_a.ctypes.data, self._steps(d_a, batch)
        p.dz, p.lddz, K = p.z, p.ldz, len(cell.blocks)
        dz = self._z.transpose(1, 2, 0).reshape(p.T * batch, -1).T
        if len(dz) != K * H:
            p.lddz = self.ops.row_stride(K * H)
            own = self.ws.array("dz", (p.T * batch, p.lddz))
            dz, p.dz = own[:, : K * H].T, own.ctypes.data
        order = [*cell.reached, *cell.gates[len(cell.reached) :]]
        gates = np.array([cell.gates.index(gate) for gate in order], np.int32)
        self._packed(p, self.core.pack_backward, gates.ctypes.data)
        self._share(p, self.core.backward)
        old = [array[:-1] for array in self._old]
        a = old[0].transpose(0, 2, 1).reshape(p.T * batch, H).T
        return ScanGrads(dz, a, old, self._kept, self.ws), (
            self._d_a[0].copy(),
            *(array.copy() for array in d_first[1:]),
        )

    def state_grads(self) -> Array:
        return self._d_a

    def step(self, zx: Array, state: State) -> State:
        if not self._places:
            # A pass over a sequence overwrites or replaces this scan's buffers.
            own = CompiledScan(self.cell, self.ws.scope("step"))
            self._places = [own.new_place(name) for name in ("now", "after")]
        self._place = 1 - self._place
        p, before, after = self._places[self._place]
        for array, given in zip(before, state, strict=True):
            array[...] = given
        p.x = zx.ctypes.data
        self.core.forward(p, 0, 1)
        return after

    def new_place(self, name: str) -> tuple[Pass, State, State]:
        """Return a pass of one step, with the arrays that it reads the state from and writes it to."""
        rows = [self._rows(f"{state}_{name}", 2) for state in self.cell.states]
        p = self._new_pass(1, 1, rows)
        p.z, p.ldz = self.ws.array("z", (self.cell.rows,)).ctypes.data, self.cell.rows
        self._packed(p, self.core.pack_forward)
        H = self.cell.hidden
        return p, tuple(array[0, :H, None] for array in rows), tuple(array[1, :H, None] for array in rows)

    def _new_pass(self, T: int, batch: int, states: list[Array]) -> Pass:
        cell = self.cell
        p = Pass(by=self.core.arithmetic, cell=CELLS.index(cell.name), T=T, B=batch, H=cell.hidden)
        p.W_a, p.ldw = cell.W_a.ctypes.data, strides(cell.W_a)[0]
        kept = [self._rows(name, T * batch) for name in cell.kept]
        self._kept = [self._steps(array, batch) for array in kept]
        p.ld = self.ops.row_stride(cell.hidden)
        for place, arrays in ((p.states, states), (p.kept, kept)):
            for index, array in enumerate(arrays):
                place[index] = array.ctypes.data
        if cell.name in PARAMETERS:
            values = PARAMETERS[cell.name](cell)
            param = self.ws.array("param", values.shape)
            param[...] = values
            p.param = param.ctypes.data
        return p

    def _packed(self, p: Pass, pack: Callable[..., Any], *arguments: Any) -> None:
        """Pack W_a for a direction."""
        item = np.dtype(self.ws.dtype).itemsize
        p.packed = self.ws.array("packed", (-(-self.core.packed_size(p) // item),)).ctypes.data
        p.left = self.ws.array("left", (p.B * self.core.left_size(p) // item,)).ctypes.data
        parts = self.ops.workers.count if p.H * self.cell.rows >= _WORTH_SHARING // 8 else 1
        self.ops.workers.each(lambda part: pack(p, *arguments, part, parts), range(parts))

    def _share(self, p: Pass, go: Callable[..., Any]) -> None:
        """Go through all steps, each worker with some of the lanes."""
        operations = 2 * p.T * p.B * p.H * self.cell.rows
        parts = min(self.ops.workers.count, p.B) if operations >= _WORTH_SHARING else 1
        edges = [p.B * part // parts for part in range(parts + 1)]
        self.ops.workers.each(lambda lanes: go(p, *lanes), pairwise(edges))

    def _rows(self, name: str, count: int) -> Array:
        """Return the buffer `name` as `count` rows of H elements, padded."""
        return self.ws.array(name, (count, self.ops.row_stride(self.cell.hidden)))

    def _steps(self, rows: Array, batch: int) -> Array:
        """Return rows as a view `[T, H, B]`."""
        return rows.reshape(-1, batch, rows.shape[1])[:, :, : self.cell.hidden].transpose(0, 2, 1)


SCANS: Mapping[str, type[CompiledScan]] = dict.fromkeys(CELLS, CompiledScan)
