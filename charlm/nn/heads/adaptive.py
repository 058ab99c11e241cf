"""One choice out of very many, most of which are rare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from charlm.backends import Array, Backend, Number, Shape
from charlm.backends.base import Places
from charlm.config.cutoffs import Range, all_clusters, clusters_of, shares_of
from charlm.nn import initializers
from charlm.nn.grads import Grads
from charlm.nn.heads.base import Head
from charlm.nn.heads.softmax import Softmax
from charlm.nn.layer import Views, views_of
from charlm.nn.workspace import Workspace, columns_of

_CHOICES_AT_A_TIME = 1 << 24  # where the likeliest one is looked for


class AdaptiveSoftmax(Head):
    """A softmax over a shortlist of outputs and over clusters of all others, and one over the outputs of each cluster.

    P(k) = y^<t>[k]                                                 for k < c_1
    P(k) = y^<t>[c_1 + i - 1] softmax(W_i P_i a<t> + b_i)[k - c_i]  for c_i <= k < c_{i+1}

    with y^<t> = softmax(W_y a<t> + b_y), `[c_1 + K, T·B]`, and P_i `[n / 4^i, n]`, for the cutoffs c_1 to c_K and
    c_{K+1} = V. The loss is L = - sum over t of ln P(target<t>). Source: Grave et al. 2017.

    With tied weights there is no projection, and the shortlist is a cluster of its own, c_0 = 0:

    P(k) = y^<t>[i] softmax(E_i a<t> + b_i)[k - c_i]                for c_i <= k < c_{i+1}

    E_i is rows c_i to c_{i+1} - 1 of the embedding E [V, n]. Source: Goodman 2001; Press and Wolf 2017.

    The probabilities of all V outputs sum to 1, in whatever order the outputs are. The head is fast if most targets are
    in the shortlist, because a cluster is computed for its own targets alone.

    cutoffs: the first output of each cluster but that of a tied shortlist, increasing
    """

    def __init__(self, ops: Backend, n_in: int, outputs: int, *, cutoffs: Sequence[int], tied: bool = False) -> None:
        super().__init__(ops, n_in, outputs, tied=tied)
        cutoffs = all_clusters(cutoffs, tied=tied)
        self._cutoffs = np.array(cutoffs)
        self._first = cutoffs[0]
        ranges = clusters_of(cutoffs, outputs, n_in, tied=tied)
        self._shortlist = Softmax(ops, n_in, self._first + len(ranges))
        self._clusters = {f"cluster{i}.": _Cluster(ops, n_in, one, tied=tied) for i, one in enumerate(ranges, start=1)}

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each parameter: those of the shortlist, then those of each cluster."""
        of_clusters = {
            prefix + name: shape
            for prefix, cluster in self._clusters.items()
            for name, shape in cluster.shapes().items()
        }
        return self._shortlist.shapes() | of_clusters

    def tied_rows(self) -> dict[str, tuple[int, int]]:
        clusters = self._clusters.items() if self.tied else ()
        return {f"{prefix}W_y": (cluster.range.first, cluster.range.end) for prefix, cluster in clusters}

    def bind(self, values: Views, grads: Grads) -> None:
        self.g = grads
        self._shortlist.bind(values, grads)
        for prefix, cluster in self._clusters.items():
            cluster.bind(views_of(values, prefix), grads.of(prefix))

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the initial weights; at first, a cluster is about as likely as by Zipf's law."""
        self._shortlist.initialise(rng)
        of_shortlist, *shares = shares_of(self._cutoffs.tolist(), self.outputs)
        biases = np.log(np.array(shares) * (self._first / of_shortlist if self._first else 1.0))
        self._shortlist.b_y[self._first :] = self.ops.array(biases[:, None], self._shortlist.b_y.dtype)
        for cluster in self._clusters.values():
            cluster.initialise(rng)

    @property
    def blind_nats(self) -> float:
        return math.log(self.outputs)

    def loss_and_grad(self, y: Array, targets: np.ndarray, scale: float, ws: Workspace) -> tuple[Number, Array]:
        """The shortlist learns in which cluster a target is. Each cluster learns from its own targets."""
        loss, dy = self._shortlist.loss_and_grad(y, self._of_shortlist(targets), scale, ws.scope("shortlist"))
        for places, prefix, cluster in self._by_cluster(targets):
            loss = loss + cluster.loss_and_grad(y, targets, places, scale, dy, ws.scope(prefix))
        return loss, dy

    def nats(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        nats = self._shortlist.nats(y, self._of_shortlist(targets), ws.scope("shortlist"))
        for places, prefix, cluster in self._by_cluster(targets):
            if places[0].size:
                nats[places] += cluster.nats(y, targets, places, ws.scope(prefix))
        if best is not None:
            size = max(1, _CHOICES_AT_A_TIME // (self.outputs * y.shape[2]))
            for at in range(0, len(y), size):
                best[at : at + size] = self._likeliest(y[at : at + size], ws)
        return nats

    def log_probs(self, y: Array, ws: Workspace) -> Array:
        a = columns_of(y, ws, "a")
        of_shortlist = self._shortlist.log_probs(a[None], ws.scope("shortlist"))
        log_probs = ws.columns("log_probs", self.outputs, a.shape[1])
        log_probs[: self._first] = of_shortlist[: self._first]
        for number, (prefix, cluster) in enumerate(self._clusters.items()):
            rows = log_probs[cluster.range.first : cluster.range.end]
            rows[...] = cluster.log_probs(a, ws.scope(prefix))
            rows += of_shortlist[self._first + number]
        return log_probs

    def _of_shortlist(self, targets: np.ndarray) -> np.ndarray:
        """Return the targets of the shortlist: a cluster in place of an output in it."""
        numbers = np.searchsorted(self._cutoffs, targets, side="right")
        return np.where(numbers > 0, self._first - 1 + numbers, targets).astype(np.int32)

    def _by_cluster(self, targets: np.ndarray) -> Iterator[tuple[Places, str, _Cluster]]:
        """Yield the places of the targets in each cluster, the beginning of its names, and the cluster."""
        for prefix, cluster in self._clusters.items():
            steps, lanes = np.nonzero((cluster.range.first <= targets) & (targets < cluster.range.end))
            yield (steps, lanes), prefix, cluster

    def _likeliest(self, y: Array, ws: Workspace) -> np.ndarray:
        """Return the likeliest choice at each step of y [T, n, B], [T, B] on the host.

        An output is at most as likely as its cluster, so only clusters that are likelier than the shortlist are
        computed.
        """
        T, _, batch = y.shape
        of_shortlist = self._shortlist.log_probs(y, ws.scope("shortlist"))
        tokens = of_shortlist[: self._first]
        best, highest = np.zeros((T, batch), np.int64), np.full((T, batch), -np.inf)
        if self._first:
            best = self.ops.numpy(tokens.argmax(axis=0)).reshape(T, batch)
            highest = self.ops.numpy(tokens.max(axis=0)).reshape(T, batch)
        of_clusters = self.ops.numpy(of_shortlist[self._first :]).reshape(-1, T, batch)
        for of_cluster, (prefix, cluster) in zip(of_clusters, self._clusters.items(), strict=True):
            steps, lanes = np.nonzero(of_cluster > highest)
            if steps.size:
                found, log_probs = cluster.likeliest(y, (steps, lanes), ws.scope(prefix))
                log_probs = log_probs + of_cluster[steps, lanes]
                is_better = log_probs > highest[steps, lanes]
                steps, lanes = steps[is_better], lanes[is_better]
                best[steps, lanes], highest[steps, lanes] = found[is_better], log_probs[is_better]
        return best


class _Cluster:
    """A softmax over the outputs of one cluster, from fewer numbers: softmax(W_y P a<t> + b_y).

    range: its outputs
    tied: whether W_y is rows of the embedding; then P is the identity
    """

    def __init__(self, ops: Backend, n_in: int, outputs: Range, *, tied: bool) -> None:
        self.ops, self.n_in, self.range, self.tied = ops, n_in, outputs, tied
        self._softmax = Softmax(ops, outputs.width, outputs.size, tied=tied)

    def shapes(self) -> dict[str, Shape]:
        own = {} if self.tied else {"P": (self.range.width, self.n_in)}
        return {**own, **self._softmax.shapes()}

    def bind(self, values: Views, grads: Grads) -> None:
        self.g = grads
        if not self.tied:
            self.P = values["P"]
        self._softmax.bind(values, grads)

    def initialise(self, rng: np.random.Generator) -> None:
        if not self.tied:
            self.P[...] = self.ops.array(initializers.glorot(self.P.shape, rng), self.P.dtype)
        self._softmax.initialise(rng)

    def loss_and_grad(
        self, y: Array, targets: np.ndarray, places: Places, scale: float, dy: Array, ws: Workspace
    ) -> Number:
        """Return the loss of the targets at some places; add to the gradients, and to dy at these places.

        With h = P a and dh = dL/dh of the softmax:

        dP += dh a^T    da += P^T dh
        """
        if not places[0].size:
            # Otherwise the gradients of the pass before would stay.
            for name in {"W_y", *self.shapes()}:
                self.g.zeroed(name)
            return 0.0
        a = self._columns(y, places, ws, "inputs")
        h = self._projected(a, ws)
        loss, dh = self._softmax.loss_and_grad(h[None], self._ids(targets, places), scale, ws)
        da = self._columns(dy, places, ws, "d_inputs")
        if self.tied:
            da += dh[0]
        else:
            self.g.add_product("P", dh[0], a.T)
            self.ops.matmul(self.P.T, dh[0], out=da, add=True)
        self.ops.move_columns(da.T[:, :, None], _in_one_lane(places), out=dy, to=places)
        return loss

    def nats(self, y: Array, targets: np.ndarray, places: Places, ws: Workspace) -> np.ndarray:
        """Return -ln P(target) within the cluster of the targets at N places, float64 [N]."""
        h = self._projected(self._columns(y, places, ws, "inputs"), ws)
        of_each: np.ndarray = self._softmax.nats(h[None], self._ids(targets, places), ws)[0]
        return of_each

    def log_probs(self, a: Array, ws: Workspace) -> Array:
        """Return ln P within the cluster of its outputs, [size, N], for columns a `[n, N]`; the workspace's."""
        return self._softmax.log_probs(self._projected(a, ws)[None], ws)

    def likeliest(self, y: Array, places: Places, ws: Workspace) -> tuple[np.ndarray, np.ndarray]:
        """Return the likeliest outputs at N places and their ln P within the cluster, [N] each, on the host."""
        log_probs = self.log_probs(self._columns(y, places, ws, "inputs"), ws)
        found = self.ops.numpy(log_probs.argmax(axis=0)) + self.range.first
        return found, self.ops.numpy(log_probs.max(axis=0))

    def _ids(self, targets: np.ndarray, places: Places) -> np.ndarray:
        """Return the targets at N places by their numbers in the cluster, [1, N]."""
        ids: np.ndarray = targets[places] - self.range.first
        return ids[None]

    def _columns(self, x: Array, places: Places, ws: Workspace, name: str) -> Array:
        """Return the columns of x [T, n, B] at N places, a copy `[n, N]`; the workspace's."""
        columns = ws.array(name, (places[0].size, self.n_in, 1))
        self.ops.move_columns(x, places, out=columns, to=_in_one_lane(places))
        return columns[:, :, 0].T

    def _projected(self, a: Array, ws: Workspace) -> Array:
        """Return P a, `[width, N]`, of columns a `[n, N]`; the workspace's, or a itself."""
        if self.tied:
            return a
        h = ws.columns("h", self.range.width, a.shape[1])
        self.ops.matmul(self.P, a, out=h)
        return h


def _in_one_lane(places: Places) -> Places:
    """Return as many places, one after the other in one lane."""
    each = np.arange(places[0].size)
    return each, np.zeros_like(each)
