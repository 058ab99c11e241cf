"""The clusters of an adaptive softmax: where each begins, and how many weights it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# The inputs of each cluster are this many times fewer than those of the one before. Grave et al. 2017.
PROJECTION = 4

MOST_CLUSTERS = 10

# A cluster begins after each of these shares of the outputs. With tied weights no cluster has fewer weights than
# another, so more of them are faster: these five take two fifths of the multiply-adds of the other two on WikiText-2.
_SHARES, _TIED_SHARES = (20, 4), (160, 20, 8, 4, 2)
_EULER = 0.5772156649


@dataclass(frozen=True)
class Range:
    """The outputs `first` to `end` - 1, predicted from `width` numbers."""

    first: int
    end: int
    width: int

    @property
    def size(self) -> int:
        """The number of its outputs."""
        return self.end - self.first


def all_clusters(cutoffs: Sequence[int], *, tied: bool) -> tuple[int, ...]:
    """Return the first output of each cluster; with tied weights the shortlist is a cluster, too."""
    return (0, *cutoffs) if tied else tuple(cutoffs)


def default_cutoffs(outputs: int, *, tied: bool = False) -> tuple[int, ...]:
    """Return the cutoffs of a number of outputs, of at least 3: a twentieth and a quarter of it.

    tied: whether the weights are rows of the embedding; then a 160th, a twentieth, an eighth, a quarter and a half
    """
    if tied:
        return tuple(sorted({max(1, outputs // share) for share in _TIED_SHARES}))
    first, second = (outputs // share for share in _SHARES)
    return max(1, first), max(2, second)


def clusters_of(cutoffs: Sequence[int], outputs: int, n_in: int, *, tied: bool = False) -> tuple[Range, ...]:
    """Return the clusters.

    n_in: inputs of the output layer
    tied: whether their weights are rows of the embedding, which are all as wide
    """
    edges = pairwise([*cutoffs, outputs])
    return tuple(Range(*edge, n_in if tied else max(1, n_in // PROJECTION**i)) for i, edge in enumerate(edges, start=1))


def shares_of(cutoffs: Sequence[int], outputs: int) -> list[float]:
    """Return the shares of the shortlist and of each cluster among targets that follow Zipf's law.

    The share of the first n outputs of V is about (ln n + g) / (ln V + g), with Euler's constant g.
    """
    sums = [0.0, *(math.log(edge) + _EULER if edge else 0.0 for edge in (*cutoffs, outputs))]
    return [(after - before) / sums[-1] for before, after in pairwise(sums)]


def work_of(cutoffs: Sequence[int], outputs: int, n_in: int, *, tied: bool = False) -> tuple[float, int]:
    """Return the multiply-adds of a target, forward, and the number of weights; targets follow Zipf's law."""
    _, *shares = shares_of(cutoffs, outputs)
    shortlist = n_in * (cutoffs[0] + len(cutoffs))
    work, weights = float(shortlist), shortlist
    for one, share in zip(clusters_of(cutoffs, outputs, n_in, tied=tied), shares, strict=True):
        own = one.width * (one.size if tied else n_in + one.size)
        work, weights = work + share * own, weights + own
    return work, weights
