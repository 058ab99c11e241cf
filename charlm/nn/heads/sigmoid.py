"""Independent outputs of 0 or 1: is this word part of a name, does this key sound."""

from __future__ import annotations

import math

import numpy as np

from charlm.backends import Array, Number
from charlm.nn.heads.base import Head
from charlm.nn.workspace import Workspace, columns_of, steps_of


class Sigmoid(Head):
    """y^<t> = sigma(W_y a<t> + b_y), with the loss L = -y log y^ - (1 - y) log(1 - y^), summed over units and steps.

    Source: the notes. Targets are 0, 1 or `NO_TARGET`: [T, N, B] for N units, or [T, B] for one.
    """

    @property
    def blind_nats(self) -> float:
        return self.outputs * math.log(2.0)

    def counts(self, targets: np.ndarray) -> np.ndarray:
        """Return how often each unit is 0 and 1, [2, N]."""
        units = targets.reshape(targets.shape[0], self.outputs, targets.shape[-1])
        return np.stack([(units == value).sum(axis=(0, 2)) for value in (0, 1)])

    def frequency_nats(self, seen: np.ndarray, judged: np.ndarray) -> float:
        """P(1) = (n_1 + 1) / (n + 2) of each unit; the loss is the sum over the units."""
        log_probs = np.log(seen + 1.0) - np.log(seen.sum(axis=0) + 2.0)
        return float(-(judged * log_probs).sum() / max(1, judged[:, 0].sum()))

    def _logits(self, a: Array, ws: Workspace) -> Array:
        """Return W_y a + b_y, [N, T·B], of columns a `[n, T·B]`; the workspace's."""
        logits = ws.columns("logits", self.outputs, a.shape[1])
        self.ops.matmul(self.W_y, a, out=logits)
        logits += self.b_y
        return logits

    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """With d = y^ - y where there is a target, a column for each step and sequence, as for the softmax:

        dW_y += d a^T    db_y += sum of d    da = W_y^T d
        """
        a = columns_of(y, ws, "a")
        z, truth = self._logits(a, ws), self._truth(targets, ws)
        has_target = truth >= 0
        loss = self._entropies(z, truth, has_target, ws).sum(dtype=np.float64)
        self.ops.sigmoid(z)
        d = np.subtract(z, truth, out=z)
        d *= has_target
        d *= scale
        self.g.add_product("W_y", d, a.T)
        self.g.add_row_sums("b_y", d)
        da = ws.columns("da", *a.shape)
        self.ops.matmul(self.W_y.T, d, out=da)
        return loss, steps_of(da, targets.shape[0])

    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        """`best` is 0 or 1, for one unit."""
        z, truth = self._checkable(self._logits(columns_of(y, ws, "a"), ws)), self._truth(targets, ws)
        if best is not None:
            best[...] = self.ops.numpy(z > 0).reshape(best.shape)
        entropies = self.ops.numpy(self._entropies(z, truth, truth >= 0, ws))
        result: np.ndarray = entropies.sum(axis=0, dtype=np.float64).reshape(targets.shape[0], targets.shape[-1])
        return result

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        """Return ln y^ of every unit, `[N, T·B]`, for y [T, n, B]."""
        z = self._checkable(self._logits(columns_of(y, ws, "a"), ws))
        out = ws.columns("entropies", *z.shape)
        np.negative(z, out=out)
        _softplus(out, ws.columns("tail", *z.shape))
        np.negative(out, out=out)
        return out

    def _checkable(self, z: Array) -> Array:
        """Turn infinite logits into NaN, in place: a probability of 0 or 1 would hide the overflow."""
        z += 0.0 * z
        return z

    def _truth(self, targets: np.ndarray, ws: Workspace) -> Array:
        """Return the targets as columns `[N, T·B]`."""
        T, batch = targets.shape[0], targets.shape[-1]
        columns = targets.reshape(T, self.outputs, batch).transpose(1, 0, 2).reshape(self.outputs, T * batch)
        return self.ops.array(columns, ws.dtype)

    def _entropies(self, z: Array, truth: Array, has_target: Array, ws: Workspace) -> Array:
        """Return -y ln y^ - (1 - y) ln(1 - y^) = ln(1 + e^((1 - 2y) z)), 0 where there is no target."""
        out = ws.columns("entropies", *z.shape)
        np.multiply(truth, -2.0, out=out)
        out += 1.0
        out *= z
        _softplus(out, ws.columns("tail", *z.shape))
        out *= has_target
        return out


def _softplus(x: Array, tmp: Array) -> None:
    """Turn x into ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), in place, without overflow."""
    np.abs(x, out=tmp)
    np.negative(tmp, out=tmp)
    np.exp(tmp, out=tmp)
    np.log1p(tmp, out=tmp)
    np.maximum(x, 0.0, out=x)
    x += tmp
