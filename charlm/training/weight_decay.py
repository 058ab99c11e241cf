"""Decoupled weight decay."""

from __future__ import annotations

from charlm.backends import Backend
from charlm.nn.parameters import Parameters


def decay(parameters: Parameters, ops: Backend, share: float) -> None:
    """w -= share w, with share = learning rate times weight decay, beside the step of the optimizer.

    Source: Loshchilov and Hutter 2019, algorithm 2, which decays all parameters, biases included; so do PyTorch's
    AdamW and the weight decay of Merity et al. 2018. Added to the gradient, the same term would be divided by Adam's
    sqrt(v).
    """

    def of_block(block: slice) -> None:
        parameters.values[block] *= 1.0 - share

    ops.workers.each(of_block, ops.blocks(parameters.values.size))
