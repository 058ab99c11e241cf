"""The search: better than the defaults, repeatable, continued, interrupted, with failures."""

import math
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("optuna", reason="no optuna: pip install -e '.[tune]'")

from charlm.backends import get_backend
from charlm.checkpoint import load
from charlm.errors import CorpusError, UsageError
from charlm.session import prepare_from, settings_of
from charlm.tuning import Search, Study, Terms, search_space
from charlm.tuning import search as search_module
from charlm.tuning import study as study_module
from charlm.tuning.search import Curve

GIVEN = {"hidden_size": 8, "num_layers": 1, "batch_size": 8, "seq_length": 16, "max_steps": 40, "seed": 3}
# Hardly learns, so that the search has something to find.
SLOW = 0.001


def names(count=60):
    rng = np.random.default_rng(1)
    syllables = ["ra", "to", "ni", "sau", "rus", "tri"]
    return ["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(count)]


class Begun:
    """A search that has begun, as the command begins one; axes: the settings that are searched."""

    def __init__(self, path, storage=None, axes=("learning_rate", "dropout"), *, seed=3, minutes=None, **given):
        self.base = prepare_from(names(), {**GIVEN, "learning_rate": SLOW, "dropout": 0.1, "seed": seed, **given})
        space = search_space(settings_of(self.base.language_model), {})
        self.axes = {name: space[name] for name in axes}
        self.study = Study(storage)
        terms = Terms("0" * 64, given, {"max_steps": 40}, seed)
        self.search = Search(self.base, self.axes, self.study, path, minutes=minutes)
        self.study.begin(terms, {name: axis.default for name, axis in self.axes.items()})

    def run(self, trials=None, *, steps=math.inf, **how):
        """Run trials; stop after so many steps of all of them together."""
        done = 0

        def watch(*_):
            nonlocal done
            done += 1

        return list(self.search.run(watch, lambda: done >= steps, trials=trials, **how))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path / 'search.db'}"


def test_it_finds_better_settings_than_the_defaults(path):
    begun = Begun(path)
    records = begun.run(8)
    assert records[0].settings == {"learning_rate": SLOW, "dropout": 0.1} and records[0].state == "complete"
    winner = begun.study.winner()
    assert winner.nats < records[0].nats - 0.06
    assert winner.nats == min(one.nats for one in records if one.state == "complete")
    assert "pruned" in {one.state for one in records}
    assert all(one.steps < one.planned_steps == 40 for one in records if one.state == "pruned")


def test_the_model_is_that_of_the_best_trial(path):
    begun = Begun(path)
    begun.run(6)
    stored, winner = load(path, get_backend("cpu")).language_model, begun.study.winner()
    assert stored.train.learning_rate == winner.settings["learning_rate"]
    assert stored.model.config.dropout == winner.settings["dropout"]
    assert stored.outcome.valid_nats == winner.nats
    assert begun.search.fetch() == winner


def test_the_trial_is_the_training_of_its_settings(path):
    """The same numbers as a training that is prepared from the lines with the settings of the trial."""
    begun = Begun(path)
    begun.run(4)
    stored = load(path, get_backend("cpu")).language_model
    alone = prepare_from(names(), {**GIVEN, **begun.study.winner().settings})
    for _ in alone.trainer.run():
        pass
    for name, array in alone.trainer.best_weights().items():
        np.testing.assert_array_equal(array, stored.model.parameters.named(stored.model.parameters.values)[name])
    assert stored.train == alone.language_model.train and stored.history == alone.language_model.history


def test_the_same_seed_draws_the_same_trials(path):
    one, other, another = (Begun(path, seed=seed).run(5) for seed in (3, 3, 4))
    assert one == other
    assert [trial.settings for trial in one] != [trial.settings for trial in another]


@pytest.mark.slow
def test_a_continued_search_is_the_same_as_an_uninterrupted_one(path, storage):
    whole = Begun(path).run(4)
    before = Begun(path, storage).run(2)
    after = Begun(path, storage)
    assert before + after.run(4) == whole
    assert after.study.records() == whole


@pytest.mark.slow
def test_an_interrupted_trial_leaves_the_best_model_and_is_tried_again(path, storage):
    begun = Begun(path, storage)
    records = begun.run(steps=45)
    assert [one.state for one in records] == ["complete", "interrupted"]
    assert records[1].steps == 5 and begun.study.winner() == records[0] == begun.search.fetch()
    again = Begun(path, storage).run(3)
    assert [one.number for one in again] == [2, 3]
    assert again[0].settings == records[1].settings and again[0].state != "interrupted"


def test_the_first_trial_leaves_a_model_when_it_is_interrupted(path):
    begun = Begun(path, learning_rate=0.02)
    (record,) = begun.run(steps=20)
    assert record.state == "interrupted" and begun.study.winner() is None
    assert begun.search.fetch() == record
    assert load(path, get_backend("cpu")).language_model.history[-1]["step"] == 20


def test_before_the_first_evaluation_there_is_no_model(path):
    begun = Begun(path)
    (record,) = begun.run(steps=2)
    assert math.isnan(record.nats) and begun.search.fetch() is None and not path.exists()


