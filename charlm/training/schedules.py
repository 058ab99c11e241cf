"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from charlm.config import TrainConfig
from charlm.training.state import TrainingNumbers

PLATEAU_FACTOR = 0.25  # as in PyTorch's word language model example


def constant(done: float, plateaus: int) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(done: float, plateaus: int) -> float:
    """Fall along half a cosine from 1 to 0, Loshchilov and Hutter 2017."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def plateau(done: float, plateaus: int) -> float:
    """Fall to a quarter at each evaluation without a new lowest loss."""
    return float(PLATEAU_FACTOR**plateaus)


SCHEDULES: dict[str, Callable[[float, int], float]] = {"constant": constant, "cosine": cosine, "plateau": plateau}
"""name -> the factor of the learning rate, from the finished share of the run and the number of plateaus."""


def learning_rate(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Return the learning rate of the next step, halved once for each explosion so far."""
    steps = numbers.total_steps - numbers.spread_from
    done = (numbers.step - numbers.spread_from) / steps if steps > 0 else 0.0
    share = SCHEDULES[config.schedule](done, numbers.plateaus) * 0.5**numbers.halvings
    return float(config.learning_rate * share)


def spread_anew(numbers: TrainingNumbers) -> None:
    """Begin a new plan: the schedule begins again, over the steps that are left, and patience is counted anew.

    At the end of a schedule the rate is too low to change anything, so it is restarted, Loshchilov and Hutter 2017.
    Half the rate lowered the validation loss less, of runs that had not converged.
    """
    numbers.spread_from, numbers.total_steps = numbers.step, 0
    numbers.plateaus = numbers.waiting = 0
