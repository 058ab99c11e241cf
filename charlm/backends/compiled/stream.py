"""One stream of sampling on the compiled core: tokens are read and drawn in C, many in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from charlm.backends.base import AffineLayer, Array, Drawn
from charlm.backends.compiled.core import Pass, Stream, StreamLayer, strides
from charlm.backends.compiled.scan import CellFacts, CompiledScan, State
from charlm.config import SampleConfig

_KNOWN = 1 << 22  # elements of the first layer's W x + b, over all tokens for which it is kept
_WEIGHTS = 1 << 26  # that one call multiplies, in about 5 ms: the program can be interrupted between two calls
_MOST = 1 << 10  # tokens of a call
_WIDEST = 16  # elements of a vector
_ACTIVATIONS = ("", "tanh", "relu")


class _Memory:
    """The `Buffers` of a stream, and all else that the core knows by its address: kept for as long as the stream."""

    def __init__(self, ops: Any, dtype: Any) -> None:
        self.dtype, self._ops = np.dtype(dtype).name, ops
        self._held: list[Array] = []

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a new array."""
        self._held.append(self._ops.empty(shape, self.dtype))
        return self._held[-1]

    def scope(self, name: str) -> _Memory:
        """Return the memory of a part, which is this one."""
        return self

    def address(self, array: np.ndarray) -> int:
        """Return the address of an array."""
        self._held.append(array)
        return int(array.ctypes.data)


class CompiledStream:
    """A network that reads one token at a time and draws the next one. The arguments are those of `Backend.stream`.

    The weights are packed at the beginning, so that two streams share no array that they write to.
    """

    def __init__(self, ops: Any, table: Array, layers: Sequence[AffineLayer]) -> None:
        self._ops, self._core, self._memory = ops, ops.core_of(table.dtype), _Memory(ops, table.dtype)
        if table.strides[1] != table.itemsize:
            table = np.ascontiguousarray(table)
        self._steps: list[Pass] = []  # of the recurrent layers
        self._states: list[State] = []  # that they read
        outputs, tokens = len(layers[-1].W), len(table)
        made = [self._layer(layer) for layer in layers]
        self._layers = (StreamLayer * len(made))(*made)
        address = self._memory.address
        self._stream = s = Stream(by=self._core.arithmetic, layers=len(made), tokens=tokens)
        s.layer = ctypes.addressof(self._layers)
        s.table, s.ldt = address(table), strides(table)[0]
        if made[0].K:
            s.room = max(1, min(tokens, _KNOWN // made[0].N))
            s.known = self._new(s.room * made[0].N).ctypes.data
            s.place = address(np.full(tokens, -1, np.int32))
        s.e, s.heap = address(np.empty(outputs + _WIDEST)), address(np.empty(outputs, np.int32))
        s.left = self._new(max(one.K for one in made) + 2 * _WIDEST).ctypes.data
        weights = sum(layer.W.size + (0 if layer.cell is None else layer.cell.W_a.size) for layer in layers)
        most = min(_MOST, -(-_WEIGHTS // weights))
        self._ids, self._log_probs, self._masses = np.empty(most, np.int32), np.empty(most), np.empty(most)

    def load(self, states: Sequence[State]) -> None:
        """Go on from the states of the recurrent layers, arrays [H, 1]; they are copied."""
        for own, given in zip(self._states, states, strict=True):
            for array, values in zip(own, given, strict=True):
                array[...] = values

    def expect(self, log_probs: np.ndarray) -> None:
        """Draw the next token with ln P [V]."""
        self._logits[...] = log_probs

    def read(self, token_id: int) -> None:
        """Read a token; -1 is the zero vector. Raises IndexError for an id that is not in the table."""
        if token_id >= self._stream.tokens:
            raise IndexError(f"index {token_id} is out of bounds for size {self._stream.tokens}")
        self._core.stream_read(self._stream, token_id)

    def log_probs(self) -> np.ndarray:
        """Return ln P [V] of every next token; it may contain NaN or infinity."""
        log_probs: np.ndarray = self._logits.copy()
        self._ops.log_softmax(log_probs)
        return log_probs

    def draw(
        self, most: int, rng: np.random.Generator, config: SampleConfig, banned: Sequence[int], end: int | None
    ) -> list[Drawn]:
        """Draw some of the next `most` tokens, at least one, and read them; stop after `end`.

        Returns [] if `next_token_probs` would raise an error.
        """
        s, bans = self._stream, np.array(banned, np.int32)
        s.temperature, s.top_k = config.temperature, min(config.top_k or self._logits.size, self._logits.size)
        s.top_p = -1.0 if config.top_p is None else config.top_p
        s.banned, s.bans, s.end = bans.ctypes.data, bans.size, -1 if end is None else end
        numbers = rng.random(min(most, self._ids.size))
        found = (self._ids, self._log_probs, self._masses)
        addresses = (array.ctypes.data for array in found)
        count = self._core.stream_draw(s, numbers.ctypes.data, numbers.size, *addresses)
        return list(zip(*(array[:count].tolist() for array in found), strict=True))

    def _layer(self, layer: AffineLayer) -> StreamLayer:
        """Return a layer with packed weights."""
        N, K = layer.W.shape
        made = StreamLayer(
            N=N, K=K, W=self._packed(layer.W), b=self._memory.address(np.ascontiguousarray(layer.b[:, 0]))
        )
        out = self._new(N + _WIDEST)
        made.out, self._logits = out.ctypes.data, out[:N]
        made.activation = _ACTIVATIONS.index(layer.activation)
        if layer.cell is not None:
            made.step = self._step(layer.cell, out)
        return made

    def _step(self, cell: CellFacts, x: Array) -> int:
        """Return the address of a step of a cell, which reads W_x x + b."""
        step, before, _ = CompiledScan(cell, self._memory).new_place("now")
        step.x = x.ctypes.data
        self._states.append(before)
        self._steps.append(step)
        return ctypes.addressof(step)

    def _packed(self, W: Array) -> int:
        """Return the address of packed weights."""
        by, rows = self._core.arithmetic, W if not W.size or W.strides[1] == W.itemsize else np.ascontiguousarray(W)
        address: int = self._new(self._core.packed_weights_size(by, *W.shape)).ctypes.data
        self._core.pack_weights(by, rows.ctypes.data, strides(rows)[0], *W.shape, address)
        return address

    def _new(self, size: int) -> Array:
        return self._memory.array("", (size,))
