"""`charlm inspect --command`, `charlm train --like` and `--config`: settings that go from one training to another."""

import shlex

import pytest

from charlm import load, save, train
from tests.cli.shell import files_of
from tests.cli.test_cli_resume import text_of
from tests.task_models import TEXTS, TRAINING

TINY = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 4, "--max-steps", 4, "--threads", 1)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "it's a corpus.txt"
    path.write_text(text_of(60))
    return path


def command_of(charlm, model):
    (line,) = charlm("inspect", model, "--command").succeeded().lines
    return line


def settings(model):
    lm = load(model)
    return lm.text, lm.model.config, lm.train


# ---- inspect --command


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", TRAINING)
def test_the_command_repeats_the_training_of_each_task(charlm, tmp_path, kind):
    corpus, model, again = tmp_path / "corpus", tmp_path / "m.safetensors", tmp_path / "again.safetensors"
    corpus.write_text(TEXTS[kind] * 8)
    charlm("train", corpus, "-o", model, *TINY, *TRAINING[kind]).succeeded()
    words = shlex.split(command_of(charlm, model))
    assert words[:3] == ["charlm", "train", str(corpus)]
    words[words.index("-o") + 1] = str(again)
    charlm(*words[1:], "--threads", 1).succeeded()
    assert again.read_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    "flags",
    [
        ("--dense", 5, "--dense", 4, "--cell", "gru", "--reset", "before", "--dropout", 0.2, "--lowercase"),
        ("--level", "word", "--tie-weights", "--embedding-size", 8, "--vocab-size", 20, "--min-count", 1),
        ("--unit", "stream", "--schedule", "plateau", "--patience", 2, "--clip", 0.5, "--epochs", 1),
        ("--task", "classify", "--causal"),
        ("--valid-fraction", 0.3, "--normalize", "none", "--dtype", "float64"),
    ],
)
def test_it_has_every_setting_and_quoted_names(charlm, corpus, tmp_path, flags):
    if "classify" in flags:
        corpus.write_text(TEXTS["classify"] * 8)
    model, again = tmp_path / "-a model.safetensors", tmp_path / "b.safetensors"
    charlm("train", corpus, "-o", model, *TINY, *flags).succeeded()
    words = shlex.split(command_of(charlm, model))
    words[words.index("-o") + 1] = str(again)
    charlm(*words[1:], "--threads", 1).succeeded()
    assert again.read_bytes() == model.read_bytes()


def test_a_held_out_file_and_another_model_are_named(charlm, corpus, tmp_path):
    held_out, first, model, again = (tmp_path / name for name in ("held out", "first", "m", "again"))
    held_out.write_text(text_of(5))
    charlm("train", corpus, "-o", first, *TINY, "--seed", 4).succeeded()
    flags = ("--valid", held_out, "--init-from", f"{first}.safetensors")
    charlm("train", corpus, "-o", model, *TINY, *flags).succeeded()
    words = shlex.split(command_of(charlm, f"{model}.safetensors"))
    words[words.index("-o") + 1] = str(again)
    charlm(*words[1:], "--threads", 1).succeeded()
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_minutes_become_steps(charlm, corpus, tmp_path):
    flags = ("--hidden-size", 8, "--num-layers", 1, "--minutes", 0.005, "--threads", 1)
    said = charlm("train", corpus, "-o", tmp_path / "m", *flags).succeeded().err
    steps = said.partition("--max-steps ")[2].split()[0]
    command = command_of(charlm, tmp_path / "m.safetensors")
    assert f"--max-steps {steps}" in command and "--minutes" not in command


def test_a_model_that_does_not_know_its_corpus_says_so(charlm, tmp_path):
    save(train(["abab", "baba"] * 9, hidden_size=4, num_layers=1, max_steps=2), tmp_path / "m.safetensors")
    assert command_of(charlm, tmp_path / "m.safetensors").startswith("charlm train CORPUS -o ")


def test_several_models_as_records(charlm, corpus, tmp_path):
    for name in "ab":
        charlm("train", corpus, "-o", tmp_path / name, *TINY).succeeded()
    models = [tmp_path / f"{name}.safetensors" for name in "ab"]
    records = charlm("inspect", *models, "--command", "--format", "jsonl").succeeded().records
    assert [record["model"] for record in records] == list(map(str, models))
    assert [record["command"] for record in records] == [command_of(charlm, model) for model in models]


# ---- train --like


