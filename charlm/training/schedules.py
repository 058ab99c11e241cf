"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from charlm.config import TrainConfig
from charlm.training.state import TrainingNumbers

PLATEAU_FACTOR = 0.25  # as in PyTorch's word language model example


def done(numbers: TrainingNumbers) -> float:
    """Return the finished share of the plan, 0 to 1."""
    steps = numbers.total_steps - numbers.spread_from
    return (numbers.step - numbers.spread_from) / steps if steps > 0 else 0.0


def constant(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Fall along half a cosine from 1 to 0, Loshchilov and Hutter 2017."""
    return 0.5 * (1.0 + math.cos(math.pi * done(numbers)))


def plateau(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Fall to a quarter at each evaluation without a new lowest loss."""
    return float(PLATEAU_FACTOR**numbers.plateaus)


def step(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Fall to a share `decay` with each epoch after the first `decay_from` ones, Zaremba et al. 2014."""
    return float(config.decay ** max(0, numbers.epoch + 1 - config.decay_from))


SCHEDULES: dict[str, Callable[[TrainConfig, TrainingNumbers], float]] = {
    "constant": constant,
    "cosine": cosine,
    "plateau": plateau,
    "step": step,
}
"""name -> the factor of the learning rate of the next step."""


def warm(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Return a factor that rises to 1 linearly over the first `warmup` steps of a plan, Goyal et al. 2017."""
    begun = numbers.step + 1 - numbers.spread_from
    return min(1.0, begun / config.warmup) if config.warmup else 1.0


def learning_rate(config: TrainConfig, numbers: TrainingNumbers) -> float:
    """Return the learning rate of the next step, halved once for each explosion so far."""
    share = SCHEDULES[config.schedule](config, numbers) * 0.5**numbers.halvings
    return float(config.learning_rate * share * warm(config, numbers))


def spread_anew(numbers: TrainingNumbers) -> None:
    """Begin a new plan: the schedule begins again, over the steps that are left, and patience is counted anew.

    At the end of a schedule the rate is too low to change anything, so it is restarted, Loshchilov and Hutter 2017.
    The schedule `step` goes on, as it follows the epochs.
    Half the rate lowered the validation loss less, of runs that had not converged.
    """
    numbers.spread_from, numbers.total_steps = numbers.step, 0
    numbers.plateaus = numbers.waiting = 0
