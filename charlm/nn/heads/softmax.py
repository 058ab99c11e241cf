"""One choice out of many: a token, a tag, a class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from charlm.backends import Array, Number
from charlm.nn.heads.base import Head
from charlm.nn.workspace import Workspace, columns_of, steps_of

_LOGITS_AT_A_TIME = 1 << 24  # more logits are computed in blocks of columns


class Softmax(Head):
    """y^<t> = softmax(W_y a<t> + b_y), with the loss L = - sum over t of ln y^<t>[target<t>]. Source: the notes.

    With tied weights W_y is the embedding E [V, D] itself, Press and Wolf 2017.
    """

    @property
    def blind_nats(self) -> float:
        return math.log(self.outputs)

    def _logits(self, a: Array, ws: Workspace) -> Array:
        """Return W_y a + b_y of columns a `[n, N]`, [outputs, N]; the workspace's."""
        logits = ws.columns("logits", self.outputs, a.shape[1])
        self.ops.matmul(self.W_y, a, out=logits)
        logits += self.b_y
        return logits

    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """With d = y^ - one-hot target, a column for each step and sequence:

        dW_y += d a^T    db_y += sum of d    da = W_y^T d
        """
        flat = targets.ravel()
        a = columns_of(y, ws, "a")
        da, losses = ws.columns("da", *a.shape), []
        for part in self._blocks(flat.size):
            d = ws.columns("logits", self.outputs, part.stop - part.start)
            self.ops.matmul(self.W_y, a[:, part], out=d)
            losses.append(self.ops.cross_entropy(d, flat[part], bias=self.b_y, scale=scale).sum())
            self.g.add_product("W_y", d, a[:, part].T)
            self.g.add_row_sums("b_y", d)
            self.ops.matmul(self.W_y.T, d, out=da[:, part])
        return sum(losses[1:], losses[0]), steps_of(da, targets.shape[0])

    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        flat = targets.ravel()
        a = columns_of(y, ws, "a")
        nats, likeliest = np.empty(flat.size), np.empty(flat.size, np.int64)
        for part in self._blocks(flat.size):
            if best is None:
                scratch = ws.columns("logits", self.outputs, part.stop - part.start)
                losses = self.ops.losses(self.W_y, a[:, part], flat[part], bias=self.b_y, logits=scratch)
            else:
                logits = self._logits(a[:, part], ws)
                likeliest[part] = self.ops.numpy(logits.argmax(axis=0))
                losses = self.ops.cross_entropy(logits, flat[part])
            nats[part] = self.ops.numpy(losses)
        if best is not None:
            best[...] = likeliest.reshape(best.shape)
        return nats.reshape(targets.shape)

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        logits = self._logits(columns_of(y, ws, "a"), ws)
        self.ops.log_softmax(logits)
        return logits

    def next_log_probs(self, a: Array, ws: Workspace) -> Array:
        column = ws.array("logits", (self.outputs, 1))
        self.ops.matmul(self.W_y, a, out=column)
        # Adding vectors is faster than adding columns.
        logits = column[:, 0]
        logits += self.b_y[:, 0]
        self.ops.log_softmax(logits)
        return logits

    def _blocks(self, columns: int) -> Iterator[slice]:
        """Yield slices of the columns whose logits are computed at a time, of about equal lengths."""
        count = max(1, -(-columns // max(64, _LOGITS_AT_A_TIME // self.outputs)))
        edges = [columns * i // count for i in range(count + 1)]
        return (slice(start, end) for start, end in pairwise(edges))
