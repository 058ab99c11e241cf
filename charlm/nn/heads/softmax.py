"""The output of one choice out of many: which token, which tag, which class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from charlm.backends import Array, Number
from charlm.nn.heads.base import Head
from charlm.nn.workspace import Workspace, columns_of, steps_of

_LOGITS_AT_A_TIME = 1 << 24  # numbers: a loss of more is worked on in blocks of columns
_ROWS, _COLUMNS = 256, 512  # of the logits that are worked on at a time: they stay in a core's second-level cache
_SMALLEST, _LARGEST = 1e-30, 1e30  # sums of exponentials between these are exact without a shift


@dataclass
class _Sums:
    """Of each column: the sum of exp(logit - shift), the logit of the target, and the shift."""

    total: np.ndarray
    at_target: np.ndarray
    shift: np.ndarray | None = None

    @property
    def exact(self) -> np.ndarray:
        """Whether no exponential that matters has left the range of numbers."""
        exact: np.ndarray = (self.total > _SMALLEST) & (self.total < _LARGEST)
        return exact

    def nats(self, targets: np.ndarray) -> np.ndarray:
        """Give -ln y^[target] = ln(total) + shift - logit, float64; 0 where there is no target."""
        # The two that may be large are subtracted first: a sum of either with ln(total) would round that away.
        target = self.at_target if self.shift is None else self.at_target - self.shift
        nats: np.ndarray = np.log(self.total) - target
        nats[targets < 0] = 0.0
        return nats


class Softmax(Head):
    """y^<t> = softmax(W_y a<t> + b_y), with the loss L = - sum over t of ln y^<t>[target<t>]. Source: the notes.

    With tied weights W_y is the embedding E [V, D] itself, Press and Wolf 2017.

    y^ = e / S, with e = exp(logits) and S their sum over the vocabulary, a number for each column. Large vocabularies
    are worked on in blocks of rows, so that logits and exponentials stay in the cache, on all cores.
    """

    @property
    def blind_nats(self) -> float:
        return math.log(self.outputs)

    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """With d = y^ - one-hot target, a column for each step and sequence:

        dW_y += d a^T    db_y += sum of d    da = W_y^T d

        As d = (e - S · one-hot target) / S, and 1/S can as well be multiplied with the columns of a and da, which are
        far fewer numbers, d itself is never written down.
        """
        flat = targets.ravel()
        a = columns_of(y, ws, "a")
        da, losses = ws.columns("da", *a.shape), []
        for part in _blocks(flat.size, max(64, _LOGITS_AT_A_TIME // self.outputs)):
            losses.append(self._back(a[:, part], flat[part], scale, ws, da[:, part]))
        return sum(losses[1:], losses[0]), steps_of(da, targets.shape[0])

    def _back(self, a: Array, targets: np.ndarray, scale: float, ws: Workspace, da: Array) -> Number:
        """Return the loss of some columns and write their da; add their gradients."""
        if (cross_entropy := self.ops.fused.get("cross_entropy_and_grad")) is not None:
            return self._back_at_once(cross_entropy, a, targets, scale, ws, da)
        e = ws.columns("logits", self.outputs, targets.size)
        sums = self._exponentials(a, targets, e)
        weight = ws.array("weight", (1, targets.size))
        weight[0] = self.ops.array(np.where(targets >= 0, scale / sums.total, 0.0))
        a_weighted = ws.columns("a_weighted", *a.shape)
        np.multiply(a, weight, out=a_weighted)
        at = np.flatnonzero(targets >= 0)
        e[targets[at], at] -= sums.total[at].astype(e.dtype)
        self.g.add_product("W_y", e, a_weighted.T)
        self.g.add_product("b_y", e, weight.T)
        self.ops.matmul(self.W_y.T, e, out=da)
        da *= weight
        return float(sums.nats(targets).sum())

    def _back_at_once(
        self,
        cross_entropy: Callable[..., Number],
        a: Array,
        targets: np.ndarray,
        scale: float,
        ws: Workspace,
        da: Array,
    ) -> Number:
        """Do what `_back` does where a device turns logits into d, and gives the loss, in one kernel."""
        d = self.logits(a, ws)
        loss = cross_entropy(d, targets, scale)
        self.g.add_product("W_y", d, a.T)
        self.g.add("b_y", d.sum(axis=1, keepdims=True))
        self.ops.matmul(self.W_y.T, d, out=da)
        return loss

    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        flat = targets.ravel()
        a = columns_of(y, ws, "a")
        result = np.empty(flat.size)
        if best is not None or "cross_entropy" in self.ops.fused:
            return self._nats_and_best(a, targets, best, ws)

        def of_columns(part: slice) -> None:
            sums = self._exponentials(a[:, part], flat[part], None)
            result[part] = sums.nats(flat[part])

        self.ops.each(of_columns, _blocks(flat.size, _COLUMNS))
        return result.reshape(targets.shape)

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        logits = self.logits(columns_of(y, ws, "a"), ws)
        self.ops.log_softmax(logits)
        return logits

    def _nats_and_best(self, a: Array, targets: np.ndarray, best: np.ndarray | None, ws: Workspace) -> np.ndarray:
        flat = targets.ravel()
        result, likeliest = np.empty(flat.size), np.empty(flat.size, np.int64)
        nats_of: Callable[..., np.ndarray] = self.ops.fused.get("cross_entropy", self._cross_entropy)
        for part in _blocks(flat.size, max(64, 4 * self.ops.block // self.outputs)):
            logits = self.logits(a[:, part], ws)
            if best is not None:
                likeliest[part] = self.ops.numpy(logits.argmax(axis=0))
            result[part] = nats_of(logits, flat[part])
        if best is not None:
            best[...] = likeliest.reshape(best.shape)
        return result.reshape(targets.shape)

    def _cross_entropy(self, logits: Array, targets: np.ndarray) -> np.ndarray:
        self.ops.log_softmax(logits)
        return -self.ops.pick(logits, targets)

    def _exponentials(self, a: Array, targets: np.ndarray, e: Array | None) -> _Sums:
        """Sum exp(W_y a + b_y) over the vocabulary; e [V, N]: overwritten with it, where given.

        Of a column in which a logit is so large, or all are so small, that the sum cannot be exact, the largest logit
        is taken off first.
        """
        sums = self._summed(a, targets, e, None)
        if not sums.exact.all():
            largest = np.full(targets.size, -np.inf)
            for _, logits in self._logit_blocks(a, None, _blocks(self.outputs, _ROWS)):
                np.maximum(largest, self.ops.numpy(logits.max(axis=0)), out=largest)
            sums = self._summed(a, targets, e, np.where(sums.exact, 0.0, largest))
        return sums

    def _summed(self, a: Array, targets: np.ndarray, e: Array | None, shift: np.ndarray | None) -> _Sums:
        blocks = list(_blocks(self.outputs, _ROWS))
        totals = np.empty((len(blocks), targets.size))
        at_target = np.zeros(targets.size)
        off = None if shift is None else self.ops.array(shift, a.dtype)

        def of_rows(number: int) -> None:
            for rows, logits in self._logit_blocks(a, e, blocks[number : number + 1]):
                at = _targets_in(rows, targets)
                at_target[at] = self.ops.numpy(logits[targets[at] - rows.start, at])
                if off is not None:
                    np.subtract(logits, off, out=logits)
                with np.errstate(over="ignore"):  # what it leads to is seen by `exact`
                    np.exp(logits, out=logits)
                    totals[number] = self.ops.numpy(logits.sum(axis=0))

        self.ops.each(of_rows, range(len(blocks)))
        return _Sums(totals.sum(axis=0), at_target, shift)

    def _logit_blocks(self, a: Array, out: Array | None, blocks: Iterable[slice]) -> Iterator[tuple[slice, Array]]:
        """Yield W_y a + b_y a block of rows at a time, in the rows of `out [V, N]`, or in scratch."""
        for rows in blocks:
            shape = (rows.stop - rows.start, a.shape[1])
            logits = self.ops.empty(shape, a.dtype) if out is None else out[rows]
            self.ops.matmul(self.W_y[rows], a, out=logits)
            logits += self.b_y[rows]
            yield rows, logits


def _blocks(size: int, most: int) -> Iterator[slice]:
    """Cut `range(size)` into slices of at most `most`, of about equal lengths."""
    count = max(1, -(-size // most))
    edges = [size * i // count for i in range(count + 1)]
    return (slice(start, end) for start, end in pairwise(edges))


def _targets_in(rows: slice, targets: np.ndarray) -> np.ndarray:
    """Give the columns whose target lies in some rows."""
    return np.flatnonzero((targets >= rows.start) & (targets < rows.stop))
