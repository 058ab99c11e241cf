"""The learning rate over a run, at points where it is known."""

import math

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import SCHEDULES as NAMES
from charlm.config import ModelConfig, TrainConfig
from charlm.nn.build import build
from charlm.text.dataset import Dataset
from charlm.training import Trainer
from charlm.training.schedules import SCHEDULES
from charlm.training.schedules import learning_rate as rate_of
from charlm.training.state import TrainingNumbers


def test_every_schedule_of_the_configuration_is_there():
    assert set(SCHEDULES) == set(NAMES)


def factor_of(schedule, done=0.0, plateaus=0, epoch=0, **options):
    """Return the factor of a schedule at a share of a plan of 1,200 steps."""
    numbers = TrainingNumbers(step=round(1200 * done), total_steps=1200, plateaus=plateaus, epoch=epoch)
    return SCHEDULES[schedule](TrainConfig(schedule=schedule, **options), numbers)


@pytest.mark.parametrize(
    ("done", "factor"),
    [(0, 1), (1 / 6, 0.5 + math.sqrt(3) / 4), (0.25, 0.5 + math.sqrt(2) / 4), (1 / 3, 0.75), (0.5, 0.5), (1, 0)],
)
def test_cosine_falls_from_1_to_0(done, factor):
    assert factor_of("cosine", done) == pytest.approx(factor, abs=1e-15)
    assert factor_of("cosine", done, 9) == factor_of("cosine", done)


@pytest.mark.parametrize(("plateaus", "factor"), [(0, 1), (1, 0.25), (2, 0.0625), (5, 0.0009765625)])
def test_plateau_falls_to_a_quarter_each_time(plateaus, factor):
    assert [factor_of("plateau", done, plateaus) for done in (0, 0.5, 1)] == [factor] * 3


def test_constant_stays():
    assert {factor_of("constant", done, plateaus) for done in (0, 0.3, 1) for plateaus in (0, 4)} == {1.0}


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (3, 1), (4, 0.8), (5, 0.64), (13, 0.8**10)])
def test_step_falls_with_each_epoch_after_the_first_ones(epoch, factor):
    """Zaremba et al. 2014: the medium model has its full rate in the first epochs."""
    assert factor_of("step", 0.9, epoch=epoch, decay=0.8, decay_from=4) == pytest.approx(factor, rel=1e-14)


def test_warm_up_rises_linearly_from_the_first_step_of_a_plan():
    config = TrainConfig(learning_rate=0.4, schedule="constant", warmup=4)
    plan = {"total_steps": 30, "spread_from": 10}
    rates = [rate_of(config, TrainingNumbers(step=10 + step, **plan)) for step in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4], rel=1e-14)


def learning_rates(**options):
    """Run six steps; return the learning rate of each, as reported and as the optimizer gets it."""
    model = build(ModelConfig(5, cell="rnn", hidden_size=3, num_layers=1, dtype="float64"), NumpyBackend(), seed=1)
    ids = np.random.default_rng(1).integers(2, 5, 24).astype(np.int32)
    batches = Dataset.of(ids, np.arange(0, 25, 4), "line").batches(2, 4, seed=1)
    trainer = Trainer(model, TrainConfig(learning_rate=0.2, **options), batches, None)
    handed, step = [], trainer.optimizer.step

    def watched(count, learning_rate, scale):
        handed.append((count, learning_rate))
        step(count, learning_rate, scale)

    trainer.optimizer.step = watched
    reported = [progress.learning_rate for progress in trainer.run()]
    assert handed == list(enumerate(reported, start=1))
    return reported


def test_a_run_follows_its_schedule_from_the_whole_rate_to_nearly_none():
    expected = [0.1 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert learning_rates(schedule="cosine", max_steps=6) == pytest.approx(expected, rel=1e-12)
    assert learning_rates(schedule="constant", max_steps=6) == [0.2] * 6


def test_the_schedule_is_spread_over_the_limit_that_comes_first():
    """Two epochs are six steps."""
    by_steps = learning_rates(schedule="cosine", max_steps=6, epochs=50)
    assert learning_rates(schedule="cosine", max_steps=900, epochs=2) == by_steps
    assert len(by_steps) == 6
