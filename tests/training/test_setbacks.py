"""A training that explodes goes back and halves its learning rate, a few times."""

import copy
import math
import warnings

import numpy as np
import pytest

from charlm.errors import DivergenceError
from charlm.training.setbacks import MOST_SETBACKS
from tests.training.test_trainer import flat_best, make, scripted, values
from tests.trainings import assert_same, everything

# enough rectified units that some stay on, whatever the rate
RELU = {"cell": "rnn", "activation": "relu", "num_layers": 2, "hidden_size": 32}


def poison(trainer, *, times, gradient=None):
    """Make the next passes return NaN as the loss, or a bad value in the gradient."""
    loss_and_grads = trainer.model.loss_and_grads
    left = [times]

    def poisoned(*args, **options):
        loss, state = loss_and_grads(*args, **options)
        if not left[0]:
            return loss, state
        left[0] -= 1
        if gradient is None:
            return math.nan, state
        trainer.model.parameters.grads[5] = gradient
        return loss, state

    trainer.model.loss_and_grads = poisoned


def take(trainer, steps):
    return [progress for _, progress in zip(range(steps), trainer.run(), strict=False)]


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("held", [0, 8])
def test_a_bad_step_is_dropped_and_the_rate_halved(bad, held):
    """The weights become those of the best evaluation; the optimizer and the carried state start anew."""
    trainer = make(max_steps=40, held=held, network={"dropout": 0.1})
    due = [p.step for p in take(make(max_steps=40, held=held), 40) if p.is_evaluation][5]
    take(trainer, due)
    good, history = values(trainer), list(trainer.numbers.history)
    figure = "valid_nats" if held else "train_nats"
    assert history[-1][figure] == min(row[figure] for row in history) < math.log(7)
    take(trainer, 2)
    assert not np.array_equal(values(trainer), good)
    poison(trainer, times=1, gradient=bad)
    (told,) = take(trainer, 1)
    assert told.setback.startswith(f"training diverged at step {due + 3}: loss ") and not told.is_evaluation
    assert (told.step, trainer.numbers.history) == (due + 2, history)
    assert np.array_equal(values(trainer), good)
    state = trainer.state()
    assert not any(array.any() for name, array in state.arrays.items() if name.startswith(("m/", "v/", "state/")))
    (after,) = take(trainer, 1)
    assert after.setback == "" and after.step == due + 3
    whole = 0.01 * (1 + math.cos(math.pi * (due + 2) / 40)) / 2
    assert after.learning_rate == pytest.approx(whole / 2, rel=1e-12)


def test_the_optimizer_begins_as_at_the_first_step():
    """Adam corrects the bias of its first steps: the step after a setback is no longer than the learning rate."""
    trainer = make(max_steps=40, schedule="constant")
    take(trainer, 20)
    poison(trainer, times=1)
    take(trainer, 1)
    before = values(trainer)
    take(trainer, 1)
    longest = np.abs(values(trainer) - before).max()
    assert longest == pytest.approx(0.005, rel=1e-2)


def test_before_the_first_evaluation_it_goes_back_to_the_first_weights():
    trainer = make(max_steps=200)
    first = values(trainer)
    take(trainer, 3)
    poison(trainer, times=1)
    take(trainer, 1)
    assert np.array_equal(values(trainer), first)


def test_the_run_ends_whole_after_setbacks():
    """It takes as many steps as planned, and evaluates after the last."""
    trainer = make(max_steps=12)
    poison(trainer, times=3)
    told = list(trainer.run())
    assert [bool(p.setback) for p in told] == [True] * 3 + [False] * 12
    assert trainer.step == 12 and told[-1].is_evaluation
    assert told[-1].learning_rate < 0.01 / 8


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_finite_is_a_setback_too(monkeypatch, odd):
    scripted(monkeypatch, [2.0, 1.0, odd, 0.5])
    trainer = make(max_steps=4, schedule="constant")
    take(trainer, 2)
    good = values(trainer)
    (told,) = take(trainer, 1)
    assert "step 3: validation loss" in told.setback and not told.is_evaluation and not told.is_best
    assert np.array_equal(values(trainer), good) and np.array_equal(flat_best(trainer), good)
    assert told.learning_rate == 0.005
    (last,) = take(trainer, 1)
    assert (last.valid_nats, last.is_best) == (0.5, True)
    assert [row["valid_nats"] for row in trainer.numbers.history] == [2.0, 1.0, 0.5]


