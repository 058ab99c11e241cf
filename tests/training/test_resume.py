"""A training that is stopped and resumed ends in the bits of an uninterrupted one: weights, memory, history."""

import copy
from itertools import chain, product, repeat

import numpy as np
import pytest

from charlm import checkpoint
from charlm.backends import get_backend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.inference.evaluation import Evaluation
from charlm.nn.build import build
from charlm.session import prepare, resume
from charlm.text.dataset import Dataset
from charlm.training import Trainer
from charlm.training import validation as validation_module
from tests.trainings import assert_same, result, through_file

pytestmark = pytest.mark.usefixtures("each_core")
STEPS = 24

VARIANTS = [
    *product(("rnn", "gru", "lstm"), ("line", "stream"), (0.0, 0.3), ("adam",)),
    ("lstm", "line", 0.3, "rmsprop"),
    ("lstm", "stream", 0.0, "sgd"),
    ("lstm-peephole", "line", 0.3, "adam"),
]
each_variant = pytest.mark.parametrize(("cell", "unit", "dropout", "optimizer"), VARIANTS)


def make(cell, unit, dropout, optimizer, **options):
    """Return a new trainer that shares nothing with any other."""
    rng = np.random.default_rng(8)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(2, 9, 24))])
    ids = rng.integers(1, 9, offsets[-1]).astype(np.int32)
    ids[offsets[1:] - 1] = 0
    train, valid = Dataset.of(ids, offsets, unit), Dataset.of(ids[:30], np.array([0, 12, 30]), unit)
    network = {"hidden_size": 5, "num_layers": 2, "embedding_size": 4}
    model = build(ModelConfig(9, cell=cell, dropout=dropout, **network), get_backend("cpu"), seed=2)
    base = {"max_steps": STEPS, "optimizer": optimizer, "learning_rate": 0.02, "seed": 5}
    config = TrainConfig(**{**base, **options})
    return Trainer(model, config, train.batches(4, 6, seed=5), valid.batches(2, 6, context=3))


def go_on(trainer, steps=STEPS):
    """Take some steps; return the report of each."""
    if not steps:
        return []
    return [progress for _, progress in zip(range(steps), trainer.run(), strict=False)]


def stops_of(reported, epoch):
    """Return steps to stop after: before, at and after the end of an epoch, and just before and after an evaluation."""
    within = next(p.step for p in reported if p.is_evaluation and p.step > epoch and p.step % epoch)
    before = next(p.step for p in reported if not p.is_evaluation and p.step % epoch)
    stops = [before, epoch, epoch + 1, within - 1, within, 2 * epoch]
    assert max(stops) < reported[-1].step - 1
    return stops


@pytest.mark.thinned(6)
@each_variant
def test_resumed_ends_where_uninterrupted_ends(times, cell, unit, dropout, optimizer):
    whole = make(cell, unit, dropout, optimizer)
    reported = go_on(whole)
    epoch = whole.train.steps(0)
    assert len(reported) == STEPS > 3 * epoch
    for stop in stops_of(reported, epoch)[:: times(4, 1)]:
        first = make(cell, unit, dropout, optimizer)
        before = go_on(first, stop)
        second = make(cell, unit, dropout, optimizer)
        second.model.parameters.values[...] = 7.0  # everything must come from the state
        second.restore(copy.deepcopy(first.state()))
        assert second.step == stop
        assert before + go_on(second) == reported, stop
        assert_same(result(second), result(whole))


def test_resumed_again_and_again():
    whole = make("lstm", "line", 0.3, "adam")
    go_on(whole)
    trainer = make("lstm", "line", 0.3, "adam")
    for _ in range(STEPS):
        go_on(trainer, 1)
        state = copy.deepcopy(trainer.state())
        trainer = make("lstm", "line", 0.3, "adam")
        trainer.restore(state)
    assert_same(result(trainer), result(whole))


NUMBERS = ["step", "epoch", "index", "best_nats", "plateaus", "waiting", "sum_nats", "sum_tokens"]


@pytest.mark.thinned(2)
@pytest.mark.parametrize("lost", ["state/0", "m/layer0.W", "v/head.W_y", *NUMBERS])
def test_each_part_of_the_state_matters(lost, monkeypatch):
    """The comparison above notices the loss of any part."""

    def script_evaluations():
        nats = chain([3.0, 2.5, 2.6, 2.4, 2.7, 2.8, 2.9, 3.1], repeat(1.0))
        monkeypatch.setattr(validation_module, "evaluate", lambda *_: Evaluation(1, 0, next(nats), 0.0))

    whole, first, second = (make("gru", "stream", 0.3, "adam", schedule="plateau", patience=4) for _ in range(3))
    script_evaluations()
    assert len(go_on(whole)) < STEPS
    script_evaluations()
    go_on(first, 14)
    state = copy.deepcopy(first.state())
    if lost in state.arrays:
        assert state.arrays[lost].any()
        state.arrays[lost][...] = 0
    else:
        assert getattr(state.numbers, lost)
        setattr(state.numbers, lost, 0)
    second.restore(state)
    go_on(second)
    with pytest.raises(AssertionError):
        assert_same(result(second), result(whole))


