"""Which weights are kept: those of the best figure, of the lowest loss, or the last ones."""

import math
from dataclasses import replace

import numpy as np
import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.errors import UsageError
from charlm.inference.evaluation import Evaluation
from charlm.inference.figures import figures
from charlm.inference.tallies import Accuracy
from charlm.session import prepare, text_defaults
from charlm.task import TASKS
from charlm.training import TrainingNumbers, figure_of
from charlm.training import validation as validation_module
from tests.trainings import through_file

ENTITIES = ["Ann\tB-PER", "Lee\tI-PER", "saw\tO", "Rome\tB-LOC", "", "it\tO", "rained\tO", ""] * 12
TAGS = ["the\tD", "cat\tN", "sees\tV", "it\tN", "", "it\tN", "sees\tV", "the\tD", "dog\tN", ""] * 12
BINARY = ["Ann\t1", "saw\t0", "Rome\t0", ""] * 30
CLASSES = ["good\tabc a", "bad\tccc", "good\ta b", "bad\tcc a"] * 15
CORPORA = {
    "entities": ("tag", ENTITIES),
    "tags": ("tag", TAGS),
    "binary": ("tag", BINARY),
    "classes": ("classify", CLASSES),
}


def session_of(kind, **config):
    task, lines = CORPORA[kind]
    options = {"batch_size": 4, "seq_length": 8, "seed": 3, "valid_fraction": 0.3, "max_steps": 20, **config}
    network = {"task": task, "hidden_size": 8, "num_layers": 1}
    return prepare(lines, TextConfig(**text_defaults(task)), network, TrainConfig(**{"learning_rate": 0.01, **options}))


def tally(right, cases=100):
    one = Accuracy()
    one.right, one.all = right, cases
    return one


def kept(keep, losses, rights=None):
    """Return which evaluations are kept one after the other."""
    numbers = TrainingNumbers()
    return [
        numbers.add_validation(nats, None if rights is None else tally(rights[i]), keep)
        for i, nats in enumerate(losses)
    ]


def test_the_lowest_loss_or_the_last_weights():
    losses = [2.0, 1.0, 1.5, 1.0, 0.5]
    assert kept("loss", losses) == [True, True, False, False, True]
    assert kept("last", losses) == [True] * 5
    assert kept("loss", losses, [50, 10, 90, 20, 30]) == kept("loss", losses)


def test_the_latest_weights_within_a_standard_error_of_the_best_figure():
    """Of 100 cases the standard error of 0.8 is 0.04."""
    losses = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert kept("accuracy", losses, [50, 80, 76, 75, 77, 70, 80]) == [True, True, True, False, True, False, True]
    assert kept("accuracy", losses, [0] * 7) == [True] * 7
    assert kept("accuracy", losses, [100, 99, 100, 99, 99, 99, 99]) == [True, False, True, *[False] * 4]


