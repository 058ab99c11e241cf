"""The neural cache: tokens that followed a similar hidden state a short while ago become likelier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charlm.backends import Array
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.nn.outputs import checked
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch

WEIGHT, FLATNESS = 0.1, 0.6

_TOGETHER = 1 << 22  # probabilities of a mixture in memory at a time


@dataclass(frozen=True)
class Cached:
    """The cache's distributions at T steps of one lane.

    ids [N + T]: the token of each entry; the last T are the targets of these steps
    shares [N + T, T] float64: share of each entry in the distribution of each step; a column is zero without entries
    weight: of the cache in the mixture
    """

    ids: np.ndarray
    shares: np.ndarray
    weight: float

    def nats(self, of_model: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return -ln P(target) of the mixture, float64 [T]; of_model [T]: -ln P(target) of the model."""
        shares = np.where(self.ids[:, None] == targets, self.shares, 0.0).sum(axis=0)
        return checked(-self._mixed(-of_model, shares, np.arange(len(targets))))

    def log_probs(self, of_model: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return ln P of every choice under the mixture, float64 [V, n].

        of_model [V, n]: ln P under the model, at n of the steps
        """
        shares = np.zeros(of_model.shape)
        for column, step in enumerate(steps):
            shares[:, column] = np.bincount(self.ids, self.shares[:, step], minlength=len(of_model))
        return self._mixed(of_model, shares, steps)

    def _mixed(self, log_probs: np.ndarray, shares: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return ln((1 - weight) P + weight share); the model's ln P at steps before which the cache is empty."""
        with np.errstate(divide="ignore"):
            mixed = np.logaddexp(log_probs + np.log1p(-self.weight), np.log(self.weight * shares))
        has_entries = self.shares[:, steps].any(axis=0)
        return np.where(has_entries, mixed, log_probs)


class Cache:
    """A language model mixed with a cache of its last N hidden states and of the tokens that followed them.

    P(w) = (1 - weight) P_model(w) + weight P_cache(w)
    P_cache(w) = sum over i of [y<i> = w] exp(flatness h<t>·h<i>) / sum over i of exp(flatness h<t>·h<i>)

    The sums run over the N steps i before t. h is what the output layer reads. Source: Grave, Joulin and Usunier 2017.
    The cache lies on the host, and what is computed from it in float64.

    size: N; weight: at least 0, below 1; flatness: theta of the paper, at least 0: 0 counts the tokens alone
    """

    def __init__(self, model: Model, *, size: int, weight: float = WEIGHT, flatness: float = FLATNESS) -> None:
        self._model, self._size, self._weight, self._flatness = model, size, weight, flatness
        self._hidden = np.empty((0, model.head.n_in))
        self._ids = np.empty(0, np.int32)

    def nats(
        self, batch: Batch, state: State, ws: Workspace, *, best: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Return what `Model.nats` does, of the mixture; the batch has one lane, which goes on where the last ended."""
        model, targets = self._model, batch.targets
        with model.ops.workers.single_threaded_blas():
            y, choices, state = model.read(batch, state, ws)
            of_model = model.nats_of(y, targets, ws)
            cached = self.read(y, targets)
            if best is not None:
                together = max(1, _TOGETHER // model.head.outputs)
                for start in range(0, len(targets), together):
                    steps = np.arange(start, min(start + together, len(targets)))
                    log_probs = cached.log_probs(choices(steps, np.zeros_like(steps)), steps)
                    best[steps, 0] = log_probs.argmax(axis=0)
        return cached.nats(of_model[:, 0], targets[:, 0])[:, None], state

    def read(self, y: Array, targets: np.ndarray) -> Cached:
        """Return the distributions at the next T steps of the text, and add these steps to the cache.

        y [T, n, 1]: what the output layer reads; targets [T, 1]: the tokens that follow
        """
        T = len(targets)
        hidden = self._model.ops.numpy(y)[:, :, 0].astype(np.float64)
        ids, everything = np.append(self._ids, targets[:, 0]), np.concatenate([self._hidden, hidden])
        scores = self._flatness * (everything @ hidden.T)
        # Step t sees the N entries before its own.
        age = len(self._ids) + np.arange(T) - np.arange(len(ids))[:, None]
        scores[(age <= 0) | (age > self._size)] = -np.inf
        largest = scores.max(axis=0)
        shares = np.exp(scores - np.where(np.isfinite(largest), largest, 0.0), out=scores)
        total = shares.sum(axis=0)
        shares /= np.where(total > 0.0, total, 1.0)
        self._ids, self._hidden = ids[-self._size :], everything[-self._size :]
        return Cached(ids, shares, self._weight)
