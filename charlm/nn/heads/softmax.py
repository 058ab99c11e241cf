"""The output of one choice out of many: which token, which tag, which class."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array
from charlm.nn.dense import columns_of, steps_of
from charlm.nn.heads.base import Head
from charlm.nn.workspace import Workspace

_LOGITS_AT_A_TIME = 1 << 22  # numbers: many choices are worked on in blocks of columns


class Softmax(Head):
    """y^<t> = softmax(W_y a<t> + b_y), with the loss L = - sum over t of ln y^<t>[target<t>]. Source: the notes.

    With tied weights W_y is the embedding E [V, D] itself, Press and Wolf 2017.
    """

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
            logits = self.logits(a[:, part], ws)
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
            logits = self.logits(a[:, part], ws)
            self.ops.log_softmax(logits)
            result[part] = -self.ops.pick(logits, flat[part])
            if best is not None:
                best.reshape(-1)[part] = self.ops.numpy(logits.argmax(axis=0))
        return result.reshape(targets.shape)

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        logits = self.logits(columns_of(y, ws, "a"), ws)
        self.ops.log_softmax(logits)
        return logits

    def _parts(self, columns: int) -> list[slice]:
        most = max(64, _LOGITS_AT_A_TIME // self.outputs)
        return [slice(start, min(start + most, columns)) for start in range(0, columns, most)]
