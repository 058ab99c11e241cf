"""The output of one choice out of many: which token, which tag, which class."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Backend, Shape
from charlm.nn import initializers
from charlm.nn.dense import columns_of, steps_of
from charlm.nn.heads.base import Head
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace

_LOGITS_AT_A_TIME = 1 << 22  # numbers: many choices are worked on in blocks of columns


class Softmax(Head):
    """y^<t> = softmax(W_y a<t> + b_y), with the loss L = - sum over t of ln y^<t>[target<t>]. Source: the notes.

    With tied weights W_y is the embedding E [V, D] itself, Press and Wolf 2017.
    """

    def __init__(self, ops: Backend, n_in: int, choices: int, *, tied: bool) -> None:
        self.ops = ops
        self.n_in, self.choices = n_in, choices
        self.tied = tied

    def shapes(self) -> dict[str, Shape]:
        own = {} if self.tied else {"W_y": (self.choices, self.n_in)}
        return {**own, "b_y": (self.choices, 1)}

    def bind(self, values: Views, grads: Views) -> None:
        self.W_y, self.dW_y = values["W_y"], grads["W_y"]
        self.b_y, self.db_y = values["b_y"], grads["b_y"]

    def initialise(self, rng: np.random.Generator) -> None:
        if not self.tied:
            self.W_y[...] = self.ops.array(initializers.glorot(self.W_y.shape, rng), self.W_y.dtype)
        self.b_y[...] = 0

    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[float, Array]:
        """With d = y^ - one-hot target, a column for each step and sequence:

        dW_y = d a^T    db_y = sum of d    da = W_y^T d
        """
        flat = targets.ravel()
        a = columns_of(y, ws, "a")
        da = ws.array("da", a.shape)
        nats = ws.array("nats", flat.shape)
        product = ws.array("product", self.W_y.shape)
        for part in self._parts(flat.size):
            logits = self._logits(a[:, part], ws)
            self.ops.softmax_grad(logits, flat[part], nats[part], scale)
            self.ops.matmul(logits, a[:, part].T, out=product)
            self.dW_y += product
            self.db_y += logits.sum(axis=1, keepdims=True)
            self.ops.matmul(self.W_y.T, logits, out=da[:, part])
        return float(nats.sum(dtype=np.float64)), steps_of(da, targets.shape[0], ws, "dy")

    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        flat = targets.ravel()
        a = columns_of(y, ws, "a")
        result = np.empty(flat.size)
        for part in self._parts(flat.size):
            logits = self._logits(a[:, part], ws)
            self.ops.log_softmax(logits)
            result[part] = -self.ops.pick(logits, flat[part])
            if best is not None:
                best.reshape(-1)[part] = self.ops.numpy(logits.argmax(axis=0))
        return result.reshape(targets.shape)

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        logits = self._logits(columns_of(y, ws, "a"), ws)
        self.ops.log_softmax(logits)
        return logits

    def _logits(self, a: Array, ws: Workspace) -> Array:
        logits = ws.array("logits", (self.choices, a.shape[1]))
        self.ops.matmul(self.W_y, a, out=logits)
        logits += self.b_y
        return logits

    def _parts(self, columns: int) -> list[slice]:
        most = max(64, _LOGITS_AT_A_TIME // self.choices)
        return [slice(start, min(start + most, columns)) for start in range(0, columns, most)]
