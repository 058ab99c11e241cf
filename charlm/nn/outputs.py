"""What leaves a model is finite; this is the one place that looks."""

from __future__ import annotations

import math

import numpy as np

from charlm.errors import NonFiniteOutputError

_WHAT, _HINT = "the model outputs NaN or infinity", "its training diverged: train it again, with a lower --lr"


def checked(outputs: np.ndarray) -> np.ndarray:
    """Return losses or log-probabilities as they are; raise NonFiniteOutputError if they contain NaN or infinity."""
    # NaN and infinity outlast a sum of squares, which is one quick pass. It may overflow itself: then look at each.
    if not math.isfinite(np.vdot(outputs, outputs)) and not np.isfinite(outputs).all():
        raise NonFiniteOutputError(_WHAT, hint=_HINT)
    return outputs


def total(nats: np.ndarray, before: float = 0.0) -> float:
    """Return the sum of losses, added to that of others; raise NonFiniteOutputError if it is NaN or infinite.

    Losses that are finite may be too large to be added.
    """
    summed = before + float(nats.sum())
    if not math.isfinite(summed):
        raise NonFiniteOutputError(_WHAT, hint=_HINT)
    return summed
