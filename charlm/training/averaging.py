"""Averages of the weights over the last steps of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from charlm.backends import Array, Backend
from charlm.nn.parameters import Parameters
from charlm.training.state import TrainingNumbers


def averaged(share: float, numbers: TrainingNumbers, step: int) -> int:
    """Return over how many steps the weights are averaged after step number `step`.

    The average begins with the last `share` of the planned steps, or anew after an explosion.
    """
    planned = numbers.total_steps - numbers.spread_from
    if not share or planned <= 0:
        return 0
    first = numbers.total_steps - max(1, round(share * planned))
    return max(0, step - max(first, numbers.restarted))


def add(mean: Array, parameters: Parameters, ops: Backend, count: int) -> None:
    """Add the weights w after a step to their mean over `count` steps: mean += (w - mean) / count.

    Source: Polyak and Juditsky 1992; Merity et al. 2018 average the last steps of SGD.

    mean [n]: updated in place; for the first step, overwritten with w
    """

    def of_block(block: slice) -> None:
        w = parameters.values[block]
        if count == 1:
            mean[block] = w
            return
        difference = np.subtract(w, mean[block])
        difference *= 1.0 / count
        mean[block] += difference

    ops.workers.each(of_block, ops.blocks(parameters.values.size))


@contextlib.contextmanager
def swapped(mean: Array | None, parameters: Parameters, ops: Backend) -> Iterator[None]:
    """Use the mean as the weights inside the block; None changes nothing."""
    if mean is None:
        yield
        return
    _swap(mean, parameters, ops)
    try:
        yield
    finally:
        _swap(mean, parameters, ops)


def _swap(mean: Array, parameters: Parameters, ops: Backend) -> None:
    for block in ops.blocks(parameters.values.size):
        weights = parameters.values[block].copy()
        parameters.values[block] = mean[block]
        mean[block] = weights
