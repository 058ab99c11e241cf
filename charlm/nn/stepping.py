"""One token after the other, for sampling; every array is made once, and a step allocates next to nothing."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array
from charlm.nn.heads import Head
from charlm.nn.layer import Layer, Stack, State
from charlm.nn.outputs import checked
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace

_REMEMBERED = 1 << 22  # elements of W_x x + b, over all tokens for which it is kept


class Stepper:
    """A stack that reads from left to right and its softmax, fed one token at a time, with the weights of now.

    What lies below the first recurrent layer depends on the token alone, so W_x x + b of a token is computed once.
    Two steppers do not share anything.
    """

    def __init__(self, body: Stack, head: Head, ws: Workspace) -> None:
        self.ops = body.ops
        steps: list[_RecurrentStep | _PointwiseStep] = [
            _RecurrentStep(layer, ws.scope(name))
            if isinstance(layer, Recurrent)
            else _PointwiseStep(layer, ws.scope(name))
            for name, layer in body.layers.items()
        ]
        below = next(number for number, step in enumerate(steps) if isinstance(step, _RecurrentStep))
        self._below, self._first, self._above = steps[:below], steps[below], steps[below + 1 :]
        self._of_tokens: dict[int, Array] = {}
        self._column = ws.array("logits", (head.outputs, 1))
        self._W_y, self._b_y = head.W_y, head.b_y[:, 0]
        self.load(body.zero_state(1))

    def load(self, state: State) -> None:
        """Go on from a state of one sequence; it is copied."""
        for step, part in zip([*self._below, self._first, *self._above], state, strict=True):
            step.load(part)

    @np.errstate(all="ignore")
    def next_log_probs(self, token_id: int) -> np.ndarray:
        """Read a token and return ln P of every next one, `[V]`; raise NonFiniteOutputError as `Model` does."""
        x = self._first.step(self._projected(token_id))
        for step in self._above:
            x = step.step(step.project(x))
        self.ops.matmul(self._W_y, x, out=self._column)
        logits = self._column[:, 0]  # adding vectors is faster than adding columns
        logits += self._b_y
        self.ops.log_softmax(logits)
        return checked(self.ops.numpy(logits))

    def _projected(self, token_id: int) -> Array:
        """Return W_x x + b of the first recurrent layer for a token."""
        zx = self._of_tokens.get(token_id)
        if zx is None:
            x: Array = np.array([token_id], np.int32)
            for step in self._below:
                x = step.step(x)
            zx = self._first.project(x).copy()
            if len(self._of_tokens) * zx.size >= _REMEMBERED:
                self._of_tokens.clear()
            self._of_tokens[token_id] = zx
        return zx


class _PointwiseStep:
    """A layer without a memory: what `forward` does with T = B = 1."""

    def __init__(self, layer: Layer, ws: Workspace) -> None:
        self._layer, self._ws = layer, ws

    def load(self, state: State) -> None:
        """There is no state."""

    def project(self, x: Array) -> Array:
        return x

    def step(self, x: Array) -> Array:
        """Return y [n_out, 1] for x [n_in, 1]; a first layer takes an id `[1]`."""
        column: Array = self._layer.forward(x[None], (), self._ws)[0][0]
        return column


class _RecurrentStep:
    """A recurrent layer and its state."""

    def __init__(self, layer: Recurrent, ws: Workspace) -> None:
        cell, ops = layer.cell, layer.ops
        self._layer, self._ops, self._scan = layer, ops, layer.scan(ws)
        self._b = cell.W_x1[:, -1:]
        # A vector times contiguous rows of W_x^T is faster than W_x times a vector.
        self._W_x1 = ops.array(cell.W_x1.T).T
        self._x1 = ops.array(np.ones((cell.n_in + 1, 1)), ws.dtype)
        self._x = self._x1[:-1]
        self._zx = ws.array("zx_step", (cell.rows, 1))
        self._gates = self._zx.reshape(len(cell.gates), cell.hidden, 1)

    def load(self, state: State) -> None:
        self._state: State = tuple(array.copy() for array in state)

    def project(self, x: Array) -> Array:
        """Return W_x x + b, [G, H, 1], for x [I, 1], or for an id [1]."""
        if self._layer.columns is not None:
            table = self._layer.columns.table[:, self._layer.own]
            self._layer.ops.lookup(table, x[None], out=self._zx[None])
            self._zx += self._b
            return self._gates
        if self._layer.one_hot:
            self._ops.one_hot(x[None], out=self._x[None])
        else:
            self._x[...] = x
        self._ops.matmul(self._W_x1, self._x1, out=self._zx)
        return self._gates

    def step(self, zx: Array) -> Array:
        """Return a<t> [H, 1], the scan's until the step after next."""
        self._state = self._scan.step(zx, self._state)
        return self._state[0]


def _step_of(layer: Layer, ws: Workspace) -> _RecurrentStep | _PointwiseStep:
    return _RecurrentStep(layer, ws) if isinstance(layer, Recurrent) else _PointwiseStep(layer, ws)
