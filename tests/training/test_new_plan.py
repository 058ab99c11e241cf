"""A finished training that is resumed with more steps learns more."""

import tempfile
from pathlib import Path

import pytest

from charlm.backends import NumpyBackend
from charlm.session import prepare_from, resume
from charlm.training.schedules import learning_rate
from tests.training.test_memory import TAGGED
from tests.trainings import assert_same, everything, through_file

LETTERS = [f"{'abcdefgh'[i % 8] * (3 + i % 5)}{'hgfedcba'[i % 8] * 4}" for i in range(120)]
SEVEN = ("the", "a", "cat", "dog", "sees", "it", "and")
WORDS = [" ".join(SEVEN[(i * j) % 7] for j in range(1, 8)) for i in range(120)]
CASES = {
    "characters": (LETTERS, {"hidden_size": 16, "max_steps": 30}),
    "words": (WORDS, {"level": "word", "unit": "stream", "embedding_size": 8, "hidden_size": 12, "max_steps": 20}),
    "tags": (TAGGED[:400], {"task": "tag", "embedding_size": 8, "hidden_size": 8, "max_steps": 15}),
    "constant": (LETTERS, {"hidden_size": 16, "max_steps": 30, "schedule": "constant"}),
    "plateau": (LETTERS, {"hidden_size": 16, "max_steps": 30, "schedule": "plateau"}),
}
COMMON = {"num_layers": 1, "batch_size": 8, "seq_length": 16, "learning_rate": 0.004, "valid_fraction": 0.2, "seed": 1}


def finished(case):
    lines, given = CASES[case]
    session = prepare_from(lines, {**COMMON, **given}, ops=NumpyBackend())
    list(session.trainer.run())
    return lines, session


def again(lines, session, limits):
    """Resume a training from its checkpoint, with a model of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return resume(through_file(session, Path(folder, "c")), lines, None, limits)


@pytest.mark.parametrize("case", CASES)
def test_more_steps_lower_the_validation_loss(case):
    lines, session = finished(case)
    before, steps = session.trainer.numbers.best_nats, session.trainer.step
    resumed = again(lines, session, {"max_steps": 2 * steps})
    reports = list(resumed.trainer.run())
    assert [report.step for report in reports] == list(range(steps + 1, 2 * steps + 1))
    assert resumed.trainer.numbers.best_nats < before - 0.05


def test_the_rate_starts_anew_and_falls_over_the_new_steps():
    lines, session = finished("characters")
    assert learning_rate(session.trainer.config, session.trainer.numbers) < 1e-9
    resumed = again(lines, session, {"max_steps": 50})
    resumed.trainer.plan()
    rates = [report.learning_rate for report in resumed.trainer.run()]
    assert rates[0] == 0.004 and rates == sorted(rates, reverse=True) and rates[-1] < 0.0001
    assert rates[10] == pytest.approx(0.002)


def test_patience_is_counted_anew():
    lines, session = finished("plateau")
    numbers = session.trainer.numbers
    numbers.waiting, numbers.plateaus = 3, 5
    resumed = again(lines, session, {"max_steps": 50, "patience": 3})
    assert (resumed.trainer.numbers.waiting, resumed.trainer.numbers.plateaus) == (0, 0)
    assert learning_rate(resumed.trainer.config, resumed.trainer.numbers) == 0.004


def test_a_new_plan_that_is_broken_off_goes_on_with_the_same_bits():
    lines, session = finished("characters")
    whole, broken = (again(lines, session, {"max_steps": 50}) for _ in range(2))
    list(whole.trainer.run())
    for report in broken.trainer.run():
        if report.step == 37:
            break
    resumed = again(lines, broken, {})
    list(resumed.trainer.run())
    assert_same(everything(resumed.trainer), everything(whole.trainer))
