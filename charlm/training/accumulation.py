"""One step of the optimizer for several batches, as for one large batch that memory has no room for.

g = (g_1 + ... + g_N) / N, where g_i is the gradient of the mean loss of a batch. It is the gradient of all of them
together if their numbers of targets are equal.
"""

from __future__ import annotations

from charlm.backends import Array, Backend
from charlm.nn.parameters import Parameters


def add_gradient(total: Array, parameters: Parameters, ops: Backend) -> None:
    """Add the gradient of a batch to the sum `total` [n]."""

    def of_block(block: slice) -> None:
        total[block] += parameters.grads[block]

    ops.workers.each(of_block, ops.blocks(total.size))


def take_mean(total: Array, parameters: Parameters, ops: Backend, count: int) -> None:
    """Turn the gradient of a last batch into the mean of `count` batches.

    total [n]: the sum of the others; overwritten with 0
    """

    def of_block(block: slice) -> None:
        g = parameters.grads[block]
        g += total[block]
        g *= 1.0 / count
        total[block] = 0

    ops.workers.each(of_block, ops.blocks(total.size))
