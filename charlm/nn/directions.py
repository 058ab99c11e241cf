"""Both directions: the notes' bidirectional network, and two towers that leave out the token in the middle.

A network that reads from the right is one that reads from the left, on the sequence turned around. Several sequences
may lie end to end in a lane: `starts` says where each begins, so where one ends is where the next one begins.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from charlm.backends import Array, Shape
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, State, Views, pieces
from charlm.nn.workspace import Workspace
from charlm.text.tokens.vocabulary import NOTHING

SIDES = ("from_left", "from_right")


def mirrored(starts: np.ndarray | None) -> np.ndarray | None:
    """Return the starts of lanes turned around: a sequence begins where it ended. The first step keeps its value."""
    return None if starts is None else np.roll(starts, -1, axis=0)[::-1]


class Reversed(Layer):
    """A layer that reads from right to left: y<t> and its state come from x<t>, x<t+1>, ..., the notes' a← ."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.ops = layer, layer.ops
        self.n_in, self.n_out = layer.n_in, layer.n_out

    def shapes(self) -> dict[str, Shape]:
        return self.layer.shapes()

    def bind(self, values: Views, grads: Grads) -> None:
        self.layer.bind(values, grads)

    def initialise(self, rng: np.random.Generator) -> None:
        self.layer.initialise(rng)

    def zero_state(self, batch: int) -> State:
        return self.layer.zero_state(batch)

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        y, state = self.layer.forward(x[::-1], state, ws, starts=mirrored(starts), noise=noise)
        return y[::-1], state

    def read(self, x: Array, state: State, ws: Workspace, out: Array, *, starts: np.ndarray | None = None) -> State:
        return self.layer.read(x[::-1], state, ws, out[::-1], starts=mirrored(starts))

    def last_state(self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None) -> State:
        """Return the state after the whole sequence, which is read in pieces; there is no way back."""
        turned, begins = x[::-1], mirrored(starts)
        for first, end in pieces(x.shape[0]):
            part = None if begins is None else begins[first:end]
            _, state = self.layer.forward(turned[first:end], state, ws, starts=part)
        return state

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        dx, d_state = self.layer.backward(dy[::-1], d_state, ws)
        return dx[::-1], d_state


class TwoSided(Layer):
    """Two layers side by side, one for each direction: y<t> = [a→<t>; a←<t>].

    Their parameters are `from_left....` and `from_right....`.
    """

    def __init__(self, from_left: Layer, from_right: Layer) -> None:
        self.sides: tuple[Layer, Layer] = (from_left, Reversed(from_right))
        self.parts = dict(zip(SIDES, self.sides, strict=True))
        self.ops, self.n_in, self.half = from_left.ops, from_left.n_in, from_left.n_out
        self.n_out = from_left.n_out + from_right.n_out

    @abstractmethod
    def _inputs(self, x: Array, starts: np.ndarray | None) -> tuple[Array, Array]:
        """Return the inputs of the two sides."""

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        y = ws.steps("y", (x.shape[0], self.n_out, x.shape[-1]))
        halves = (y[:, : self.half], y[:, self.half :])
        after = []
        for side, side_x, before, half in zip(SIDES, self._inputs(x, starts), state, halves, strict=True):
            half[...], side_state = self.parts[side].forward(side_x, before, ws.scope(side), starts=starts, noise=noise)
            after.append(side_state)
        return y, tuple(after)

    def read(self, x: Array, state: State, ws: Workspace, out: Array, *, starts: np.ndarray | None = None) -> State:
        halves = (out[:, : self.half], out[:, self.half :])
        return tuple(
            self.parts[side].read(side_x, before, ws.scope(side), half, starts=starts)
            for side, side_x, before, half in zip(SIDES, self._inputs(x, starts), state, halves, strict=True)
        )

    def _backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[tuple[Array, Array], State]:
        """Go back through both sides; return the gradients of their inputs and of their first states."""
        halves = (dy[:, : self.half], dy[:, self.half :])
        both = [
            layer.backward(half, d_side, ws.scope(side))
            for side, layer, half, d_side in zip(SIDES, self.sides, halves, d_state or ((), ()), strict=True)
        ]
        return (both[0][0], both[1][0]), (both[0][1], both[1][1])


class BothWays(TwoSided):
    """y<t> = [a→<t>; a←<t>]: a recurrent layer in each direction over the same x, as in the notes.

    Stacked, each layer reads both directions of the one below, so every output sees the whole sequence, its own token
    included. Tags and classes need that. A prediction of that token must not see it: see `Towers`.
    """

    def _inputs(self, x: Array, starts: np.ndarray | None) -> tuple[Array, Array]:
        return x, x

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """dx is the sum of the gradients of both directions, as both read x."""
        (left, right), d_before = self._backward(dy, d_state, ws)
        dx = ws.steps("dx", left.shape)
        np.add(left, right, out=dx)
        return dx, d_before


class Towers(TwoSided):
    """y<t> = [a→<t-1>; a←<t+1>]: two deep networks over the tokens, joined only on top, so that y<t> never saw token t.

    The left one has read the tokens before t, the right one those after it. Their inputs are the ids `[T, B]` shifted
    by one step to either side, with the zero vector where a sequence begins or ends. If layers read both directions of
    those below, as in `BothWays`, token t would come back to y<t> through its neighbours.
    """

    def _inputs(self, x: Array, starts: np.ndarray | None) -> tuple[Array, Array]:
        """Return the ids before each step and those after it; `NOTHING` at the edges of a sequence."""
        before, after = np.full_like(x, NOTHING), np.full_like(x, NOTHING)
        before[1:], after[:-1] = x[:-1], x[1:]
        if starts is not None:
            before[starts] = NOTHING
            after[:-1][starts[1:]] = NOTHING
        return before, after

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        (left, _), d_before = self._backward(dy, d_state, ws)
        return left, d_before  # nothing below learns


class LastSteps(Layer):
    """Many to one: at the last step of each sequence, y = [a→ of that step; a← of the first], the two last states.

    At the other steps y<t> = [a→<t>; 0], which is not used.
    """

    def __init__(self, layer: TwoSided) -> None:
        self.ops = layer.ops
        self.n_in = self.n_out = layer.n_out
        self.half = layer.half

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        ws.keep("edges", _edges(x.shape[0], x.shape[2], starts))
        return self._moved(x, ws, ws.steps("y", x.shape), back=False), ()

    def read(self, x: Array, state: State, ws: Workspace, out: Array, *, starts: np.ndarray | None = None) -> State:
        ws.keep("edges", _edges(x.shape[0], x.shape[2], starts))
        self._moved(x, ws, out, back=False)
        return ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        return self._moved(dy, ws, ws.steps("dx", dy.shape), back=True), ()

    def _moved(self, x: Array, ws: Workspace, out: Array, *, back: bool) -> Array:
        """Write x to `out`, the lower half of each sequence's first column moved to its last; or back."""
        first, last, lane = ws.kept("edges")
        to, origin = (first, last) if back else (last, first)
        out[:, : self.half] = x[:, : self.half]
        out[:, self.half :] = 0
        self.ops.move_columns(x[:, self.half :], (origin, lane), out=out[:, self.half :], to=(to, lane))
        return out


def _edges(T: int, batch: int, starts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first step, the last step and the lane of each sequence."""
    begins = np.zeros((T, batch), bool) if starts is None else starts.copy()
    begins[0] = True
    lane, first = np.nonzero(begins.T)
    _, last = np.nonzero(np.roll(begins, -1, axis=0).T)
    return first, last, lane
