"""How many steps a training takes, and after which of them it evaluates."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable

from charlm.config import TrainConfig
from charlm.errors import DivergenceError
from charlm.text.batches.lanes import Batches

DEFAULT_EPOCHS = 10  # without any limit
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 10, 100  # of a run; between these limits, one an epoch
_EPOCHS_COUNTED = 100  # epochs differ by one step at most, and counting the steps of many takes long
_SPEED_SECONDS, _SPEED_SHARE = 3.0, 0.05  # time to measure the speed in, and its largest share of the run
_FEWEST_MEASURED, _LONGEST_MEASURING = 7, 4.0
_SHORTEST = 1e-9  # seconds; a clock may stand still


def planned_steps(config: TrainConfig, batches: Batches, steps_in: Callable[[float], int]) -> int:
    """Return the number of steps up to the first limit of `config`.

    steps_in: returns the number of steps in so many seconds
    """
    limits = [] if config.max_steps is None else [config.max_steps]
    if config.minutes is not None:
        limits.append(steps_in(60.0 * config.minutes))
    if config.epochs is not None or not limits:
        epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
        counted = range(min(epochs, _EPOCHS_COUNTED))
        limits.append(sum(map(batches.steps, counted)) * epochs // len(counted))
    return min(limits)


def evaluation_follows(step: int, total: int, steps_per_epoch: int) -> bool:
    """Return whether an evaluation follows a step; they are evenly spaced, and one follows the last step."""
    count = evaluations(total, steps_per_epoch)
    return step * count // total > (step - 1) * count // total


def measured_steps(
    seconds: float,
    step: Callable[[], object],
    judge: Callable[[], object] | None,
    judged: Callable[[int], float],
    clock: Callable[[], float],
) -> int:
    """Return how many steps fit into a time together with their evaluations and with this measurement.

    step, judge: do one step, and one validation; judge is None in a training without a validation set
    judged: returns the validations in a run of so many steps, in times of `judge`
    clock: returns a time in seconds; processes that measure together have one clock
    """
    begin = clock()
    of_step = _typical(step, min(_SPEED_SECONDS, _SPEED_SHARE * seconds), clock)
    of_judging = 0.0 if judge is None else min(_timed(judge, clock) for _ in range(2))
    left = seconds - (clock() - begin)
    counts = range(1, 2 + max(0, int(left / of_step)))

    def taken(count: int) -> float:
        return count * of_step + judged(count) * of_judging

    return max(1, bisect_right(counts, left, key=taken))


def evaluations(steps: int, steps_per_epoch: int) -> int:
    """Return the number of evaluations of a run."""
    return min(max(round(steps / steps_per_epoch), FEWEST_EVALUATIONS), MOST_EVALUATIONS)


def _typical(work: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """Return the median time of several repeats, which a machine that stalls at some of them does not change.

    seconds: time for the repeats; up to `_LONGEST_MEASURING` times as much for the first `_FEWEST_MEASURED`
    """
    begin = clock()
    # The first ones allocate the buffers.
    for _ in range(2):
        _timed(work, clock)
    times: list[float] = []
    while (
        len(times) < 2
        or (spent := clock() - begin) < seconds
        or (len(times) < _FEWEST_MEASURED and spent < _LONGEST_MEASURING * seconds)
    ):
        times.append(_timed(work, clock))
    # The lower median: of two measurements one may include a stall.
    return max(sorted(times)[(len(times) - 1) // 2], _SHORTEST)


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    # An explosion is left to the run.
    with contextlib.suppress(DivergenceError):
        work()
    return clock() - started
