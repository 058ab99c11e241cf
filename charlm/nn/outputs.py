"""The one check that what a model returns is finite."""

from __future__ import annotations

import math

import numpy as np

from charlm.errors import NonFiniteOutputError

EXPLODED = 1000.0  # nats a target; a uniform guess costs ln V, and a network that learns comes nowhere near this

_WHAT, _HINT = "the model outputs NaN or infinity", "its training diverged: train it again, with a lower --lr"


def checked(outputs: np.ndarray) -> np.ndarray:
    """Return losses or log-probabilities unchanged; raise NonFiniteOutputError if they contain NaN or infinity."""
    # A sum of squares is one fast pass, and not finite if an element is not. It may also overflow: then test each.
    if not math.isfinite(np.vdot(outputs, outputs)) and not np.isfinite(outputs).all():
        raise NonFiniteOutputError(_WHAT, hint=_HINT)
    return outputs


def total(nats: np.ndarray, before: float = 0.0) -> float:
    """Return `before` plus the sum of losses; raise NonFiniteOutputError if it is NaN or infinite.

    A sum of finite losses may overflow.
    """
    summed = before + float(nats.sum())
    if not math.isfinite(summed):
        raise NonFiniteOutputError(_WHAT, hint=_HINT)
    return summed
