"""Files of the other tasks whose names, sizes, sides and arrays do not fit together are refused, in one line."""

import copy
import json

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.checkpoint import load, save, save_training
from charlm.errors import ModelFileError
from tests.test_checkpoint import not_refused, parts_of, refusal_of, rewrite, rewrite_arrays, set_field, set_key
from tests.test_task_files import TASKS, each_task, trained

OPS = NumpyBackend()


def saved(tmp_path, name):
    path = tmp_path / f"{name}.safetensors"
    save(path, trained(name).language_model)
    return path


def popped(key, part=None):
    def change(ours):
        (ours if part is None else ours[part]).pop(key)

    return change


def relabelled(change):
    """Change the labels of a header; several of them, as the network has no room for others."""

    def run(ours):
        labels = copy.copy(ours["labels"])
        change(labels)
        ours["labels"] = labels

    return run


@pytest.mark.parametrize("name", ["tag", "tag-causal", "yes-no", "classify", "genre", "conditioned"])
def test_labels_that_do_not_fit_are_refused(tmp_path, name):
    path = saved(tmp_path, name)
    changes = {
        "missing": popped("labels"),
        "none": set_key("labels", []),
        "null": set_key("labels", None),
        "a number": set_key("labels", 2),
        "one fewer": relabelled(lambda labels: labels.pop()),
        "one more": relabelled(lambda labels: labels.append("zebra")),
        "doubled": relabelled(lambda labels: labels.__setitem__(1, labels[0])),
        "empty": relabelled(lambda labels: labels.__setitem__(0, "")),
        "no text": relabelled(lambda labels: labels.__setitem__(0, 5)),
        "a list": relabelled(lambda labels: labels.__setitem__(0, ["x"])),
        "more of the network": set_field("model", "labels", 4),
        "none of the network": set_field("model", "labels", 0),
        "the network's missing": popped("labels", "model"),
        "the network's no number": set_field("model", "labels", "2"),
        "the network's huge": set_field("model", "labels", 1 << 60),
    }
    assert not not_refused(path, changes)


@pytest.mark.parametrize("name", ["tag", "classify", "conditioned"])
@pytest.mark.parametrize("form", ["text", "object"])
def test_labels_that_are_no_list_are_refused(tmp_path, name, form):
    """A text of as many letters as there are labels, or an object of as many keys, is none."""
    path = saved(tmp_path, name)

    def change(ours):
        letters = "abc"[: len(ours["labels"])]
        ours["labels"] = letters if form == "text" else dict.fromkeys(letters, 1)

    assert not not_refused(path, {form: change})


@pytest.mark.parametrize("name", ["translate", "translate-tied"])
def test_a_target_vocabulary_that_does_not_fit_is_refused(tmp_path, name):
    path = saved(tmp_path, name)
    changes = {
        "missing": popped("target_vocabulary"),
        "none": set_key("target_vocabulary", []),
        "null": set_key("target_vocabulary", None),
        "a number": set_key("target_vocabulary", 3),
        "one fewer": lambda ours: ours["target_vocabulary"].pop() and None,
        "one more": lambda ours: ours["target_vocabulary"].append("zebra"),
        "doubled": lambda ours: ours["target_vocabulary"].__setitem__(-1, "<UNK>"),
        "turned around": lambda ours: ours["target_vocabulary"].reverse(),
        "no text": lambda ours: ours["target_vocabulary"].__setitem__(-1, 5),
        "another size": set_field("model", "target_size", 9),
        "no size": popped("target_size", "model"),
        "size 0": set_field("model", "target_size", 0),
    }
    assert not not_refused(path, changes)


def test_names_of_another_task_are_refused(tmp_path):
    changes = {
        "labels of a cloze": set_key("labels", ["x"]),
        "a target of a cloze": set_key("target_vocabulary", ["<EOS>", "<UNK>", "a"]),
    }
    assert not not_refused(saved(tmp_path, "cloze"), changes)


@each_task
def test_a_task_that_is_not_the_networks_is_refused(tmp_path, name):
    path = saved(tmp_path, name)
    own = TASKS[name][1]["task"]
    others = [task for task in ("lm", "cloze", "tag", "classify", "translate", "music") if task != own]
    changes = {f"task {other}": set_key("task", other) for other in others}
    changes |= {f"network of {other}": set_field("model", "task", other) for other in [*others, "zebra", None, 3]}
    if own != "lm":
        changes["the network's missing"] = popped("task", "model")
    assert not not_refused(path, changes)
    rewrite(path, set_key("task", others[0]))
    assert "task" in refusal_of(path)


def test_a_task_of_the_future_asks_for_an_upgrade(tmp_path):
    path = saved(tmp_path, "tag")
    for task in ("summarise", None, ["tag"], 3):
        rewrite(path, set_key("task", task))
        assert "is newer" in refusal_of(path)


@pytest.mark.parametrize("name", ["cloze", "tag", "tag-causal", "classify", "translate", "music"])
def test_a_direction_that_its_arrays_are_not_of_is_refused(tmp_path, name):
    path = saved(tmp_path, name)
    own = json.loads(parts_of(path)[0]["__metadata__"]["charlm"])["model"]["bidirectional"]
    assert own == (name in ("cloze", "tag", "classify"))
    changes = {str(value): set_field("model", "bidirectional", value) for value in (not own, 2, None)}
    if own:
        changes["missing"] = popped("bidirectional", "model")
    assert not not_refused(path, changes)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("cloze", "towers.from_right.layer1.W"),
        ("tag", "layer1.from_right.W"),
        ("translate", "encoder.layer0.W"),
        ("translate", "encoder.input.E"),
        ("yes-no", "head.W_y"),
    ],
)
def test_an_array_of_one_side_that_does_not_fit_is_named(tmp_path, name, array):
    path = saved(tmp_path, name)
    raw = path.read_bytes()
    for damage in (
        lambda arrays: arrays.pop(array),
        lambda arrays: arrays.update({array: arrays[array][:-1].copy()}),
        lambda arrays: arrays[array].__setitem__((0, 0), np.nan),
        lambda arrays: arrays.update({f"{array}x": arrays[array]}),
    ):
        path.write_bytes(raw)
        rewrite_arrays(path, damage)
        assert array in refusal_of(path)


@pytest.mark.parametrize("name", ["cloze", "tag", "translate"])
def test_a_checkpoint_without_a_carried_state_has_none(tmp_path, name):
    session = trained(name)
    save_training(tmp_path / "c", session.language_model, session.trainer.state(), corpus="c0ffee")
    rewrite_arrays(tmp_path / "c", lambda arrays: arrays.update({"state/0": np.zeros((3, 2), np.float32)}))
    with pytest.raises(ModelFileError, match="state/0"):
        load(tmp_path / "c", OPS)
