"""The numbers of a training's state, as a checkpoint's header has them."""

from dataclasses import asdict

import pytest

from charlm.training import TrainingNumbers
from charlm.training.state import LATER_NUMBERS

NUMBERS = TrainingNumbers(7, 1, 2, 1.5, 3, 1, 4.25, 9, 1.25, 2, 4, 5, 20, [{"step": 1}])


def test_the_header_has_the_numbers_in_the_order_of_earlier_versions():
    names = "step epoch index best_nats plateaus waiting sum_nats sum_tokens good_nats setbacks halvings restarted"
    later = "best_figure kept_step kept_nats kept_figure first_nats sample end_nats end_figure end_tokens spread_from"
    assert list(asdict(NUMBERS)) == [*names.split(), "total_steps", "history", *later.split()]


def test_what_is_stored_is_what_is_read():
    assert TrainingNumbers.from_dict(asdict(NUMBERS)) == NUMBERS
    assert TrainingNumbers.from_dict(asdict(TrainingNumbers())) == TrainingNumbers()


def test_a_checkpoint_of_charlm_0_1_0_knows_no_setbacks():
    """Its good weights are its best ones, which are the kept ones; each of its evaluations judges all."""
    values = asdict(NUMBERS)
    for name in LATER_NUMBERS:
        del values[name]
    numbers = TrainingNumbers.from_dict(values)
    assert (numbers.good_nats, numbers.setbacks, numbers.halvings, numbers.restarted) == (1.5, 0, 0, 0)
    assert (numbers.kept_nats, numbers.kept_step, numbers.sample, numbers.end_tokens) == (1.5, 0, 0, 0)
    assert (numbers.step, numbers.total_steps, numbers.history) == (7, 20, [{"step": 1}])


@pytest.mark.parametrize(
    "change",
    [
        *({"step": value} for value in (-1, 1.0, True, None, "1", [1])),
        *({"sum_nats": value} for value in (True, None, "1")),
        *({"best_nats": value} for value in (True, "1", [])),
        {"total_steps": None},
        {"zebra": 1},
    ],
)
def test_other_numbers_are_refused(change):
    with pytest.raises(ValueError, match="the training state"):
        TrainingNumbers.from_dict({**asdict(NUMBERS), **change})


@pytest.mark.parametrize("name", ["step", "epoch", "best_nats", "sum_tokens", "total_steps", "history"])
def test_a_missing_number_is_refused(name):
    values = asdict(NUMBERS)
    del values[name]
    with pytest.raises(ValueError, match="incomplete"):
        TrainingNumbers.from_dict(values)


@pytest.mark.parametrize("values", [None, [], "step", 3])
def test_what_has_no_numbers_is_refused(values):
    with pytest.raises(ValueError, match="incomplete"):
        TrainingNumbers.from_dict(values)
