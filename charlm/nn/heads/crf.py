"""A chain of labels: each depends on the outputs of its step and on the label before it."""

from __future__ import annotations

import copy
import math
from functools import cached_property

import numpy as np

from charlm.backends import Array, Number, Shape
from charlm.nn.grads import Grads
from charlm.nn.heads.base import Head, Transitions
from charlm.nn.layer import Views
from charlm.nn.workspace import Workspace, columns_of, steps_of
from charlm.text.batches.lanes import NO_TARGET


class Crf(Head):
    """A linear-chain conditional random field, Lafferty et al. 2001; as a tagger's output layer, Lample et al. 2016.

        z<t> = W_y a<t> + b_y
        s(y) = A_first[y<1>] + sum over t of (z<t>[y<t>] + A[y<t-1>, y<t>]) + A_last[y<n>]
        P(y | x) = e^s(y) / Z    Z = sum over all sequences y' of e^s(y')
        L = ln Z - s(y)

    A step without a target ends the sequence before it. The chain is computed on the host, in float64.
    """

    is_chain = True
    starts: np.ndarray | None = None

    def shapes(self) -> dict[str, Shape]:
        L = self.outputs
        return {**super().shapes(), "A": (L, L), "A_first": (L, 1), "A_last": (L, 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        super().bind(values, grads)
        self.A, self.A_first, self.A_last = values["A"], values["A_first"], values["A_last"]

    def initialise(self, rng: np.random.Generator) -> None:
        super().initialise(rng)
        for array in (self.A, self.A_first, self.A_last):
            array[...] = 0

    @property
    def blind_nats(self) -> float:
        return math.log(self.outputs)

    def bounded(self, starts: np.ndarray | None) -> Crf:
        bounded = copy.copy(self)
        bounded.starts = starts
        return bounded

    def transitions(self) -> Transitions:
        A, first, last = (self.ops.numpy(x).astype(np.float64) for x in (self.A, self.A_first, self.A_last))
        return Transitions(A, first[:, 0], last[:, 0])

    def _logits(self, a: Array, ws: Workspace) -> Array:
        """Return z = W_y a + b_y of columns a `[n, T·B]`, [L, T·B]; the workspace's."""
        z = ws.columns("logits", self.outputs, a.shape[1])
        self.ops.matmul(self.W_y, a, out=z)
        z += self.b_y
        return z

    def _chain(self, z: Array, targets: np.ndarray) -> Chain:
        """Return the chain of z `[L, T·B]`, whose sequences end where a target is missing."""
        scores = self.ops.numpy(z).astype(np.float64).reshape(self.outputs, *targets.shape).transpose(1, 0, 2)
        begins = np.zeros(targets.shape, bool) if self.starts is None else self.starts.copy()
        is_missing = targets == NO_TARGET
        begins |= is_missing
        begins[1:] |= is_missing[:-1]
        return Chain(scores, begins, self.transitions())

    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """With p<t> = P(y<t> | x) and q<t> = P(y<t-1>, y<t> | x), and one-hot targets o<t>:

        d = p - o    dW_y += d a^T    db_y += sum of d    da = W_y^T d
        dA += sum of q<t> - o<t-1> o<t>^T    dA_first += d<1>    dA_last += d<n>
        """
        a = columns_of(y, ws, "a")
        z = self._logits(a, ws)
        chain = self._chain(z, targets)
        loss = chain.nats(targets).sum()
        has_target = targets != NO_TARGET
        d = chain.marginals
        t, b = np.nonzero(has_target)
        d[t, targets[t, b], b] -= 1.0
        d *= scale * has_target[:, None]
        z[...] = self.ops.array(d.transpose(1, 0, 2).reshape(z.shape), z.dtype)
        self.g.add_product("W_y", z, a.T)
        self.g.add_row_sums("b_y", z)
        t, b = np.nonzero(~chain.begins)
        dA = chain.pairs()
        np.subtract.at(dA, (targets[t - 1, b], targets[t, b]), 1.0)
        dA *= scale
        ends = {"A_first": chain.begins, "A_last": chain.ends}
        of_ends = {name: np.einsum("tlb,tb->l", d, where)[:, None] for name, where in ends.items()}
        for name, value in {"A": dA, **of_ends}.items():
            self.g.add(name, self.ops.array(value, z.dtype))
        da = ws.columns("da", *a.shape)
        self.ops.matmul(self.W_y.T, z, out=da)
        return loss, steps_of(da, targets.shape[0])

    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        """Return -ln P(y<t> | y<1> ... y<t-1>, x) of each target, whose sum is L; `best` is the likeliest sequence."""
        chain = self._chain(self._logits(columns_of(y, ws, "a"), ws), targets)
        if best is not None:
            best[...] = likeliest(chain.scores, chain.begins, self.transitions())
        return chain.nats(targets)

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        """Return ln softmax(z), `[L, T·B]`. As scores of a chain they are as good: e^s and Z have the same factor."""
        z = self._logits(columns_of(y, ws, "a"), ws)
        self.ops.log_softmax(z)
        return z


class Chain:
    """Sums over all sequences of labels, by the forward and the backward algorithm, scaled as in Rabiner 1989.

        f<t> = e^z<t> * (e^A^T f<t-1>) / c<t>      f<1> = e^z<1> * e^A_first / c<1>
        b<t> = e^A (e^z<t+1> * b<t+1> / c<t+1>)    b<n> = e^A_last

    c<t> makes the sum of f<t> 1.

    scores [T, L, B]: z of sequences that lie end to end in lanes, float64
    begins [T, B]: where a sequence begins; the first step always does
    """

    def __init__(self, scores: np.ndarray, begins: np.ndarray, transitions: Transitions) -> None:
        self.scores, self._transitions = scores, transitions
        self.begins = begins.copy()
        self.begins[:1] = True
        self.ends = np.ones_like(begins)
        self.ends[:-1] = self.begins[1:]
        self._peaks = scores.max(axis=1, initial=-np.inf)
        self._E = np.exp(scores - self._peaks[:, None])
        self._M, first, last = (np.exp(x) for x in (transitions.A, transitions.first, transitions.last))
        self._f, self._b = np.empty_like(scores), np.empty_like(scores)
        self._c = np.empty(begins.shape)
        for t in range(len(scores)):
            into = np.where(self.begins[t], first[:, None], self._M.T @ self._f[t - 1] if t else 0.0)
            np.multiply(self._E[t], into, out=self._f[t])
            self._c[t] = self._f[t].sum(axis=0)
            self._f[t] /= self._c[t]
        after = np.zeros(scores.shape[1:])
        for t in reversed(range(len(scores))):
            self._b[t] = np.where(self.ends[t], last[:, None], self._M @ after)
            after = self._E[t] * self._b[t] / self._c[t]

    @cached_property
    def _sums(self) -> np.ndarray:
        """The sum of f * b, [T, B], the same at all steps of a sequence."""
        sums: np.ndarray = (self._f * self._b).sum(axis=1)
        return sums

    @property
    def marginals(self) -> np.ndarray:
        """P(y<t> | x), `[T, L, B]`."""
        marginals: np.ndarray = self._f * self._b / self._sums[:, None]
        return marginals

    def pairs(self) -> np.ndarray:
        """Return the sum of P(y<t-1>, y<t> | x) over the steps of all sequences but their first, [L, L]."""
        into = self._E * self._b / (self._c * self._sums)[:, None] * ~self.begins[:, None]
        pairs: np.ndarray = self._M * np.einsum("tib,tjb->ij", self._f[:-1], into[1:], optimize=True)
        return pairs

    def nats(self, targets: np.ndarray) -> np.ndarray:
        """Return -ln P(y<t> | y<1> ... y<t-1>, x) of each target [T, B], 0 where there is no target."""
        t, b = np.nonzero(targets != NO_TARGET)
        now, is_first = targets[t, b], self.begins[t, b]
        before = np.where(is_first, 0, targets[t - 1, b])
        moved = np.where(is_first, self._transitions.first[now], self._transitions.A[before, now])
        rest = np.where(is_first, self._sums[t, b], self._b[t - 1, before, b])
        nats = np.zeros(targets.shape)
        nats[t, b] = (
            np.log(self._c[t, b] * rest)
            - moved
            - (self.scores[t, now, b] - self._peaks[t, b])
            - np.log(self._b[t, now, b])
        )
        return nats


def likeliest(scores: np.ndarray, begins: np.ndarray, transitions: Transitions) -> np.ndarray:
    """Return the sequences of labels with the highest scores, `[T, B]`, by the algorithm of Viterbi 1967.

    scores [T, L, B], begins [T, B]: as in `Chain`; a transition may be -inf
    """
    T, L, B = scores.shape
    A, first, last = transitions.A[:, :, None], transitions.first[:, None], transitions.last[:, None]
    found, origins = np.empty((T, L, B)), np.zeros((T, L, B), np.intp)
    for t in range(T):
        if t:
            ways = found[t - 1][:, None] + A
            origins[t] = ways.argmax(axis=0)
            into = np.where(begins[t], first, np.take_along_axis(ways, origins[t][None], axis=0)[0])
        else:
            into = first
        np.add(scores[t], into, out=found[t])
    labels, lanes = np.empty((T, B), np.intp), np.arange(B)
    for t in reversed(range(T)):
        at_end = (found[t] + last).argmax(axis=0)
        if t == T - 1:
            labels[t] = at_end
        else:
            labels[t] = np.where(begins[t + 1], at_end, origins[t + 1][labels[t + 1], lanes])
    return labels
