"""The options of published recipes, and recipes by name."""

import shlex
import tomllib

import pytest

from charlm import load
from charlm.cli.config_file import recipes
from tests import forms
from tests.cli.test_cli_resume import text_of

SMALL = ("--hidden-size", 4, "--batch-size", 4, "--max-steps", 3, "--threads", 1, "--seed", 1)
EVERY = (
    *("--embedding-size", 4, "--dropout", 0.2, "--dropout-kind", "variational", "--embedding-dropout", 0.1),
    *("--weight-drop", 0.3, "--activation-penalty", 2, "--temporal-penalty", 1, "--weight-decay", 0.01),
    *("--average", 0.5, "--optimizer", "sgd", "--momentum", 0.9, "--schedule", "step", "--decay", 0.9),
    *("--decay-from", 2, "--warmup", 2, "--clip-value", 0.1, "--accumulate", 2, "--init-scale", 0.1),
    *("--weight-noise", 0.01),
)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(text_of(40))
    return path


def settings(path):
    lm = load(path)
    return lm.text, lm.model.config, lm.train


@forms.each("name", recipes(), thinned=3)
def test_a_recipe_is_named_and_flags_win(charlm, corpus, tmp_path, name):
    written = tomllib.loads(recipes()[name].read_text())
    tied = ("--embedding-size", 4) if "tie-weights" in written else ()
    if written.get("task") == "tag":
        corpus.write_text("Ann\tB-PER\nsaw\tO\nRome\tB-LOC\n\n" * 40)
    charlm("train", corpus, "-o", tmp_path / "m", "--force", "--config", name, *SMALL, *tied).succeeded()
    text, network, learning = settings(tmp_path / "m.safetensors")
    assert (network.hidden_size, learning.batch_size, learning.epochs, learning.minutes) == (4, 4, None, None)
    assert (text.level, text.unit) == (written["level"], written["unit"])
    assert network.num_layers == written["num-layers"] and network.weight_drop == written.get("weight-drop", 0.0)
    assert (learning.optimizer, learning.learning_rate) == (written["optimizer"], written["lr"])


def test_every_recipe_names_its_source_and_what_differs():
    for path in recipes().values():
        comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert len(comments) >= 3
    assert {"zaremba-small", "zaremba-medium", "char-rnn", "awd-lstm", "lample-2016"} <= set(recipes())


def test_a_name_that_is_neither_lists_the_recipes(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "m", "--config", "zaremba").failed(2, "zaremba", "zaremba-small")


def test_a_file_of_the_same_name_wins(charlm, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "char-rnn").write_text("hidden-size = 3\nmax-steps = 2\n")
    charlm("train", corpus, "-o", tmp_path / "m", "--config", "char-rnn", "--threads", 1).succeeded()
    assert settings(tmp_path / "m.safetensors")[1].hidden_size == 3


def test_inspect_and_like_know_every_option(charlm, corpus, tmp_path):
    first, like, again = (tmp_path / f"{name}.safetensors" for name in ("first", "like", "again"))
    charlm("train", corpus, "-o", first, *SMALL, *EVERY).succeeded()
    charlm("train", corpus, "-o", like, "--like", first, "--threads", 1).succeeded()
    assert settings(like) == settings(first)
    (command,) = charlm("inspect", first, "--command").succeeded().lines
    words = shlex.split(command)
    assert {word for word in EVERY if str(word).startswith("--")} <= set(words) and "--beta1" not in words
    words[words.index("-o") + 1] = str(again)
    charlm(*words[1:], "--threads", 1).succeeded()
    assert again.read_bytes() == first.read_bytes()
    shown = charlm("inspect", first).succeeded().text
    expected = ("variational dropout 0.2", "weight drop 0.3", "temporal penalty 1", "average 0.5", "weight noise 0.01")
    assert [word for word in expected if word not in shown] == []


def test_a_command_leaves_out_what_no_recipe_has_set(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "m", *SMALL).succeeded()
    (command,) = charlm("inspect", tmp_path / "m.safetensors", "--command").succeeded().lines
    assert not {"--weight-decay", "--decay", "--momentum", "--init-scale"} & set(command.split())


def test_a_resumed_training_has_the_options_of_its_checkpoint(charlm, corpus, tmp_path):
    flags = ("--keep-checkpoint", *SMALL, *EVERY)
    charlm("train", corpus, "-o", tmp_path / "m", *flags).succeeded()
    more = ("--resume", "--max-steps", 6, "--threads", 1)
    charlm("train", corpus, "-o", tmp_path / "m", *more, "--average", 0.4).failed(2, "--average", "0.4", "0.5")
    result = charlm("train", corpus, "-o", tmp_path / "m", *more, "--average", 0.5).succeeded()
    assert "falls with the epochs as before" in result.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--momentum", 0.9), ("--momentum", "--optimizer adam", "--optimizer sgd")),
        (("--beta1", 0.8, "--optimizer", "rmsprop"), ("--beta1", "--optimizer rmsprop", "--optimizer adam")),
        (("--decay", 0.9), ("--decay", "--schedule cosine", "--schedule step")),
        (("--embedding-dropout", 0.1, "--embedding-size", 0), ("--embedding-dropout", "--embedding-size")),
        (("--activation-penalty", 1, "--shards", 2), ("--shards", "--activation-penalty")),
        (("--average", 1.5), ("--average", "0 to 1")),
        (("--accumulate", 0), ("--accumulate",)),
        (("--weight-drop", 1), ("--weight-drop", "0.95")),
        (("--weight-noise", -0.1), ("--weight-noise",)),
    ],
)
def test_options_that_have_no_effect_or_no_sense_are_refused(charlm, corpus, tmp_path, flags, words):
    charlm("train", corpus, "-o", tmp_path / "m", *SMALL, *flags).failed(2, *words)
