"""A training of any task that is stopped and resumed ends in the bits of an uninterrupted one."""

import numpy as np
import pytest

from charlm import checkpoint
from charlm.config import TextConfig, TrainConfig
from charlm.session import prepare, resume
from tests.trainings import assert_equal_fields, assert_same, differing, result, through_file

pytestmark = pytest.mark.usefixtures("each_core")
WORD = TextConfig(level="word", split="whitespace")
STEPS = 14
rng = np.random.default_rng(1)


def words(letters="abcde"):
    return " ".join(rng.choice(list(letters), rng.integers(1, 6)))


def steps():
    return " ".join(str(key) for key in rng.integers(60, 65, rng.integers(1, 7)))


CORPORA = {
    "cloze": [words() for _ in range(20)] + ["", ""],
    "tag": [line for _ in range(16) for line in (*(f"{c}\t{c in 'ab'}" for c in words().split()), "")],
    "yes-no": [line for _ in range(16) for line in (*(f"{c}\t{int(c in 'ab')}" for c in words().split()), "")],
    "classify": [f"{rng.choice(['x', 'y', 'z'])}\t{words()}" for _ in range(24)],
    "translate": [f"{words()}\t{words('uvw')}" for _ in range(24)],
    "music": [steps() for _ in range(16)],
    "genre": [f"{rng.choice(['p', 'q'])}\t{steps()}" for _ in range(16)],
    "conditioned": [f"{rng.choice(['x', 'y'])}\t{words()}" for _ in range(20)],
    "crf": [
        line for _ in range(16) for line in (*(f"{c}\t{'B-X' if c in 'ab' else 'O'}" for c in words().split()), "")
    ],
}
CORPORA["spelled"] = CORPORA["tag"]
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in ("crf", "spelled") else name for name in CORPORA]
OPTIONS = {
    "cloze": {"embedding_size": 4},
    "tag": {"embedding_size": 3, "cell": "lstm-peephole"},
    "yes-no": {"cell": "gru", "bidirectional": False},
    "crf": {"embedding_size": 3, "crf": True},
    "spelled": {"embedding_size": 3, "char_features": 2, "embedding_dropout": 0.2},
    "translate": {"embedding_size": 4, "tie_weights": True},
    "music": {"cell": "gru"},
    "conditioned": {"embedding_size": 4, "tie_weights": True},
}


def session_of(name, **options):
    task = {"yes-no": "tag", "crf": "tag", "spelled": "tag", "genre": "music", "conditioned": "lm"}.get(name, name)
    network = {"task": task, "hidden_size": 4, "num_layers": 2, "dropout": 0.3, **OPTIONS.get(name, {})}
    base = {"seq_length": 6, "batch_size": 3, "max_steps": STEPS, "learning_rate": 0.02, "valid_fraction": 0.2}
    config = TrainConfig(**{**base, "seed": 4, **options})
    return prepare(CORPORA[name], WORD, network, config, conditioned=name in ("genre", "conditioned"))


def go_on(session, count=STEPS):
    return [progress for _, progress in zip(range(count), session.trainer.run(), strict=False)]


@pytest.mark.thinned(6)
@pytest.mark.parametrize("name", NAMES)
def test_resumed_from_a_file_ends_where_uninterrupted_ends(tmp_path, name):
    whole = session_of(name)
    reported = go_on(whole)
    epoch = whole.trainer.train.steps(0)
    assert len(reported) == STEPS > epoch + 1 > 2
    for stop in sorted({1, epoch, epoch + 1}):
        first = session_of(name)
        before = go_on(first, stop)
        second = resume(through_file(first, tmp_path / "c"), CORPORA[name], None, {})
        assert second.trainer.step == stop
        assert before + go_on(second) == reported, stop
        assert_same(result(second.trainer), result(whole.trainer))
        assert (second.batch_size, second.seq_length) == (whole.batch_size, whole.seq_length)
        for part in ("train", "valid"):
            assert_equal_fields(getattr(second, part), getattr(whole, part))
    for file, session in (("one", whole), ("other", second)):
        checkpoint.save(tmp_path / file, session.language_model, weights=session.trainer.best_weights())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_learns_the_same_and_another_one_something_else(name):
    """The comparison above depends on the shuffling, the dropout masks and the first weights."""
    results = []
    for seed in (4, 4, 5):
        session = session_of(name, seed=seed, valid_fraction=0.0)
        first = result(session.trainer)[1]
        go_on(session, 3)
        results.append(result(session.trainer)[1])
        learned = {key for key in first if key.startswith("weights/")}
        assert learned <= set(differing(first, {key: results[-1][key] for key in first}))  # each array of them
    assert not differing(*results[:2])
    assert "weights/head.b_y" in differing(*results[1:])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_learned(name):
    """The training loss falls clearly below that of the first step."""
    session = session_of(name, max_steps=60, seed=2, valid_fraction=0.0, schedule="constant")
    reported = go_on(session, 60)
    assert reported[-1].train_nats < 0.9 * reported[0].train_nats


def test_a_resumed_training_has_its_held_out_file(tmp_path):
    """It is read with the labels of the model."""
    valid = CORPORA["classify"][:6]
    network = {"task": "classify", "hidden_size": 3, "num_layers": 1}
    config = TrainConfig(max_steps=6, batch_size=3, seq_length=6)
    sessions = [prepare(CORPORA["classify"], WORD, network, config, valid_lines=valid) for _ in range(2)]
    reported, before = go_on(sessions[0]), go_on(sessions[1], 3)
    second = resume(through_file(sessions[1], tmp_path / "c"), CORPORA["classify"], valid, {})
    assert before + go_on(second) == reported
    assert any(progress.valid_nats is not None for progress in reported)
    assert not differing(result(second.trainer)[1], result(sessions[0].trainer)[1])