def test_like_takes_every_setting_and_flags_win(charlm, corpus, tmp_path):
    first, like, other = (tmp_path / f"{name}.safetensors" for name in ("first", "like", "other"))
    flags = ("--cell", "gru", "--dense", 5, "--lowercase", "--epochs", 1, "--lr", 0.01, "--seed", 5)
    charlm("train", corpus, "-o", first, *TINY[:-4], *flags).succeeded()
    charlm("train", corpus, "-o", like, "--like", first, "--threads", 1).succeeded()
    assert settings(like) == settings(first)
    flags = ("--hidden-size", 6, "--max-steps", 3, "--epochs", 9)
    charlm("train", corpus, "-o", other, "--like", first, *flags).succeeded()
    text, network, learning = settings(other)
    assert (network.hidden_size, network.cell, network.dense) == (6, "gru", (5,))
    assert (learning.max_steps, learning.epochs, learning.learning_rate, learning.seed) == (3, 9, 0.01, 5)
    assert text.lowercase


def test_like_a_conditioned_model_and_a_tagger(charlm, corpus, tmp_path):
    for kind in ("conditioned", "tag"):
        corpus.write_text(TEXTS[kind] * 8)
        first, like = tmp_path / f"{kind}.safetensors", tmp_path / f"{kind} like.safetensors"
        charlm("train", corpus, "-o", first, *TINY, *TRAINING[kind]).succeeded()
        charlm("train", corpus, "-o", like, "--like", first, "--threads", 1).succeeded()
        assert settings(like) == settings(first) and load(like).is_conditioned == load(first).is_conditioned


def test_the_names_of_its_files_are_not_taken(charlm, corpus, tmp_path):
    held_out = tmp_path / "held out"
    held_out.write_text(text_of(5))
    charlm("train", corpus, "-o", tmp_path / "a", *TINY, "--valid", held_out).succeeded()
    charlm("train", corpus, "-o", tmp_path / "b", "--like", tmp_path / "a.safetensors").succeeded()
    assert load(tmp_path / "b.safetensors").train.valid is None


def test_like_with_resume_and_like_what_is_no_model_are_refused(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "m", "--like", corpus, "--resume").failed(2, "--like", "--resume")
    charlm("train", corpus, "-o", tmp_path / "m", "--like", corpus).failed(4, corpus.name)
    assert set(files_of(tmp_path)) == {corpus.name}


# ---- train --config


def test_a_file_has_options_and_flags_win(charlm, corpus, tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(
        'hidden-size = 8\nnum_layers = 1\ncell = "gru"\ndense = [5, 4]\nlowercase = true\nlr = 1e-2\nseed = 3\n'
    )
    charlm("train", corpus, "-o", tmp_path / "m", "--config", file, "--max-steps", 3, "--cell", "rnn").succeeded()
    text, network, learning = settings(tmp_path / "m.safetensors")
    assert (network.hidden_size, network.num_layers, network.cell, network.dense) == (8, 1, "rnn", (5, 4))
    assert (text.lowercase, learning.learning_rate, learning.seed, learning.max_steps) == (True, 0.01, 3, 3)


def test_a_file_wins_over_a_model(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "a", *TINY, "--cell", "gru").succeeded()
    file = tmp_path / "small.toml"
    file.write_text("hidden-size = 6\nepochs = 1\n")
    flags = ("--config", file, "--like", tmp_path / "a.safetensors")
    charlm("train", corpus, "-o", tmp_path / "b", *flags).succeeded()
    _, network, learning = settings(tmp_path / "b.safetensors")
    assert (network.hidden_size, network.cell, learning.epochs, learning.max_steps) == (6, "gru", 1, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hiden-size = 8", ("hiden-size", "hidden-size", "small.toml")),
        ("zzz = 8", ("zzz", "small.toml", "--help")),
        ('hidden-size = "8"', ("hidden-size", "a whole number", "small.toml")),
        ("hidden-size = 8.5", ("hidden-size", "a whole number")),
        ("hidden-size = true", ("hidden-size", "a whole number")),
        ("lr = true", ("lr", "a number")),
        ("lowercase = 1", ("lowercase", "true or false")),
        ("cell = 3", ("cell", "a text")),
        ('cell = "grue"', ("cell", "grue", "small.toml")),
        ("min-count = 0", ("min-count", "small.toml")),
        ("hidden-size = -3", ("--hidden-size", "-3")),
        ("hidden_size = 8\nhidden-size = 8", ("twice", "small.toml")),
        ("hidden-size 8", ("not TOML", "small.toml")),
        ('output = "x"', ("output", "small.toml")),
        ("[model]\nhidden-size = 8", ("model", "small.toml")),
    ],
)
def test_mistakes_in_a_file_are_named_with_their_place(charlm, corpus, tmp_path, content, words):
    file = tmp_path / "small.toml"
    file.write_text(content)
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m", *TINY[4:], "--config", file).failed(2, *words)
    assert files_of(tmp_path) == before


def test_a_missing_file_is_named(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "m", "--config", tmp_path / "none.toml").failed(2, "none.toml")
