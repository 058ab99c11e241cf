"""The values of all units and gates of a network, step by step by the equations of the cells.

The faster scans of the devices keep some of them only, and in another form.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charlm.backends import Array
from charlm.nn.cells.base import Cell
from charlm.nn.directions import BothWays, Reversed, Towers
from charlm.nn.layer import Layer, Stack, State
from charlm.nn.recurrent import Recurrent
from charlm.nn.scan import ReferenceScan
from charlm.nn.workspace import Workspace
from charlm.text.tokens.vocabulary import NOTHING

# Names of the notes' gates. The block of the rnn is a itself.
GATES = {"u": "update", "f": "forget", "o": "output", "r": "relevance", "c": "candidate"}
QUANTITIES = ("a", "c", *GATES.values())

Values = Mapping[tuple[int, str], np.ndarray]  # by layer, from 0, and quantity: [T, units]
_Sides = dict[tuple[int, str], list[np.ndarray]]  # the same; for each direction [T, H]


def quantities_of(cell: Cell | type[Cell]) -> tuple[str, ...]:
    """Return the quantities of a cell's units: its states, and the values of its gates and of its candidate."""
    return (*cell.states, *(GATES[gate] for gate in cell.gates if gate in GATES))


def recorded(root: Layer, inputs: np.ndarray, state: State, ws: Workspace) -> tuple[Values, State]:
    """Run layers over the ids of one sequence; return the values after each of them, and the state after the last.

    In a layer of both directions, the units that read from the right follow those that read from the left. After a
    token, a tower or a layer that reads from the right has read that token and those after it.

    inputs [T]: at least one; or [T, n] for a layer that reads n numbers at a step
    state: before the first step, of one sequence; for towers it is not used
    Returns copies on the host.
    """
    found: _Sides = {}
    _, state = _run(root, inputs[..., None], state, ws, found)
    return {key: np.concatenate(sides, axis=1) for key, sides in found.items()}, state


def _run(layer: Layer, x: Array, state: State, ws: Workspace, found: _Sides) -> tuple[Array, State]:
    """Run a layer over x [T, n, 1] as `Layer.forward` does; add the values of its recurrent layers to `found`."""
    if isinstance(layer, Recurrent):
        return _scan(layer, x, state, ws, found)
    if isinstance(layer, Reversed):
        turned: _Sides = {}
        y, state = _run(layer.layer, x[::-1], state, ws, turned)
        for key, sides in turned.items():
            found.setdefault(key, []).extend(side[::-1] for side in sides)
        return y[::-1], state
    if isinstance(layer, Stack):
        after, number = [], 0
        for (name, part), before in zip(layer.layers.items(), state, strict=True):
            own: _Sides = {}
            x, part_state = _run(part, x, before, ws.scope(name), own)
            after.append(part_state)
            for (below, quantity), sides in own.items():
                found.setdefault((number + below, quantity), []).extend(sides)
            number += len({below for below, _ in own})
        return x, tuple(after)
    if isinstance(layer, BothWays):
        y = ws.steps("y", (len(x), layer.n_out, 1))
        halves, states = (y[:, : layer.half], y[:, layer.half :]), []
        for (name, side), before, half in zip(layer.parts.items(), state, halves, strict=True):
            half[...], side_state = _run(side, x, before, ws.scope(name), found)
            states.append(side_state)
        return y, tuple(states)
    if isinstance(layer, Towers):
        for name, side in layer.parts.items():
            _tower(side, x, ws.scope(name), found)
        # What lies above has no units.
        return layer.ops.zeros((len(x), layer.n_out, 1), ws.dtype), state
    return layer.forward(x, state, ws)


def _tower(side: Layer, ids: np.ndarray, ws: Workspace, found: _Sides) -> None:
    """Run a tower, whose first input is the zero vector, over all ids; it predicts a token before it reads it."""
    is_turned = isinstance(side, Reversed)
    nothing = np.full((1, 1), NOTHING, np.int32)
    own: _Sides = {}
    _run(side, np.concatenate([ids, nothing] if is_turned else [nothing, ids]), side.zero_state(1), ws, own)
    for key, sides in own.items():
        found.setdefault(key, []).extend(one[:-1] if is_turned else one[1:] for one in sides)


def _scan(layer: Recurrent, x: Array, state: State, ws: Workspace, found: _Sides) -> tuple[Array, State]:
    """Run the equations of a cell over all steps."""
    cell, ops = layer.cell, layer.ops
    scan = ws.once("recorded", lambda: ReferenceScan(cell, ws.scope("recorded")))
    y, last = scan.forward(layer.project(x, ws), state, None)
    values = {"a": y, **{GATES[gate]: scan.z[:, at] for at, gate in enumerate(cell.gates) if gate in GATES}}
    for name, old, final in zip(cell.states[1:], scan.old[1:], last[1:], strict=True):
        values[name] = ops.empty(y.shape, y.dtype)
        values[name][:-1], values[name][-1] = old[1:], final
    for name in quantities_of(cell):
        found.setdefault((0, name), []).append(np.array(ops.numpy(values[name]))[:, :, 0])
    return y, last
