"""The settings that follow from a corpus: complete, valid, bounded in work, and never in place of what is given."""

import itertools
from dataclasses import fields

import pytest

from charlm.backends import NumpyBackend
from charlm.config import CELL_NAMES, ModelConfig, TextConfig, TrainConfig
from charlm.nn.build import build
from charlm.session import inherited, prepare, prepare_from, settings_of
from charlm.settings import _WORK, TABLES, CorpusSize, _work_of_step, before_reading, chosen
from charlm.task import TASKS, task_of

SIZES = [CorpusSize(10**digits, outputs) for digits in range(1, 9) for outputs in (2, 60, 30_000)]
EACH_TABLE = [(task, level) for task in TASKS.values() for level in task.levels]
LINES = ["abcab", "ab", "a", "c", "bca"] * 12


def chosen_for(task, level, size=SIZES[0], **given):
    given = {"bidirectional": task.bidirectional[0], **given}
    return chosen(task, TextConfig(level=level), size, given)


def test_each_task_and_level_has_a_table_whose_rows_cover_every_size():
    assert set(TABLES) == {f"{task.name} {level}" for task, level in EACH_TABLE}
    for rows in TABLES.values():
        sizes = [row.tokens for row in rows]
        assert sizes == sorted(sizes) and sizes[-1] == float("inf")
        for before, row in itertools.pairwise(rows):
            assert row.tokens > before.tokens or row.least > before.least


@pytest.mark.parametrize(("task", "level"), EACH_TABLE, ids=lambda one: getattr(one, "name", one))
def test_what_is_chosen_makes_valid_configurations_for_every_size_and_time(task, level):
    names = {one.name for kind in (ModelConfig, TrainConfig) for one in fields(kind)}
    for size, minutes in itertools.product(SIZES, (None, 0.01, 1.0, 1000.0)):
        given = {} if minutes is None else {"minutes": minutes}
        found = chosen_for(task, level, size, **given)
        assert found.keys() <= names
        network = {name: value for name, value in found.items() if name in {one.name for one in fields(ModelConfig)}}
        ModelConfig(9, task=task.name, bidirectional=task.bidirectional[0], labels=3, target_size=9, **network)
        TrainConfig(**{name: value for name, value in found.items() if name not in network}, **given)
        assert {"hidden_size", "num_layers", "dropout", "batch_size", "seq_length", "learning_rate"} <= found.keys()
        assert minutes is not None or len({"epochs", "max_steps"} & found.keys()) == 1


@pytest.mark.parametrize(("task", "level"), EACH_TABLE, ids=lambda one: getattr(one, "name", one))
def test_a_training_without_a_limit_does_a_bounded_work(task, level):
    for size in SIZES:
        found = chosen_for(task, level, size)
        steps = found.get("max_steps")
        if steps is None:
            steps = found["epochs"] * size.tokens / (found["batch_size"] * found["seq_length"])
        work = steps * _work_of_step(task, size, {"bidirectional": task.bidirectional[0], **found})
        assert work <= 1.01 * _WORK


def test_what_is_given_is_not_chosen():
    size = CorpusSize(10**6, 60)
    found = chosen_for(task_of("lm"), "char", size)
    for name in found:
        given = chosen_for(task_of("lm"), "char", size, **{name: 3})
        assert name not in given
    assert not {"epochs", "max_steps"} & chosen_for(task_of("lm"), "char", size, epochs=2).keys()
    assert not {"epochs", "max_steps"} & chosen_for(task_of("lm"), "char", size, max_steps=2).keys()
    early = before_reading(task_of("classify"), TextConfig(level="word"), 10, {})
    assert early.keys() == {"valid_fraction", "min_count"}
    for name in early:
        assert name not in before_reading(task_of("classify"), TextConfig(level="word"), 10, {name: early[name]})


def test_a_longer_training_has_a_network_that_is_not_smaller():
    size = CorpusSize(10**6, 65)
    found = [chosen_for(task_of("lm"), "char", size, minutes=minutes) for minutes in (0.1, 1, 3, 10)]
    sizes = [one["hidden_size"] * one["num_layers"] for one in found]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


@pytest.mark.parametrize("given", [{}, {"embedding_size": 24}, {"hidden_size": 24}, {"dense": (12,)}])
@pytest.mark.parametrize("task", ["lm", "cloze"])
def test_tied_weights_have_sizes_that_agree(task, given):
    options = {"task": task, "tie_weights": True, "level": "word", "max_steps": 1, **given}
    config = prepare_from(LINES, options).language_model.model.config
    assert config.embedding_size == config.top
    assert all(getattr(config, name) == value for name, value in given.items())


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize(("task", "level"), EACH_TABLE, ids=lambda one: getattr(one, "name", one))
def test_the_work_of_a_step_grows_with_the_weights_of_its_products(task, level, cell):
    """The estimate is that of the weights which the network really has, apart from biases and embeddings."""
    ways = task.bidirectional[0]
    sizes = {"hidden_size": 12, "num_layers": 2, "embedding_size": 0 if task.inputs == "keys" else 8}
    config = ModelConfig(40, cell=cell, task=task.name, bidirectional=ways, labels=5, target_size=30, **sizes)
    shapes = build(config, NumpyBackend()).parameters.shapes
    outputs = {"tokens": 30 if task.translates else 40, "labels": 5, "keys": 38}[task.targets]
    products = sum(
        rows * columns
        for name, (rows, *more) in shapes.items()
        for columns in more[:1]
        if name.endswith(("W", "W_y")) and not (name == "layer0.W" and task.inputs == "keys")
    )
    settings = {**sizes, "cell": cell, "bidirectional": ways, "batch_size": 1, "seq_length": 1}
    one = _work_of_step(task, CorpusSize(1, outputs), settings)
    two = _work_of_step(task, CorpusSize(1, outputs), {**settings, "batch_size": 2})
    if task.body != "last step" and task.inputs == "tokens":
        assert two - one == pytest.approx(products, rel=0.12)


def test_the_settings_of_a_model_repeat_its_training():
    first = prepare_from(LINES, {"seed": 3, "max_steps": 2})
    again = prepare_from(LINES, settings_of(first.language_model))
    assert again.chosen == {}
    assert settings_of(again.language_model) == settings_of(first.language_model)
    for session in (first, again):
        for _ in session.trainer.run():
            pass
    weights = [session.trainer.best_weights() for session in (first, again)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_a_training_takes_over_text_and_network_of_a_model_but_not_how_it_learned():
    text, network = TextConfig(unit="stream"), {"hidden_size": 5, "num_layers": 1, "dropout": 0.3}
    source = prepare(LINES, text, network, TrainConfig(batch_size=3, max_steps=2)).language_model
    taken = inherited(source, "lm")
    assert {"unit": "stream", "hidden_size": 5, "num_layers": 1}.items() <= taken.items()
    assert not {"dropout", "dtype", "batch_size", "max_steps", "seed", "vocabulary_size"} & taken.keys()


@pytest.mark.parametrize("seed", range(3))
def test_the_same_corpus_and_seed_choose_and_learn_the_same(seed):
    sessions = [prepare_from(iter(LINES), {"seed": seed, "max_steps": 2}) for _ in range(2)]
    assert sessions[0].chosen == sessions[1].chosen != {}
    losses = [[progress.train_nats for progress in session.trainer.run()] for session in sessions]
    assert losses[0] == losses[1]