@pytest.mark.slow
def test_the_trial_of_a_killed_process_is_tried_again(path, storage, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    begun = Begun(path, storage)
    begun.run(1)
    with monkeypatch.context() as patch:
        patch.setattr(study_module, "_process", lambda: f"{study_module.socket.gethostname()}:{dead.pid}")
        killed = begun.study.ask({name: axis.distribution for name, axis in begun.axes.items()})
    assert begun.study.records()[-1].state == "running"
    (record,) = Begun(path, storage).run(2)
    assert record.number == killed.number + 1
    assert record.settings == search_module.settings_for(begun.axes, killed.params)


def test_the_trial_of_a_running_process_is_left_alone(path, storage):
    begun = Begun(path, storage)
    trial = begun.study.ask({name: axis.distribution for name, axis in begun.axes.items()})
    other = Begun(path, storage)
    assert other.study.records()[trial.number].state == "running"
    assert other.run(1) == []


def test_a_trial_that_diverges_is_the_worst_and_the_search_goes_on(path):
    """A rate of 1e9 without clipping."""
    begun = Begun(path, axes=("learning_rate",), learning_rate=1e9, clip=0.0, cell="rnn", activation="relu")
    begun.axes["learning_rate"] = replace(begun.axes["learning_rate"], low=0.001, high=1e9)
    records = begun.run(6)
    assert records[0].state == "failed" and records[0].nats == math.inf and "diverged" in records[0].failure
    assert len(records) == 6 and begun.study.winner() is not None
    assert begun.study.winner().nats < math.inf


def test_a_network_too_large_for_the_memory_is_a_failed_trial(path, monkeypatch):
    begun, build, calls = Begun(path), search_module.build, []

    def sometimes(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise MemoryError
        return build(*args, **kwargs)

    monkeypatch.setattr(search_module, "build", sometimes)
    records = begun.run(3)
    assert [one.state == "failed" for one in records] == [False, True, False]
    assert records[1].failure == "out of memory" and begun.study.records() == records


def test_an_error_that_ends_the_search_ends_its_trial(path, monkeypatch):
    begun = Begun(path)
    monkeypatch.setattr(search_module, "build", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        begun.run(3)
    assert [one.state for one in begun.study.records()] == ["interrupted"]


def test_without_time_no_trial_begins(path):
    assert Begun(path).run(end=time.monotonic() - 1) == []


def test_a_trial_that_does_not_fit_into_the_time_does_not_begin(path):
    assert Begun(path, minutes=1.0).run(end=time.monotonic() + 59) == []


def test_the_time_ends_the_search(path):
    begun = Begun(path)
    begin = time.monotonic()
    records = begun.run(end=begin + 0.8)
    assert time.monotonic() - begin < 60
    assert records and all(one.state != "interrupted" for one in records[:-1])


def test_a_trial_is_cut_when_the_time_is_over(path):
    begun = Begun(path, max_steps=10**7, epochs=10**6)
    (record,) = begun.run(end=time.monotonic() + 0.5)
    assert record.state == "interrupted" and 0 < record.steps < 10**6


@pytest.mark.slow
def test_minutes_of_a_trial_become_its_steps(path):
    begun = Begun(path, max_steps=10**7, epochs=10**6, minutes=0.01)
    (record,) = begun.run(1)
    assert record.state == "complete" and record.steps == record.planned_steps < 10**6
    assert load(path, get_backend("cpu")).language_model.train.max_steps == record.steps


def test_a_corpus_without_held_out_text_is_refused(path):
    with pytest.raises(CorpusError, match="held-out"):
        Begun(path, valid_fraction=0.0)


CHANGED = (
    ({"corpus": "1" * 64}, "another corpus"),
    ({"fixed": {"cell": "gru"}}, "cell is lstm there, gru here"),
    ({"fixed": {}}, "cell is lstm there, not given here"),
    ({"limits": {"max_steps": 50}}, "max_steps is 40 there, 50 here"),
    ({"seed": 4}, "seed 3, not 4"),
)


def test_another_search_in_the_storage_is_refused(storage):
    terms = Terms("0" * 64, {"cell": "lstm", "dense": (3, 4)}, {"max_steps": 40}, 3)
    Study(storage).begin(terms, {"dropout": 0.1})
    joining = Study(storage)
    assert joining.stored_terms().seed == 3
    joining.begin(terms, {"dropout": 0.1})
    for changed, message in CHANGED:
        with pytest.raises(UsageError, match=message):
            joining.begin(replace(terms, **changed), {"dropout": 0.1})


@pytest.mark.slow
def test_the_first_trial_is_asked_for_once(path, storage):
    one, other = Begun(path, storage), Begun(path, storage)
    defaults = [trial for trial in (*other.run(3), *one.run(4)) if trial.settings["learning_rate"] == SLOW]
    assert len(defaults) == 1


class TestCurve:
    def test_a_rung_between_two_evaluations_is_interpolated(self):
        curve = Curve()
        assert curve.add(0.05, 4.0) == []
        assert curve.add(0.15, 3.0) == [(1, pytest.approx(3.5))]

    def test_a_rung_at_an_evaluation_is_its_loss(self):
        curve = Curve()
        assert curve.add(0.1, 4.0) == [(1, 4.0)]
        assert curve.add(0.2, 3.5) == []
        assert curve.add(3 / 10, 3.0) == [(3, 3.0)]
        assert curve.add(1.0, 2.0) == []

    def test_the_lowest_loss_so_far_counts(self):
        curve = Curve()
        curve.add(0.05, 2.0)
        assert curve.add(0.2, 9.0) == [(1, 2.0)]

    def test_two_rungs_may_be_passed_at_once(self):
        assert Curve().add(0.5, 2.0) == [(1, 2.0), (3, 2.0)]
