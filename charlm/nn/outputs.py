"""What leaves a model is finite; this is the one place that looks."""

from __future__ import annotations

import math

import numpy as np

from charlm.errors import NonFiniteOutputError


def checked(outputs: np.ndarray) -> np.ndarray:
    """Return losses or log-probabilities as they are; raise NonFiniteOutputError if they contain NaN or infinity."""
    # NaN and infinity outlast a sum, which takes one pass. A sum may overflow all the same: then look at each.
    if not math.isfinite(np.add.reduce(outputs, axis=None)) and not np.isfinite(outputs).all():
        raise NonFiniteOutputError(
            "the model outputs NaN or infinity", hint="its training diverged: train it again, with a lower --lr"
        )
    return outputs