def test_what_is_kept_is_the_latest_within_a_standard_error_of_the_best_of_all():
    """Also of figures drawn at random, where the best one comes at any time."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        rights = rng.integers(40, 100, 9)
        numbers = TrainingNumbers()
        for numbers.step, right in enumerate(rights.tolist(), 1):
            numbers.add_validation(1.0, tally(right), "accuracy")
        best = rights.max() / 100
        near = np.flatnonzero(rights / 100 >= best - math.sqrt(best * (1 - best) / 100))
        assert numbers.kept_step == near[-1] + 1
        assert (numbers.best_figure, numbers.kept_figure) == (best, rights[near[-1]] / 100)


def test_patience_waits_for_a_better_figure_where_one_is_kept():
    numbers = TrainingNumbers()
    waits = []
    for nats, right in [(1.0, 50), (2.0, 60), (0.5, 59), (0.4, 60), (3.0, 61)]:
        numbers.add_validation(nats, tally(right), "accuracy")
        waits.append(numbers.waiting)
    assert waits == [0, 0, 1, 2, 0] and numbers.plateaus == 2
    numbers = TrainingNumbers()
    for nats in (1.0, 2.0, 3.0):
        numbers.add_validation(nats, None, "last")
    assert (numbers.waiting, numbers.kept_nats, numbers.best_nats) == (2, 3.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "figure"), [("entities", "f1"), ("tags", "accuracy"), ("binary", "f1"), ("classes", "accuracy")]
)
def test_a_task_is_kept_by_its_figure(kind, figure):
    session = session_of(kind)
    trainer = session.trainer
    assert session.language_model.train.keep == figure == trainer.validation.figure_name
    rows = [progress for progress in trainer.run() if progress.is_evaluation]
    history = session.language_model.history
    assert [set(row) & {"accuracy", "f1"} for row in history] == [{figure}] * len(rows)
    assert [row[figure] for row in history] == [row.figures[figure] for row in rows]
    last = [row for row in rows if row.is_best][-1]
    outcome = trainer.outcome()
    assert (outcome.kept_step, outcome.figure_name) == (last.step, figure)
    assert (outcome.figure, outcome.valid_nats) == (last.figures[figure], last.valid_nats)


@pytest.mark.parametrize(("kind", "key"), [("tags", "accuracy"), ("binary", "f1"), ("classes", "accuracy")])
def test_the_figure_is_that_of_evaluate(kind, key):
    """Judged on a held-out file, which `figures` reads too."""
    task, lines = CORPORA[kind]
    text, network = TextConfig(**text_defaults(task)), {"task": task, "hidden_size": 8, "num_layers": 1}
    held = lines[:10] if kind != "classes" else [*lines[:5], "good\tccc"]
    config = TrainConfig(batch_size=4, seq_length=8, max_steps=8, learning_rate=0.02)
    session = prepare(lines, text, network, config, valid_lines=held)
    for _ in session.trainer.run():
        pass
    session.trainer.take_best()
    found = figures(session.language_model, held)
    assert session.trainer.outcome().figure == pytest.approx(found[key])
    assert 0 < found[key] <= 1


def test_languages_are_kept_by_their_loss():
    session = prepare(["abc"] * 20, TextConfig(), {"hidden_size": 4}, TrainConfig(max_steps=4))
    list(session.trainer.run())
    assert session.language_model.train.keep == "loss"
    assert session.trainer.outcome().figure_name == ""
    assert all(not {"accuracy", "f1"} & set(row) for row in session.language_model.history)


@pytest.mark.parametrize("kind", CORPORA)
def test_the_last_weights_are_kept_if_asked_for(kind):
    trainer = session_of(kind, keep="last", learning_rate=0.2, schedule="constant").trainer
    for _ in trainer.run():
        pass
    last = trainer.model.parameters.values.copy()
    trainer.take_best()
    assert np.array_equal(trainer.model.parameters.values, last)
    assert trainer.numbers.kept_step == 20


@pytest.mark.parametrize(
    ("kind", "keep", "words"),
    [("classes", "f1", "--keep f1 with --task classify"), ("tags", "f1", "--keep f1 with tags")],
)
def test_a_figure_that_the_task_does_not_have_is_refused(kind, keep, words):
    with pytest.raises(UsageError, match=words) as raised:
        session_of(kind, keep=keep)
    assert "accuracy" in raised.value.hint


def test_which_figure_each_task_shows():
    entities, plain = ("B-X", "O"), ("N", "V")
    assert [figure_of(None, TASKS["tag"], labels) for labels in (entities, plain)] == ["f1", "accuracy"]
    assert figure_of("accuracy", TASKS["tag"], entities) == "accuracy"
    assert figure_of("loss", TASKS["tag"], entities) == "f1"
    assert {figure_of(None, TASKS[name], ()) for name in ("lm", "cloze", "translate", "music")} == {None}


def test_the_configuration_of_an_older_file_keeps_the_lowest_loss():
    values = TrainConfig().to_dict()
    del values["keep"]
    assert TrainConfig.from_dict(values).keep is None
    trainer = session_of("classes", learning_rate=0.1).trainer
    trainer.config = replace(trainer.config, keep=None)
    rows = [progress for progress in trainer.run() if progress.is_evaluation]
    losses = [row.valid_nats for row in rows]
    assert trainer.numbers.kept_step == rows[losses.index(min(losses))].step
    assert all("accuracy" in row.figures for row in rows)


def test_a_file_keeps_the_outcome_and_the_figures(tmp_path):
    session = session_of("entities")
    for _, _ in zip(range(12), session.trainer.run(), strict=False):
        pass
    stored = through_file(session, tmp_path / "c.ckpt.safetensors")
    assert stored.training.numbers.history == session.trainer.numbers.history
    assert "f1" in stored.language_model.history[-1]


def test_a_classifier_that_overfits_keeps_its_accuracy(monkeypatch):
    """The loss of confident mistakes rises while more texts are right."""
    losses, rights = iter([0.6, 0.7, 0.9, 1.2]), iter([60, 70, 75, 80])

    def judged(model, batches, ws, count):
        count.right, count.all = next(rights), 100
        return Evaluation(100, 0, 100 * next(losses), 0.0)

    monkeypatch.setattr(validation_module, "evaluate", judged)
    trainer = session_of("classes", max_steps=4).trainer
    assert [row.is_best for row in trainer.run()] == [True] * 4
    assert trainer.numbers.kept_nats == 1.2
