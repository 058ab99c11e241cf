"""Clipping of single elements of the gradient, beside that of its norm."""

from __future__ import annotations

import numpy as np

from charlm.backends import Backend
from charlm.nn.parameters import Parameters


def clip_elements(parameters: Parameters, ops: Backend, most: float) -> None:
    """g_i = max(-most, min(most, g_i)). Source: Mikolov 2012; char-rnn clips at 5. NaN stays NaN."""

    def of_block(block: slice) -> None:
        g = parameters.grads[block]
        np.minimum(g, most, out=g)
        np.maximum(g, -most, out=g)

    ops.workers.each(of_block, ops.blocks(parameters.grads.size))
