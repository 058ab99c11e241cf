"""Every optimizer, cell, unit and schedule with dropout, stopped wherever it might matter: the same bits in the end."""

import copy
from itertools import product

import pytest

from charlm.config import CELL_NAMES
from tests.training.test_resume import STEPS, go_on, make
from tests.trainings import assert_same, result

# Each cell, and each pair of an optimizer, a schedule and a unit; tests/training/test_resume.py has more of them.
CELLS, UNITS = (*CELL_NAMES, "lstm"), ("line", "stream", "stream", "line", "line", "stream")
WAYS = product(("adam", "rmsprop", "sgd"), ("cosine", "plateau"))


@pytest.mark.slow
def test_stopped_at_any_step_it_ends_where_it_would_have():
    """After each step of a run: so in mid-epoch, at its edge, after an evaluation, after a change of the rate."""
    changed = 0
    for cell, unit, (optimizer, schedule) in zip(CELLS, UNITS, WAYS, strict=True):
        options = {"schedule": schedule, "learning_rate": 0.3 if optimizer == "sgd" else 0.05}
        whole = make(cell, unit, 0.3, optimizer, **options)
        reported = go_on(whole)
        rates = [progress.learning_rate for progress in reported]
        changed += schedule == "plateau" and len(set(rates)) > 1
        trainer = make(cell, unit, 0.3, optimizer, **options)
        for stop in range(STEPS):
            state = copy.deepcopy(trainer.state())
            again = make(cell, unit, 0.3, optimizer, **options)
            again.restore(state)
            assert go_on(again) == reported[stop:], (cell, unit, optimizer, schedule, stop)
            assert_same(result(again), result(whole))
            go_on(trainer, 1)
    assert changed