# --- through files ---------------------------------------------------------------------------------------------------

LINES = ["abc de", "de abc", "cab", "", "ed cab ab", "b", "abcde", "ea", "d abc"] * 5


REGULARISED = {
    **{"embedding_size": 4, "embedding_dropout": 0.3, "dropout_kind": "variational", "weight_drop": 0.4},
    **{"activation_penalty": 2.0, "temporal_penalty": 1.0},
}
BY_STEPS = {
    **{"optimizer": "sgd", "momentum": 0.9, "schedule": "step", "decay": 0.7, "decay_from": 1, "average": 0.9},
    **{"accumulate": 2, "clip_value": 0.01, "init_scale": 0.1, "weight_noise": 0.02},
}


def session_of(unit, *, optimizer="adam", cell="lstm", valid=None, **options):
    network = {"cell": cell, "hidden_size": 6, "num_layers": 2, "dropout": 0.2, **options.pop("network", {})}
    base = {"seq_length": 8, "batch_size": 4, "max_steps": STEPS, "learning_rate": 0.01, "valid_fraction": 0.2}
    config = TrainConfig(**{**base, "optimizer": optimizer, "seed": 4, **options})
    return prepare(LINES, TextConfig(unit=unit), network, config, valid_lines=valid)


@pytest.mark.thinned(8)
@pytest.mark.parametrize(
    ("unit", "options", "valid"),
    [
        ("line", {}, None),
        ("stream", {}, None),
        ("line", {"optimizer": "rmsprop", "cell": "gru", "vocab_size": 4}, None),
        ("stream", {"optimizer": "sgd", "cell": "rnn", "min_count": 20}, None),
        ("line", {"schedule": "plateau", "learning_rate": 0.2}, ["abc", "xyz"]),
        ("stream", {"valid_fraction": 0.0}, None),
        ("line", {"patience": 2, "learning_rate": 3.0, "max_steps": 90}, None),
        ("stream", {"network": REGULARISED, "accumulate": 3, "average": 0.8, "weight_decay": 0.1, "warmup": 9}, None),
        ("line", {**BY_STEPS, "valid_fraction": 0.0}, None),
    ],
)
@pytest.mark.parametrize("stop", [2, 7, 12])
def test_resumed_from_a_file_ends_where_uninterrupted_ends(tmp_path, unit, options, valid, stop):
    whole = session_of(unit, valid=valid, **options)
    reported = go_on(whole.trainer, 999)
    if "average" in options:
        assert whole.trainer.update.has_average(whole.trainer.numbers)
    if "patience" in options:
        assert stop < len(reported) < 90
    first = session_of(unit, valid=valid, **options)
    before = go_on(first.trainer, stop)
    second = resume(through_file(first, tmp_path / "c"), LINES, valid, {})
    assert second.language_model.history == first.language_model.history
    assert before + go_on(second.trainer, 999) == reported
    assert_same(result(second.trainer), result(whole.trainer))
    assert second.language_model.history == whole.language_model.history == whole.trainer.numbers.history
    assert (second.batch_size, second.seq_length) == (whole.batch_size, whole.seq_length)
    assert np.array_equal(second.valid.ids, whole.valid.ids) and np.array_equal(second.train.ids, whole.train.ids)
    # the files that both would write
    for name, session in (("one", whole), ("other", second)):
        checkpoint.save(tmp_path / name, session.language_model, weights=session.trainer.best_weights())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_finished_run_goes_on_with_a_later_limit(tmp_path):
    """The schedule is spread anew, so a constant one shows that the run in two parts is the run in one."""
    whole = session_of("line", max_steps=60, schedule="constant")
    go_on(whole.trainer, 999)
    first = session_of("line", max_steps=20, schedule="constant")
    assert len(go_on(first.trainer, 999)) == 20
    second = resume(through_file(first, tmp_path / "c"), LINES, None, {"max_steps": 60})
    assert second.trainer.plan() == 60
    assert len(go_on(second.trainer, 999)) == 40
    (_, weights), (_, expected) = result(second.trainer), result(whole.trainer)
    current = [name for name in expected if name.startswith(("weights/", "m/", "v/", "state/"))]
    assert len(current) > 12
    assert not [name for name in current if not np.array_equal(weights[name], expected[name])]


def test_without_a_new_limit_the_planned_steps_stay(tmp_path):
    """Above all those of a run by the clock, which would be measured again."""
    first = session_of("line", max_steps=None, minutes=5)
    first.trainer.numbers.total_steps = 33
    go_on(first.trainer, 7)
    for limits in ({}, {"patience": 5}):
        second = resume(through_file(first, tmp_path / "c"), LINES, None, limits)
        assert second.trainer.plan() == 33
        assert second.trainer.config.patience == limits.get("patience")


def test_resuming_does_not_touch_the_checkpoint_it_came_from(tmp_path):
    first = session_of("stream")
    go_on(first.trainer, 7)
    stored = through_file(first, tmp_path / "c")
    before = copy.deepcopy(stored.training)
    go_on(resume(stored, LINES, None, {}).trainer)
    assert_same((stored.training.numbers, stored.training.arrays), (before.numbers, before.arrays))
