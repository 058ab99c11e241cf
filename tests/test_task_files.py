"""The files of every task: what goes in comes out bit for bit; `test_task_damage` has what is refused."""

import json

import numpy as np
import pytest

from charlm.backends import get_backend
from charlm.checkpoint import load, save, save_training
from charlm.config import TextConfig, TrainConfig
from charlm.nn import build as build_module
from charlm.session import prepare
from tests.test_checkpoint import (
    assert_same_model,
    bits,
    parts_of,
    rewrite,
    weights_of,
)
from tests.trainings import assert_equal_fields

OPS = get_backend("cpu")
WORD = TextConfig(level="word", split="whitespace")
TASKS = {  # lines, the fields of the network, whether each line begins with a label
    "cloze": (["ab ba c", "", "b a", "c ab"], {"task": "cloze", "embedding_size": 3}, False),
    "cloze-tied": (
        ["ab ba c", "b a", "c ab"],
        {"task": "cloze", "embedding_size": 4, "dense": (4,), "tie_weights": True},
        False,
    ),
    "tag": (["a\tX", "b\tY", "", "b\tX", "", "c\tX"], {"task": "tag"}, False),
    "tag-causal": (["a\tX", "b\tY", "", "b\tX"], {"task": "tag", "bidirectional": False}, False),
    "yes-no": (["a\t0", "b\t1", "", "b\t0"], {"task": "tag", "cell": "gru"}, False),
    "spelled": (["ab\tX", "ba\tY", "", "b\tX"], {"task": "tag", "embedding_size": 3, "char_features": 2}, False),
    "classify": (["x\ta b", "y\tb a", "é\tc"], {"task": "classify", "dense": (3,)}, False),
    "translate": (["a b\tu", "b\tv u", "c\tw"], {"task": "translate", "embedding_size": 3}, False),
    "translate-tied": (["a b\tu", "b\tv u"], {"task": "translate", "embedding_size": 3, "tie_weights": True}, False),
    "music": (["60 - 62,64", "64", "60 60"], {"task": "music"}, False),
    "genre": (["p\t60 - 62", "q\t64", "p\t5"], {"task": "music"}, True),
    "conditioned": (["x\ta b", "y\tb a", "x\tc"], {"task": "lm", "embedding_size": 3, "tie_weights": True}, True),
}
each_task = pytest.mark.parametrize("name", TASKS)


def trained(name, steps=2, **options):
    """Train a few steps; give the session."""
    lines, network, conditioned = TASKS[name]
    small = {"hidden_size": 3, "num_layers": 2, "dropout": 0.2, **network}
    config = TrainConfig(max_steps=6, seq_length=4, batch_size=2, valid_fraction=0.4, **options)
    session = prepare(lines, WORD, small, config, conditioned=conditioned)
    for _, _ in zip(range(steps), session.trainer.run(), strict=False):
        pass
    return session


def first_batch(session):
    return next(iter(session.trainer.train.epoch(0)))


def nats_of(model, batch):
    return model.nats(batch, model.zero_state(batch.lanes), model.workspace())[0]


@each_task
def test_a_model_comes_back_bit_for_bit_and_computes_the_same(tmp_path, name):
    session = trained(name)
    lm, path = session.language_model, tmp_path / "m.safetensors"
    save(path, lm)
    stored = load(path, OPS).language_model
    assert_same_model(stored, lm)
    assert stored.task == lm.task == TASKS[name][1]["task"]
    assert stored.labels == lm.labels and stored.is_conditioned == lm.is_conditioned == TASKS[name][2]
    targets = [one.codec.target and one.codec.target.vocabulary for one in (stored, lm)]
    assert targets[0] == targets[1] and (targets[0] is not None) == name.startswith("translate")
    assert set(parts_of(path)[0]) - {"__metadata__"} == set(weights_of(lm))
    found = [nats_of(one.model, first_batch(session)) for one in (lm, stored)]
    assert np.array_equal(*found) and found[0].any()
    save(tmp_path / "again", stored)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@each_task
def test_what_came_back_reads_a_corpus_as_before(tmp_path, name):
    """Text to numbers by the names in the file alone."""
    lm = trained(name).language_model
    save(tmp_path / "m", lm)
    stored = load(tmp_path / "m", OPS).language_model
    read = [each.reader.again(TASKS[name][0], each.codec, each.train, 0.4) for each in (lm, stored)]
    for one, other in zip(*read, strict=True):
        assert one.size
        assert_equal_fields(other, one)


@each_task
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, name, optimizer):
    session = trained(name, optimizer=optimizer)
    state = session.trainer.state()
    save_training(tmp_path / "c", session.language_model, state, corpus="c0ffee")
    stored = load(tmp_path / "c", OPS)
    assert_same_model(stored.language_model, session.language_model)
    assert stored.training.numbers == state.numbers
    assert bits(stored.training.arrays) == bits(state.arrays)
    carried = any(key.startswith("state/") for key in state.arrays)
    assert carried == (session.language_model.task in ("lm", "music"))


def test_a_look_up_comes_back(tmp_path, monkeypatch):
    """Of both sides' W_x in one table, and one for each tower."""
    monkeypatch.setattr(build_module, "LARGEST_ONE_HOT", 2)
    for name, tables in (("tag", {"input.E"}), ("translate-plain", {"input.E", "encoder.input.E"}), ("towers", set())):
        monkeypatch.setitem(TASKS, "translate-plain", (TASKS["translate"][0], {"task": "translate"}, False))
        monkeypatch.setitem(TASKS, "towers", (TASKS["cloze"][0], {"task": "cloze"}, False))
        lm = trained(name).language_model
        save(tmp_path / name, lm)
        found = {key for key in parts_of(tmp_path / name)[0] if key.endswith(".E")}
        assert found == (tables or {"towers.from_left.input.E", "towers.from_right.input.E"})
        assert_same_model(load(tmp_path / name, OPS).language_model, lm)


def test_only_what_a_task_has_is_in_its_header(tmp_path):
    for name in TASKS:
        session = trained(name)
        save(tmp_path / name, session.language_model)
        header = json.loads(parts_of(tmp_path / name)[0]["__metadata__"]["charlm"])
        assert header["task"] == header["model"]["task"] == session.language_model.task
        assert header.get("labels", []) == list(session.language_model.labels)
        assert ("labels" in header) == (name not in ("cloze", "cloze-tied", "translate", "translate-tied", "music"))
        assert ("target_vocabulary" in header) == name.startswith("translate")
        if name == "translate":
            assert header["target_vocabulary"] == list(session.language_model.codec.target.vocabulary.tokens)


# --- files of the version before -------------------------------------------------------------------------------------

NEW_FIELDS = {"task": "lm", "bidirectional": False, "labels": 0, "target_size": 0}


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_a_file_of_the_version_before_still_opens(tmp_path, kind):
    """It had none of the fields of tasks."""
    config = TrainConfig(max_steps=4, batch_size=2, valid_fraction=0.4)
    session = prepare(["abab", "bbca", "ab"], TextConfig(), {"hidden_size": 3}, config)
    next(session.trainer.run())
    path, lm = tmp_path / "m", session.language_model
    if kind == "model":
        save(path, lm)
    else:
        save_training(path, lm, session.trainer.state(), corpus="c0ffee")

    def strip(ours):
        for key, value in NEW_FIELDS.items():
            assert ours["model"].pop(key) == value
        assert "labels" not in ours and "target_vocabulary" not in ours

    rewrite(path, strip)
    stored = load(path, OPS)
    assert_same_model(stored.language_model, lm)
    assert (stored.training is None) == (kind == "model")
