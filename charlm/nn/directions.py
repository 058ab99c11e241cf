"""Both directions: the notes' bidirectional network, and two towers that leave out the token in the middle.

A network that reads from the right is one that reads from the left, on the sequence turned around. Several sequences
may lie end to end in a lane: `starts` says where each begins, so where one ends is where the next one begins.
"""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Shape
from charlm.nn.grads import Grads
from charlm.nn.layer import Layer, Noise, Read, State, Views, out_of, pieces
from charlm.nn.workspace import Workspace
from charlm.text.tokens.vocabulary import NOTHING

SIDES = ("from_left", "from_right")


def mirrored(starts: np.ndarray | None) -> np.ndarray | None:
    """Give the starts in lanes turned around: where sequences ended. The first step of a lane is a start."""
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
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: Noise | None = None
    ) -> tuple[Array, State]:
        y, state = self.layer.forward(x[::-1], state, ws, starts=mirrored(starts), noise=noise)
        return y[::-1], state

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        T = len(out)
        turned: Read = lambda first, end: read(T - end, T - first)[::-1]  # noqa: E731
        return self.layer.outputs_into(out[::-1], turned, state, ws, starts=mirrored(starts))

    def last_state(self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None) -> State:
        """Return the state after the whole sequence, of which no more than a piece is kept."""
        turned, begins = x[::-1], mirrored(starts)
        for first, end in pieces(x.shape[0]):
            part = None if begins is None else begins[first:end]
            _, state = self.layer.forward(turned[first:end], state, ws, starts=part)
        return state

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        dx, d_state = self.layer.backward(dy[::-1], d_state, ws)
        return dx[::-1], d_state


class TwoSided(Layer):
    """Two layers side by side, one for each direction; their parameters are `from_left....` and `from_right....`."""

    def __init__(self, from_left: Layer, from_right: Layer) -> None:
        self.sides: tuple[Layer, Layer] = (from_left, Reversed(from_right))
        self.ops = from_left.ops
        self.n_in = from_left.n_in
        self.n_out = from_left.n_out + from_right.n_out

    def shapes(self) -> dict[str, Shape]:
        return {
            f"{side}.{key}": shape
            for side, layer in zip(SIDES, self.sides, strict=True)
            for key, shape in layer.shapes().items()
        }

    def bind(self, values: Views, grads: Grads) -> None:
        for side, layer in zip(SIDES, self.sides, strict=True):
            own = layer.shapes()
            layer.bind({k: values[f"{side}.{k}"] for k in own}, grads.of(f"{side}."))

    def initialise(self, rng: np.random.Generator) -> None:
        for layer in self.sides:
            layer.initialise(rng)

    def zero_state(self, batch: int) -> State:
        return tuple(layer.zero_state(batch) for layer in self.sides)

    def _forward(
        self,
        inputs: tuple[Array, Array],
        state: State,
        ws: Workspace,
        starts: np.ndarray | None,
        noise: Noise | None,
    ) -> tuple[Array, State]:
        """Run both sides, each on its input, and stack what they give: y<t> = [a→<t>; a←<t>]."""
        T, batch = inputs[0].shape[0], inputs[0].shape[-1]
        y = ws.array("y", (T, self.n_out, batch))
        after, row = [], 0
        for side, layer, x, before in zip(SIDES, self.sides, inputs, state, strict=True):
            of_side, one = layer.forward(x, before, ws.scope(side), starts=starts, noise=noise)
            y[:, row : row + layer.n_out] = of_side
            row += layer.n_out
            after.append(one)
        return y, tuple(after)

    def _outputs_into(
        self, out: Array, reads: tuple[Read, Read], state: State, ws: Workspace, starts: np.ndarray | None
    ) -> State:
        """Run both sides, each on its input, and write what they give where it belongs in `out`."""
        after, row = [], 0
        for side, layer, read, before in zip(SIDES, self.sides, reads, state, strict=True):
            rows = out[:, row : row + layer.n_out]
            after.append(layer.outputs_into(rows, read, before, ws.scope(side), starts=starts))
            row += layer.n_out
        return tuple(after)

    def _backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[tuple[Array, Array], State]:
        """Go back through both sides; give the gradient of the input of each."""
        n = self.sides[0].n_out
        parts = (dy[:, :n], dy[:, n:])
        both = [
            layer.backward(part, d_side, ws.scope(side))
            for side, layer, part, d_side in zip(SIDES, self.sides, parts, d_state or ((), ()), strict=True)
        ]
        return (both[0][0], both[1][0]), (both[0][1], both[1][1])


