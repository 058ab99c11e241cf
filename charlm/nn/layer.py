"""What a layer is: a function of a whole sequence and of a state, with its derivative."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn.grads import Grads
from charlm.nn.workspace import Workspace

State = tuple[Any, ...]  # nested tuples of arrays [H, B]; () where a layer remembers nothing
Views = Mapping[str, Array]
Read = Callable[[int, int], Array]  # of the first step and the one after the last: the input of these, [steps, n, B]

LONGEST_PIECE = 256  # steps of a sequence: a longer one is read in pieces where there is no way back


@dataclass(frozen=True)
class Noise:
    """The dropout of a training step.

    key: of the step's masks
    lanes: if a pass runs some lanes of a batch, the first lane and the number of lanes of the batch; else None
    """

    key: int
    lanes: tuple[int, int] | None = None


class Layer(ABC):
    """A layer of the network, from `x [T, n_in, B]` to `y [T, n_out, B]`.

    A layer holds no state between calls: what it remembers goes in and comes out, and what its backward pass needs
    lies in the workspace. `forward` and `backward` alternate on one workspace.
    """

    n_in: int
    n_out: int
    ops: Backend
    pointwise: ClassVar[bool] = False  # whether y<t> depends on x<t> alone

    def shapes(self) -> dict[str, Shape]:
        """Give the shape of each parameter; none by default."""
        return {}

    def bind(self, values: Views, grads: Grads) -> None:
        """Take the views of the parameters and of their gradients."""
        del values, grads

    def initialise(self, rng: np.random.Generator) -> None:
        """Write the weights that learning starts from into the bound parameters."""
        del rng

    def zero_state(self, batch: int) -> State:
        """Give a<0> = 0 for `batch` sequences."""
        del batch
        return ()

    @abstractmethod
    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: Noise | None = None
    ) -> tuple[Array, State]:
        """Run the sequence.

        x [T, n_in, B]: input; a first layer takes ids `[T, B]` instead
        state: what the sequence before left, arrays [H, B]; not kept, not changed
        starts [T, B] bool, or None: a new sequence begins here, so the state before it is set to zero
        noise: this training step's dropout; None for none
        Returns y [T, n_out, B], which is the workspace's until the next forward, and a new state.
        """

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        """Run the sequence for its outputs alone; there is no way back from here.

        out [T, n_out, B]: overwritten with y; read: gives the input of some steps, as often as it is asked for
        Returns a new state. The others are as in `forward`.
        """
        out[...], state = self.forward(read(0, len(out)), state, ws, starts=starts)
        return state

    @abstractmethod
    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """Run it backwards, once for each forward.

        dy [T, n_out, B]: dL/dy; d_state: dL/d(the state that forward returned), () for zero. Neither is changed.
        Adds dL/dparameter to the bound gradients. Returns dx [T, n_in, B], which is the workspace's, and the gradient
        of the state that forward took.
        """


class Stack(Layer):
    """Layers on top of each other; its state is the tuple of theirs."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = dict(layers)
        self._in_order: Sequence[tuple[str, Layer]] = list(self.layers.items())
        self.ops = self._in_order[0][1].ops
        self.n_in = self._in_order[0][1].n_in
        self.n_out = self._in_order[-1][1].n_out

    def shapes(self) -> dict[str, Shape]:
        return {f"{name}.{key}": shape for name, layer in self._in_order for key, shape in layer.shapes().items()}

    def bind(self, values: Views, grads: Grads) -> None:
        for name, layer in self._in_order:
            own = layer.shapes()
            layer.bind({k: values[f"{name}.{k}"] for k in own}, grads.of(f"{name}."))

    def initialise(self, rng: np.random.Generator) -> None:
        for _, layer in self._in_order:
            layer.initialise(rng)

    def zero_state(self, batch: int) -> State:
        return tuple(layer.zero_state(batch) for _, layer in self._in_order)

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: Noise | None = None
    ) -> tuple[Array, State]:
        after = []
        for (name, layer), before in zip(self._in_order, state, strict=True):
            x, one = layer.forward(x, before, ws.scope(name), starts=starts, noise=noise)
            after.append(one)
        return x, tuple(after)

    def outputs(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> tuple[Array, State]:
        """Run the sequence for its outputs alone, as `forward` but for a way back.

        A long sequence goes through each layer in pieces. What is kept of it are the outputs of two layers with a
        memory, the one at hand and the one below it; other layers are computed again when they are read.
        """
        T, batch = x.shape[0], x.shape[-1]
        if T <= LONGEST_PIECE:
            return self.forward(x, state, ws, starts=starts)
        read = out_of(x)
        after: list[State] = []
        wholes = 0
        out: Array | None = None
        for (name, layer), before in zip(self._in_order, state, strict=True):
            if layer.pointwise:
                read, out = _read_through(layer, read, ws.scope(name)), None
                after.append(())
                continue
            out = ws.array(f"outputs{wholes % 2}", (T, layer.n_out, batch))
            after.append(layer.outputs_into(out, read, before, ws.scope(name), starts=starts))
            read = out_of(out)
            wholes += 1
        if out is None:
            out = ws.array(f"outputs{wholes % 2}", (T, self.n_out, batch))
            for first, end in pieces(T):
                out[first:end] = read(first, end)
        return out, tuple(after)

    def outputs_into(
        self, out: Array, read: Read, state: State, ws: Workspace, *, starts: np.ndarray | None = None
    ) -> State:
        out[...], state = self.outputs(read(0, len(out)), state, ws, starts=starts)
        return state

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        upper = d_state or ((),) * len(self._in_order)
        d_before = []
        for (name, layer), after in zip(reversed(self._in_order), reversed(upper), strict=True):
            dy, one = layer.backward(dy, after, ws.scope(name))
            d_before.append(one)
        return dy, tuple(reversed(d_before))


def pieces(T: int) -> Iterator[tuple[int, int]]:
    """Yield the first step of each piece of a sequence and the one after its last."""
    return ((first, min(first + LONGEST_PIECE, T)) for first in range(0, T, LONGEST_PIECE))


def out_of(array: Array) -> Read:
    """Return what reads steps out of an array."""
    return lambda first, end: array[first:end]


def _read_through(layer: Layer, read: Read, ws: Workspace) -> Read:
    """Return what reads the outputs of a layer without a memory, which are computed when they are read."""
    return lambda first, end: layer.forward(read(first, end), (), ws)[0]
