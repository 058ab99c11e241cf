"""How many steps a training takes, and how many evaluations lie between them."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

from charlm.text.batches.lanes import Batches

FEWEST_EVALUATIONS, MOST_EVALUATIONS = 10, 100  # of a run; between them, one an epoch
_EPOCHS_COUNTED = 100  # one by one; they differ by a step at most, and many more would take their time
_SPEED_SECONDS, _SPEED_SHARE = 3.0, 0.05  # of the time that the steps which measure the speed may take
_FEWEST_MEASURED, _LONGEST_MEASURING = 7, 4.0
_SHORTEST = 1e-9  # seconds, where a clock stands still


def evaluations_of(steps: int, steps_per_epoch: int) -> int:
    """Return the number of evaluations of a run of `steps`."""
    return min(max(round(steps / steps_per_epoch), FEWEST_EVALUATIONS), MOST_EVALUATIONS)


def steps_of(batches: Batches, epochs: int, most: int | None) -> int:
    """Return the number of steps of so many epochs, `most` at most."""
    counted = range(min(epochs, _EPOCHS_COUNTED))
    steps = sum(map(batches.steps, counted)) * epochs // len(counted)
    return steps if most is None else min(steps, most)


def steps_in(
    seconds: float, step: Callable[[], None], evaluation: Callable[[], None] | None, steps_per_epoch: int
) -> int:
    """Measure how many steps, with their evaluations, the time holds; the measuring counts, too."""
    begin = time.perf_counter()
    of_step = _typical(step, min(_SPEED_SECONDS, _SPEED_SHARE * seconds))
    of_evaluation = 0.0 if evaluation is None else min(_timed(evaluation) for _ in range(2))
    left = seconds - (time.perf_counter() - begin)
    counts = range(1, 2 + max(0, int(left / of_step)))

    def taken(count: int) -> float:
        return count * of_step + evaluations_of(count, steps_per_epoch) * of_evaluation

    return max(1, bisect_right(counts, left, key=taken))


def _typical(work: Callable[[], None], seconds: float) -> float:
    """Return how long a piece of work takes, however long the machine stalls at some of them: the median of several.

    seconds: what the measuring may take; a few times as much where there are fewer than `_FEWEST_MEASURED` by then
    """
    begin = time.perf_counter()
    for _ in range(2):  # the first ones make the buffers
        work()
    times: list[float] = []
    while (
        len(times) < 2
        or (spent := time.perf_counter() - begin) < seconds
        or (len(times) < _FEWEST_MEASURED and spent < _LONGEST_MEASURING * seconds)
    ):
        times.append(_timed(work))
    from statistics import median_low

    # The lower one of the two in the middle: of two measurements one may have met a stall.
    return max(median_low(times), _SHORTEST)


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
