"""What a layer is: a function of a whole sequence and of a state, with its derivative."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn.grads import Grads
from charlm.nn.workspace import Workspace

State = tuple[Any, ...]  # nested tuples of arrays [H, B]; () for a layer without memory
Views = Mapping[str, Array]

LONGEST_PIECE = 256  # steps; without a way back, a longer sequence is read in pieces


class Layer(ABC):
    """A layer of the network, from `x [T, n_in, B]` to `y [T, n_out, B]`.

    A layer keeps no state between calls: the state is an argument and a result, and what `backward` needs lies in the
    workspace. A `backward` belongs to the last `forward` on the same workspace.

    parts: the layers that it consists of; their names begin the names of their parameters
    """

    n_in: int
    n_out: int
    ops: Backend
    parts: Mapping[str, Layer] = {}
    passes_on: ClassVar[bool] = False  # whether y is x itself outside training

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each parameter by its name."""
        return {f"{name}.{key}": shape for name, part in self.parts.items() for key, shape in part.shapes().items()}

    def bind(self, values: Views, grads: Grads) -> None:
        """Use these arrays as parameters, and add to these gradients."""
        for name, part in self.parts.items():
            part.bind(views_of(values, f"{name}."), grads.of(f"{name}."))

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the initial parameters."""
        for part in self.parts.values():
            part.initialise(rng)

    def zero_state(self, batch: int) -> State:
        """Return a<0> = 0 for `batch` sequences."""
        return tuple(part.zero_state(batch) for part in self.parts.values())

    @abstractmethod
    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        """Run the sequence.

        x [T, n_in, B]: input; a first layer takes ids `[T, B]` instead; may be kept for the way back
        state: the state before the first step, arrays [H, B]; copied
        starts [T, B]: bool or None; a new sequence begins here, so the state before it is set to zero
        noise: key of this training step's dropout; None for none.
        Returns y [T, n_out, B], which is the workspace's until its next forward or backward, and a new state.
        """

    def read(self, x: Array, state: State, ws: Workspace, out: Array, *, starts: np.ndarray | None = None) -> State:
        """Run the sequence in pieces, for its outputs alone; there is no way back.

        out [T, n_out, B]: overwritten with y. Returns a new state. The others are as in `forward`.
        """
        for first, end in pieces(len(out)):
            part = None if starts is None else starts[first:end]
            out[first:end], state = self.forward(x[first:end], state, ws, starts=part)
        return state

    @abstractmethod
    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """Run backwards, at most once for each forward.

        dy [T, n_out, B]: dL/dy; d_state: dL/d(the state that forward returned), () for zero. Neither is changed.
        Adds dL/dparameter to the bound gradients. Returns dx [T, n_in, B], which is the workspace's, and the gradient
        of the state that forward took. Where no layer below learns, dx is undefined.
        """


class Stack(Layer):
    """Layers on top of each other; its state is the tuple of theirs."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.parts = self.layers = dict(layers)
        *_, last = layers.values()
        self.ops, self.n_in, self.n_out = last.ops, next(iter(layers.values())).n_in, last.n_out

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        after = []
        for (name, layer), before in zip(self.layers.items(), state, strict=True):
            x, layer_state = layer.forward(x, before, ws.scope(name), starts=starts, noise=noise)
            after.append(layer_state)
        return x, tuple(after)

    def outputs(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> tuple[Array, State]:
        """Run the sequence for its outputs alone: as `forward`, but there is no way back.

        A long sequence goes through each layer in pieces. The outputs of two layers are kept whole: those of the
        current one, and those of the one below it.
        """
        T, batch = x.shape[0], x.shape[-1]
        if T <= LONGEST_PIECE:
            return self.forward(x, state, ws, starts=starts)
        after, number = list(state), 0
        for at, (name, layer) in enumerate(self.layers.items()):
            if layer.passes_on:
                continue
            out = ws.steps(f"outputs{number % 2}", (T, layer.n_out, batch))
            after[at] = layer.read(x, state[at], ws.scope(name), out, starts=starts)
            x, number = out, number + 1
        return x, tuple(after)

    def read(self, x: Array, state: State, ws: Workspace, out: Array, *, starts: np.ndarray | None = None) -> State:
        out[...], state = self.outputs(x, state, ws, starts=starts)
        return state

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        d_after = d_state or ((),) * len(self.layers)
        d_before = []
        for (name, layer), d_layer in zip(reversed(self.layers.items()), reversed(d_after), strict=True):
            dy, d_layer_state = layer.backward(dy, d_layer, ws.scope(name))
            d_before.append(d_layer_state)
        return dy, tuple(reversed(d_before))


def views_of(views: Views, prefix: str) -> Views:
    """Return the views whose names begin with `prefix`, under their names without it."""
    return {name.removeprefix(prefix): view for name, view in views.items() if name.startswith(prefix)}


def pieces(T: int) -> Iterator[tuple[int, int]]:
    """Yield the first step of each piece of a sequence and the one after its last."""
    return ((first, min(first + LONGEST_PIECE, T)) for first in range(0, T, LONGEST_PIECE))