class BothWays(TwoSided):
    """y<t> = [a→<t>; a←<t>]: a recurrent layer in each direction over the same x, as in the notes.

    Stacked, each layer reads both directions of the one below, so that every output sees the whole sequence, also the
    token that it stands at: for tags and classes that is the aim, and for predicting that token it would be a leak.

    projected: the input holds W_x x<t> for each side already, one below the other
    """

    def __init__(self, from_left: Layer, from_right: Layer, *, projected: bool = False) -> None:
        super().__init__(from_left, from_right)
        self.projected = projected
        if projected:
            self.n_in = from_left.n_in + from_right.n_in

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: Noise | None = None
    ) -> tuple[Array, State]:
        half = self.sides[0].n_in
        return self._forward((x[:, :half], x[:, half:]) if self.projected else (x, x), state, ws, starts, noise)

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        half = self.sides[0].n_in
        left: Read = lambda first, end: read(first, end)[:, :half]  # noqa: E731
        right: Read = lambda first, end: read(first, end)[:, half:]  # noqa: E731
        return self._outputs_into(out, (left, right) if self.projected else (read, read), state, ws, starts)

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """dx is the sum of what both directions say, as both have read x."""
        (left, right), d_before = self._backward(dy, d_state, ws)
        T, n, batch = left.shape
        dx = ws.array("dx", (T, 2 * n if self.projected else n, batch))
        if self.projected:
            dx[:, :n], dx[:, n:] = left, right
        else:
            dx[...] = left
            dx += right
        return dx, d_before


class Towers(TwoSided):
    """y<t> = [a→<t-1>; a←<t+1>]: two deep networks over the tokens, joined only on top, so that y<t> never saw token t.

    The left one has read the tokens before t, the right one those after it: ids `[T, B]`, shifted by one step to either
    side, with the zero vector where a sequence begins or ends. If the layers read both directions of those below, as
    `BothWays` does, token t would come back to y<t> by way of its neighbours.
    """

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: Noise | None = None
    ) -> tuple[Array, State]:
        return self._forward(_shifted(x, starts), state, ws, starts, noise)

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        before, after = _shifted(read(0, len(out)), starts)
        return self._outputs_into(out, (out_of(before), out_of(after)), state, ws, starts)

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        (left, _), d_before = self._backward(dy, d_state, ws)
        return left, d_before  # nothing below learns


def _shifted(x: Array, starts: np.ndarray | None) -> tuple[Array, Array]:
    """Return the ids before each and those after each; at the edges of a sequence `NOTHING`."""
    before, after = np.full_like(x, NOTHING), np.full_like(x, NOTHING)
    before[1:], after[:-1] = x[:-1], x[1:]
    if starts is not None:
        before[starts] = NOTHING
        after[:-1][starts[1:]] = NOTHING
    return before, after


class LastSteps(Layer):
    """Many to one: at the last step of each sequence, y = [a→ of that step; a← of the first], the two last states.

    At the other steps y<t> = [a→<t>; 0], which nobody asks for.
    """

    def __init__(self, layer: TwoSided) -> None:
        self.ops = layer.ops
        self.n_in = self.n_out = layer.n_out
        self.half = layer.sides[0].n_out

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: Noise | None = None
    ) -> tuple[Array, State]:
        ws.keep("edges", _edges(x.shape[0], x.shape[2], starts))
        return self._moved(x, ws, ws.array("y", x.shape), back=False), ()

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        ws.keep("edges", _edges(out.shape[0], out.shape[2], starts))
        self._moved(read(0, len(out)), ws, out, back=False)
        return ()

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        return self._moved(dy, ws, ws.array("dx", dy.shape), back=True), ()

    def _moved(self, x: Array, ws: Workspace, out: Array, *, back: bool) -> Array:
        """Write x to `out`, the lower half of each sequence's first column moved to its last; or back."""
        first, last, lane = ws.kept("edges")
        to, origin = (first, last) if back else (last, first)
        out[:, : self.half] = x[:, : self.half]
        out[:, self.half :] = 0
        self.ops.move_columns(x[:, self.half :], (origin, lane), out=out[:, self.half :], to=(to, lane))
        return out


def _edges(T: int, batch: int, starts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the first step, the last step and the lane of each sequence."""
    begins = np.zeros((T, batch), bool) if starts is None else starts.copy()
    begins[0] = True
    lane, first = np.nonzero(begins.T)
    _, last = np.nonzero(np.roll(begins, -1, axis=0).T)
    return first, last, lane
