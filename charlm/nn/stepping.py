"""One token after the other, for sampling; arrays are made once, so that a step allocates next to nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from charlm.backends import Array
from charlm.backends.base import AffineLayer, Drawn
from charlm.config import SampleConfig
from charlm.nn.dense import Dense
from charlm.nn.drawing import draw, next_token_probs
from charlm.nn.embedding import Embedding
from charlm.nn.heads import Head, Softmax
from charlm.nn.layer import Layer, Stack, State
from charlm.nn.outputs import checked
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace

Banned = Sequence[int] | Callable[[], Sequence[int]]

_REMEMBERED = 1 << 22  # elements of W_x x + b, over all tokens for which it is kept


def stepper_of(body: Stack, head: Head, ws: Workspace) -> Stepper:
    """Return a stack that reads from left to right and its softmax, fed one token at a time, from state 0.

    The weights, some of which are copied, must not change. Two steppers share no array that they write to.
    """
    stepper: Stepper | None = None
    if isinstance(head, Softmax) and (network := _affine_layers(body, head)) is not None:
        own = body.ops.stream(*network)
        stepper = None if own is None else DeviceStepper(own)
    stepper = stepper or ReferenceStepper(body, head, ws)
    stepper.load(body.zero_state(1))
    return stepper


class Stepper(ABC):
    """A network that is fed one token at a time."""

    @abstractmethod
    def load(self, state: State) -> None:
        """Go on from a state of one sequence, arrays [H, 1]; it is copied."""

    @abstractmethod
    def next_log_probs(self, token_id: int) -> np.ndarray:
        """Read a token and return ln P of every next one, `[V]`; raise NonFiniteOutputError as `Model` does."""

    def draws(
        self,
        log_probs: np.ndarray,
        rng: np.random.Generator,
        config: SampleConfig,
        *,
        banned: Banned,
        end: int | None = None,
    ) -> Iterator[Drawn]:
        """Draw at most `config.length` tokens, each with one number of the generator, and read them.

        How far the state and the generator are ahead of the last token that was asked for is undefined.

        log_probs [V]: ln P of the first one
        banned: ids of tokens that are not drawn, or a function that returns those of the next draw; it is called after
            the caller has seen the token before
        end: the id after which no other token is drawn
        Raises what `next_log_probs` and `next_token_probs` raise, after the tokens before.
        """
        for _ in range(config.length):
            now = banned() if callable(banned) else banned
            probs, banned_mass = next_token_probs(log_probs, config, banned=now)
            token_id = draw(probs, rng)
            yield token_id, float(log_probs[token_id]), banned_mass
            if token_id == end:
                return
            log_probs = self.next_log_probs(token_id)


class DeviceStepper(Stepper):
    """A device's own stream of sampling.

    own: what `Backend.stream` returned
    """

    def __init__(self, own: Any) -> None:
        self._own = own

    def load(self, state: State) -> None:
        self._own.load([part for part in state if part])

    def next_log_probs(self, token_id: int) -> np.ndarray:
        self._own.read(token_id)
        return self._next()

    def draws(
        self,
        log_probs: np.ndarray,
        rng: np.random.Generator,
        config: SampleConfig,
        *,
        banned: Banned,
        end: int | None = None,
    ) -> Iterator[Drawn]:
        self._own.expect(log_probs)
        left, is_over = config.length, False
        while left and not is_over:
            now, together = (banned(), 1) if callable(banned) else (banned, left)
            drawn = self._own.draw(together, rng, config, now, end)
            if not drawn:
                next_token_probs(self._next(), config, banned=now)  # raises
                raise AssertionError("a token could have been drawn")
            left, is_over = left - len(drawn), drawn[-1][0] == end
            yield from drawn

    @np.errstate(all="ignore")
    def _next(self) -> np.ndarray:
        """Return ln P [V] of the next token."""
        return checked(self._own.log_probs())


class ReferenceStepper(Stepper):
    """Any layers on any backend.

    What lies below the first recurrent layer depends on the token alone, so W_x x + b of a token is computed once.
    """

    def __init__(self, body: Stack, head: Head, ws: Workspace) -> None:
        self.ops = body.ops
        steps = [_step_of(layer, ws.scope(name)) for name, layer in body.layers.items()]
        below = next(number for number, step in enumerate(steps) if isinstance(step, _RecurrentStep))
        self._below, self._first, self._above = steps[:below], steps[below], steps[below + 1 :]
        self._of_tokens: dict[int, Array] = {}
        self._head, self._ws = head, ws.scope("head")

    def load(self, state: State) -> None:
        for step, part in zip([*self._below, self._first, *self._above], state, strict=True):
            step.load(part)

    @np.errstate(all="ignore")
    def next_log_probs(self, token_id: int) -> np.ndarray:
        x = self._first.step(self._projected(token_id))
        for step in self._above:
            x = step.step(step.project(x))
        return checked(self.ops.numpy(self._head.next_log_probs(x, self._ws)))

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
        """Return W_x x + b, [G, H, 1], for x [I, 1], or for an id [1]; overwritten by the next call."""
        if self._layer.columns is not None:
            table = self._layer.columns.table[:, self._layer.own_columns]
            self._layer.ops.lookup(table, x[None], out=self._zx[None])
            self._zx += self._b
            return self._gates
        if self._layer.one_hot:
            self._ops.one_hot_product(self._W_x1, x[None], x1=self._x1, out=self._zx)
            return self._gates
        self._x[...] = x
        self._ops.matmul(self._W_x1, self._x1, out=self._zx)
        return self._gates

    def step(self, zx: Array) -> Array:
        """Return a<t> [H, 1], the scan's until the step after next."""
        self._state = self._scan.step(zx, self._state)
        return self._state[0]


def _step_of(layer: Layer, ws: Workspace) -> _RecurrentStep | _PointwiseStep:
    return _RecurrentStep(layer, ws) if isinstance(layer, Recurrent) else _PointwiseStep(layer, ws)


def _affine_layers(body: Stack, head: Softmax) -> tuple[Array, list[AffineLayer]] | None:
    """Return the arguments of `Backend.stream`, the table and the layers; None for a network of other layers."""
    table, layers = None, list[AffineLayer]()
    for layer in body.layers.values():
        if isinstance(layer, Embedding):
            table = layer.table
        elif isinstance(layer, Recurrent):
            W_x, b = layer.cell.W_x1[:, :-1], layer.cell.W_x1[:, -1:]
            if layer.columns is not None:
                table = layer.columns.table[:, layer.own_columns]
            elif layer.one_hot:
                table, W_x = W_x.T, W_x[:, :0]
            layers.append(AffineLayer(W_x, b, cell=layer.cell))
        elif isinstance(layer, Dense):
            layers.append(AffineLayer(layer.p["W"], layer.p["b"], activation=layer.activation))
        elif not layer.passes_on:
            return None
    return table, [*layers, AffineLayer(head.W_y, head.b_y)]
