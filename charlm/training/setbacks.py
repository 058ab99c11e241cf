"""Going back after an explosion: to the weights of the lowest loss, at half the learning rate."""

from __future__ import annotations

import numpy as np

from charlm.errors import DivergenceError
from charlm.training.state import LiveState, leaves_of

MOST_SETBACKS = 5  # in a row, without a lower loss between them


def keep_first(live: LiveState) -> None:
    """Take the current weights as the good ones before the first step."""
    if live.good is None:
        live.good = live.weights()


def keep_if_better(live: LiveState, nats: float, weights: np.ndarray | None) -> None:
    """Take the current weights as the good ones if their loss is the lowest.

    nats: their loss a target
    weights: a flat host copy of them that is never written to; None makes a new one
    """
    numbers = live.numbers
    if numbers.good_nats is None or nats < numbers.good_nats:
        numbers.good_nats, numbers.setbacks = nats, 0
        live.good = live.weights() if weights is None else weights


def go_back(live: LiveState, divergence: DivergenceError) -> None:
    """Restore the good weights, clear `LiveState.memory` and the hidden state, and halve the learning rate.

    Raises `divergence`, with the good weights restored, after `MOST_SETBACKS` without a lower loss.
    """
    assert live.good is not None
    numbers = live.numbers
    live.set_weights(live.good)
    for array in (*live.memory.values(), *leaves_of(live.carried)):
        array[...] = 0
    if numbers.setbacks == MOST_SETBACKS:
        raise divergence
    numbers.setbacks += 1
    numbers.halvings += 1
    numbers.restarted = numbers.step
    numbers.clear_sums()
