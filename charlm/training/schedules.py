"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

PLATEAU_FACTOR = 0.25  # after an evaluation without a better one, as in PyTorch's word language model example


def constant(done: float, plateaus: int) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(done: float, plateaus: int) -> float:
    """Fall along half a cosine from 1 to 0, Loshchilov and Hutter 2017."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def plateau(done: float, plateaus: int) -> float:
    """Fall to a quarter at each evaluation that is not better than the best before."""
    return float(PLATEAU_FACTOR**plateaus)


SCHEDULES: dict[str, Callable[[float, int], float]] = {"constant": constant, "cosine": cosine, "plateau": plateau}
"""name -> the factor of the learning rate, from the share of the run that is done and the plateaus seen."""