def test_too_many_setbacks_end_the_run_with_the_last_good_weights():
    trainer = make(max_steps=40)
    take(trainer, 20)
    good, best = values(trainer), flat_best(trainer)
    poison(trainer, times=99)
    run = trainer.run()
    assert all(next(run).setback for _ in range(MOST_SETBACKS))
    with pytest.raises(DivergenceError, match="step 21: loss nan") as divergence:
        next(run)
    assert divergence.value.exit_code == 5 and "--lr" in divergence.value.hint
    assert np.array_equal(values(trainer), good) and np.array_equal(flat_best(trainer), best)


def test_weights_that_are_worse_than_the_first_are_not_good(monkeypatch):
    """A finite loss may come from exploded weights."""
    scripted(monkeypatch, [500.0, 400.0, 300.0])
    trainer = make(max_steps=3)
    first = values(trainer)
    take(trainer, 2)
    poison(trainer, times=1)
    take(trainer, 1)
    assert np.array_equal(values(trainer), first) and not np.array_equal(flat_best(trainer), first)


def test_a_lower_loss_makes_setbacks_count_anew(monkeypatch):
    scripted(monkeypatch, np.linspace(1.8, 1.0, 40))
    trainer = make(max_steps=40)
    for _ in range(4):
        poison(trainer, times=MOST_SETBACKS)
        told = take(trainer, MOST_SETBACKS + 8)
        assert any(p.is_evaluation for p in told) and sum(bool(p.setback) for p in told) == MOST_SETBACKS


def test_poisoned_weights_are_replaced():
    trainer = make(max_steps=40)
    take(trainer, 20)
    trainer.model.parameters.value("head.b_y")[2] = math.nan
    told = list(trainer.run())
    assert [bool(p.setback) for p in told] == [True] + [False] * 20
    assert np.isfinite(values(trainer)).all()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_resumed_around_a_setback_it_ends_in_the_same_bits(after):
    """The good weights are in the checkpoint, even if they are neither the best nor the current ones."""

    def whole_or_in_parts(stop):
        trainer = make(max_steps=40, network={"dropout": 0.2})
        take(trainer, 18)
        poison(trainer, times=2)
        if stop is not None:
            take(trainer, stop)
            state = copy.deepcopy(trainer.state())
            trainer = make(max_steps=40, network={"dropout": 0.2})
            trainer.restore(state)
            poison(trainer, times=max(0, 2 - stop))
        take(trainer, 99)
        return everything(trainer)

    assert_same(whole_or_in_parts(after), whole_or_in_parts(None))


@pytest.mark.parametrize("held", [0, 8])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_rate_that_is_far_too_high_diverges(optimizer, held):
    trainer = make(max_steps=60, network=RELU, learning_rate=1e9, optimizer=optimizer, held=held)
    with warnings.catch_warnings(), pytest.raises(DivergenceError):
        warnings.simplefilter("ignore")  # the next test is about them
        list(trainer.run())
    assert np.isfinite(flat_best(trainer)).all()


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_rate_that_is_too_high_is_halved_until_it_is_not(optimizer):
    """A network of rectified units that explodes learns in the end."""
    rate = {"adam": 2.0, "rmsprop": 1.0, "sgd": 3.0}[optimizer]
    trainer = make(max_steps=200, network=RELU, learning_rate=rate, optimizer=optimizer, schedule="constant", clip=0.0)
    told = list(trainer.run())
    assert any(p.setback for p in told)
    assert told[-1].learning_rate < rate and min(row["valid_nats"] for row in trainer.numbers.history) < math.log(7)


@pytest.mark.parametrize("held", [0, 8])
def test_an_explosion_causes_no_warnings(held):
    """NumPy prints no warning of overflow."""
    trainer = make(max_steps=8, network=RELU, learning_rate=1e9, held=held)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(DivergenceError):
            list(trainer.run())
    assert [str(warning.message) for warning in said] == []
