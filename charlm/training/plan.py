"""How many steps a training takes, and how many evaluations lie between them."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

from charlm.text.batches import Batches

FEWEST_EVALUATIONS, MOST_EVALUATIONS = 10, 100  # of a run; between them, one an epoch
_EPOCHS_COUNTED = 100  # one by one; they differ by a step at most, and many more would take their time
_SPEED_SECONDS = 3.0  # that the steps which measure the speed may take


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
    for _ in range(2):  # the first ones make the buffers
        step()
    started, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - begin < min(_SPEED_SECONDS, 0.05 * seconds):
        step()
        steps += 1
    of_step = (time.perf_counter() - started) / steps
    of_evaluation = 0.0
    for _ in range(0 if evaluation is None else 2):
        assert evaluation is not None
        started = time.perf_counter()
        evaluation()
        of_evaluation = time.perf_counter() - started
    left = seconds - (time.perf_counter() - begin)
    counts = range(1, 2 + max(0, int(left / of_step)))

    def taken(count: int) -> float:
        return count * of_step + evaluations_of(count, steps_per_epoch) * of_evaluation

    return max(1, bisect_right(counts, left, key=taken))
