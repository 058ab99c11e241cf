"""A training with its two files: when each is written, and what it holds."""

import numpy as np
import pytest

from charlm import saving
from charlm.backends import NumpyBackend
from charlm.checkpoint import checkpoint_path, load
from charlm.config import TextConfig, TrainConfig
from charlm.errors import DivergenceError
from charlm.saving import SavedTraining
from charlm.session import prepare

LINES = ["abab", "ba", "abba", "bb"] * 9


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def training(path, **options):
    network = {"hidden_size": 4, "num_layers": 1}
    config = TrainConfig(**{"max_steps": 6, "batch_size": 4, "seq_length": 6, "valid_fraction": 0.2, **options})
    session = prepare(LINES, TextConfig(), network, config)
    return session.trainer, SavedTraining(session, path, "c0ffee")


def learn(saved, *, until=99):
    """Learn for some steps; return the reports."""
    reports = []
    saved.learn(reports.append, lambda: len(reports) >= until)
    return reports


def stored_step(path):
    return load(checkpoint_path(path), NumpyBackend()).training.numbers.step


def holds_best(path, trainer):
    model = load(path, NumpyBackend()).language_model.model
    best = trainer.best_weights()
    return all(
        np.array_equal(array, best[name]) for name, array in model.parameters.named(model.parameters.values).items()
    )


def test_a_new_run_begins_with_a_checkpoint_and_a_resumed_one_does_not(path):
    trainer, saved = training(path)
    saved.begin()
    assert stored_step(path) == 0 and not path.exists()
    checkpoint_path(path).unlink()
    learn(saved, until=2)
    saved.begin()
    assert trainer.step == 2 and not checkpoint_path(path).exists()


def test_it_stops_when_it_is_told_to_and_finish_writes_both_files(path):
    trainer, saved = training(path)
    assert [report.step for report in learn(saved, until=3)] == [1, 2, 3]
    saved.finish()
    assert stored_step(path) == 3 and load(checkpoint_path(path), NumpyBackend()).corpus == "c0ffee"
    assert holds_best(path, trainer)


def test_it_is_saved_on_the_way_as_often_as_time_allows(path, monkeypatch):
    trainer, saved = training(path)
    learn(saved, until=3)
    assert not checkpoint_path(path).exists()
    monkeypatch.setattr(saving, "SAVE_SECONDS", {True: -1.0, False: -1.0})
    monkeypatch.setattr(saving, "SAVE_RATIO", 0.0)
    steps, run = [], trainer.run

    def watched():
        for report in run():
            yield report
            steps.append((report.step, stored_step(path)))

    trainer.run = watched
    learn(saved)
    assert steps == [(4, 4), (5, 5), (6, 6)]
    assert holds_best(path, trainer)


def test_a_training_whose_saves_take_long_is_saved_less_often(path, monkeypatch):
    """Each step takes a second, a save two, and the next one is due after three times that."""
    now, saves = [0.0], []
    monkeypatch.setattr(saving.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(saving, "SAVE_SECONDS", {True: 0.5, False: 0.5})
    monkeypatch.setattr(saving, "SAVE_RATIO", 3.0)
    trainer, saved = training(path, max_steps=20)

    def save(*, model):
        now[0] += 2.0
        saves.append(trainer.step)

    monkeypatch.setattr(saved, "_save", save)
    saved.learn(lambda _: now.__setitem__(0, now[0] + 1.0), lambda: False)
    assert saves == [1, 8, 15]


def test_the_model_file_of_a_finished_run_is_written_only_if_it_is_missing_or_outdated(path):
    trainer, saved = training(path)
    learn(saved)
    saved.finish()
    (whole, before) = path.read_bytes(), path.stat().st_mtime_ns
    saved.renew_model()
    assert path.stat().st_mtime_ns == before
    path.unlink()
    saved.renew_model()
    assert path.read_bytes() == whole
    other, older = training(path, seed=2)
    learn(older)
    older.finish()
    assert other.step == trainer.step and path.read_bytes() != whole
    saved.renew_model()
    assert path.read_bytes() == whole


def test_a_training_that_only_diverged_writes_no_model(path):
    _, saved = training(path, learning_rate=1e9, clip=0.0, optimizer="sgd", schedule="constant", valid_fraction=0.0)
    saved.begin()
    with pytest.raises(DivergenceError):
        learn(saved)
    assert not path.exists() and stored_step(path) == 0


@pytest.mark.parametrize(("in_the_step", "stored"), [(False, 2), (True, 0)])
def test_without_memory_a_whole_state_is_saved(path, in_the_step, stored):
    trainer, saved = training(path)
    saved.begin()
    learn(saved, until=2)
    work = trainer.optimizer if in_the_step else trainer.model

    def short(*_args, **_options):
        raise MemoryError

    setattr(work, "step" if in_the_step else "loss_and_grads", short)
    with pytest.raises(MemoryError):
        learn(saved)
    assert stored_step(path) == stored
