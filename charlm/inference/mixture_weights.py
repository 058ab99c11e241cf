"""The weights of a mixture of language models, and the probabilities that they lead to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from charlm.errors import UsageError

_ITERATIONS = 10_000
_GAP = 1e-10  # how far the mean ln P may be below its maximum


def checked_weights(weights: Sequence[float]) -> np.ndarray:
    """Return weights as an array; raise UsageError unless they are between 0 and 1 and sum to 1."""
    found = np.array(weights, np.float64)
    if not ((found >= 0.0) & (found <= 1.0)).all() or abs(found.sum() - 1.0) > 1e-9:
        raise UsageError(f"weights {list(weights)}", hint="give weights between 0 and 1 that sum to 1")
    return found


def with_rest(others: Sequence[float]) -> list[float]:
    """Return the weights of all models, of which the first has what the others leave; raise UsageError above 1."""
    rest = 1.0 - math.fsum(others)
    if rest < -1e-9:
        raise UsageError(
            f"the weights of --mix sum to {math.fsum(others):g}",
            hint="give at most 1 in all: the first model has the rest",
        )
    return [max(0.0, rest), *others]


def equal_weights(count: int) -> list[float]:
    """Return equal weights, as `readable` returns them."""
    return readable(np.full(count, 1.0 / count))


def best_weights(nats: np.ndarray) -> np.ndarray:
    """Return the weights [models] that make a text likeliest, by the EM algorithm (Dempster et al. 1977).

    From equal weights, each step is

        w_i <- 1/N sum_t w_i P_i(t) / sum_j w_j P_j(t)

    The mean ln P is concave in w. It is below its maximum by at most max_i 1/N sum_t P_i(t) / sum_j w_j P_j(t) - 1
    (Cover 1984), so the steps end when this is small.

    nats [models, N]: -ln P of each token
    """
    # A common factor of a token cancels out.
    relative = np.exp(nats.min(axis=0) - nats)
    weights = np.full(len(nats), 1.0 / len(nats))
    for _ in range(_ITERATIONS):
        gains = (relative / (weights @ relative)).mean(axis=1)
        if gains.max() - 1.0 < _GAP:
            break
        weights = weights * gains
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def readable(weights: np.ndarray) -> list[float]:
    """Return weights with six decimals, which sum to 1, so that they can be printed and given again."""
    others = [math.floor(weight * 1e6 + 1e-3) / 1e6 for weight in weights[1:].tolist()]
    return [round(1.0 - math.fsum(others), 6), *others]


def mixed(nats: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return -ln sum_i w_i P_i of each token [n], from -ln P_i [models, n] and weights [models]."""
    with np.errstate(divide="ignore"):
        logs = np.log(weights)[:, None]
    of_mixture: np.ndarray = -np.logaddexp.reduce(logs - nats, axis=0) + 0.0
    return of_mixture
