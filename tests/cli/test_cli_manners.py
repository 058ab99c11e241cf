"""Models named without their suffix, the help and its groups, flags before the command, choices in any case."""

import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import charlm as package
from charlm import checkpoint
from charlm.cli import group
from charlm.cli.commands import COMMANDS
from charlm.cli.group import Subcommands
from charlm.cli.options import open_model
from charlm.errors import UsageError
from tests.task_models import task_model

NAMES = [name for one in COMMANDS.values() for name in one]
SMALL = ("--hidden-size", 8, "--num-layers", 1, "--max-steps", 5, "--seed", 1)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of models, which is the current one, and the names of its models without their suffix."""
    monkeypatch.chdir(tmp_path)
    for kind in ("lm", "genre", "classify"):
        checkpoint.save(tmp_path / f"{kind}.safetensors", task_model(kind))
    (tmp_path / "abc.txt").write_text("abc\nca\nbca\n" * 20)
    return SimpleNamespace(folder=tmp_path, lm=tmp_path / "lm.safetensors")


# ---- models without suffix


@pytest.mark.parametrize("command", ["score", "evaluate", "inspect"])
def test_a_model_is_named_without_its_suffix(charlm, models, command):
    texts = [] if command == "inspect" else ["abc.txt"]
    short, whole = (charlm(command, name, *texts).succeeded().text for name in ("lm", "lm.safetensors"))
    assert [line for line in short.splitlines() if "second" not in line] == [
        line for line in whole.splitlines() if "second" not in line
    ]
    assert (charlm(command, models.folder / "lm", *texts).succeeded().text == whole) or command == "evaluate"


def test_a_file_of_the_exact_name_comes_first(charlm, models):
    shutil.copy("genre.safetensors", "lm")
    assert "music" in charlm("inspect", "lm").succeeded().text
    (models.folder / "lm").write_text("text")
    charlm("inspect", "lm").failed(4, "not a model file, lm:")


def test_a_folder_does_not_hide_a_model(charlm, models):
    (models.folder / "lm").mkdir()
    (models.folder / "other").mkdir()
    assert "task           lm" in charlm("inspect", "lm").succeeded().text
    charlm("inspect", "other").failed(4, "model file is a directory, other")


def test_the_error_for_a_missing_model_has_both_names(charlm, models):
    charlm("generate", "no").failed(4, "no such file, no or no.safetensors", "charlm train")
    result = charlm("generate", "no.safetensors").failed(4, "no such file, no.safetensors")
    assert "no.safetensors.safetensors" not in result.err
    charlm("train", "abc.txt", "-o", "new", "--init-from", "no", *SMALL).failed(4, "no or no.safetensors")
    charlm("train", "abc.txt", "-o", "new", "--like", "no", *SMALL).failed(4, "no or no.safetensors")


def test_training_begins_with_a_model_without_suffix(charlm, models):
    charlm("train", "abc.txt", "-o", "one", *SMALL, "-q").succeeded()
    for flag in ("--init-from", "--like"):
        charlm("train", "abc.txt", "-o", "two", flag, "one", *SMALL, "--force", "-q").succeeded()
    assert charlm("inspect", "one", "two", "--format", "jsonl").succeeded().records[1]["model"] == "two"


def test_the_value_of_an_option_is_told_from_a_model(charlm, models):
    for flag in ("--plot", "--gradients"):
        assert charlm("inspect", flag, "abc.txt").failed(2)
    charlm("inspect", "--plot", "lm").succeeded()
    shutil.copy("lm.safetensors", "lm.v2.safetensors")
    charlm("inspect", "--plot", "lm.v2").succeeded()
    assert "half-life" in charlm("inspect", "lm", "--gradients", "abc.txt", "--longest", 2).succeeded().text


def test_a_model_without_suffix_is_not_overwritten_by_output(models, monkeypatch):
    with models.lm.open("ab") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(UsageError, match=r"input is also the output, lm\.safetensors"):
            open_model(Path("lm"), "cpu")


def test_the_library_takes_names_without_suffix(models):
    assert package.load("lm").task == "lm"


# ---- help


def test_every_command_begins_with_its_summary_in_the_list():
    commands = Subcommands()
    for name, summary in group._SUMMARIES.items():
        assert commands[name].help.partition("\n")[0] == summary
        assert len(summary) <= 45


def test_the_list_of_commands_has_groups(charlm):
    lines = charlm("--help").succeeded().lines
    for heading, summaries in COMMANDS.items():
        start = lines.index(f"{heading}:") + 1
        assert [line.split(maxsplit=1) for line in lines[start : start + len(summaries)]] == list(
            map(list, summaries.items())
        )


@pytest.mark.parametrize("command", ["generate", "train"])
def test_help_is_a_command_too(charlm, command):
    assert charlm("help", command).succeeded().out == charlm(command, "--help").out
    assert charlm("-q", "help", command).succeeded().out == charlm(command, "--help").out


def test_help_of_all_is_a_command_too(charlm):
    assert charlm("help").succeeded().out == charlm("--help").out == charlm().out
    charlm("help", "genrate").failed(2, "'generate'", "charlm --help")
    charlm("help", "train", "score").failed(2)


@pytest.mark.parametrize("name", ["train", "tune"])
def test_all_options_of_a_training_have_a_group(charlm, name):
    help_text = charlm(name, "--help").succeeded().text
    assert "\nOptions:\n" not in help_text
    headings = [line for line in help_text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments:", *(f"{one}:" for one in HEADINGS), "Global options:"]


HEADINGS = ("Files", "Text", "Network", "Regularisation", "Training", "How long", "Held out", "Reports", "Machine")


def test_every_name_in_a_group_is_an_option():
    """A renamed option would fall out of its group."""
    commands = Subcommands()
    used = {one.name for name in NAMES for one in commands[name].params}
    grouped = {name for command in ("train", "score") for names in commands[command].groups.values() for name in names}
    assert grouped <= used


def test_the_text_of_an_option(charlm):
    train = " ".join(charlm("train", "--help").text.split())
    assert "--cell CELL Recurrent unit. [values: rnn, gru-simple, gru, lstm, lstm-peephole] [default: lstm]" in train
    assert "--seeds N Train with N seeds, and keep the best. [2 to 1,000]" in train
    assert "--keep-checkpoint / --no-checkpoint Keep" in train
    assert "-o, --output FILE Model file to write. [required]" in train
    assert "--hidden-size N Hidden units per layer. [default: from the corpus]" in train
    score = " ".join(charlm("score", "--help").text.split())
    assert "kenlm, srilm: their formats. [default: tsv; at a terminal: a table]" in score
    assert "--embedding-size N Size of token embeddings; 0: one-hot tokens. [default: 0]" in " ".join(
        charlm("bench", "--help").text.split()
    )


# ---- flags and choices


def test_global_flags_before_the_command_have_an_effect(charlm, models):
    def trained(*flags):
        return charlm(*flags, "train", "abc.txt", "-o", "new", "--force", *SMALL).succeeded().err

    assert "wrote" in trained()
    assert "wrote" not in trained("-q")
    assert "Traceback" in charlm("--debug", "inspect", "no").err
    assert "Traceback" in charlm("--no-color", "--debug", "inspect", "no").err
    charlm("--version", "-q").succeeded()
    charlm("-x", "score").failed(2, "-x", "charlm --help")


def test_choices_in_any_case(charlm, models):
    charlm("train", "abc.txt", "-o", "a", "--cell", "LSTM", "--level", "Char", *SMALL, "-q").succeeded()
    (models.folder / "settings.toml").write_text('cell = "LSTM"\n')
    charlm("train", "abc.txt", "-o", "b", "--config", "settings.toml", *SMALL, "-q").succeeded()
    assert (models.folder / "a.safetensors").read_bytes()[-64:] == (models.folder / "b.safetensors").read_bytes()[-64:]
    assert charlm("inspect", "lm", "--format", "JSONL").succeeded().records
    charlm("inspect", "lm", "--format", "jsonlines").failed(2, "'jsonl'")


# ---- labels


@pytest.mark.parametrize(("label", "meant"), [("waltzz", "waltz"), ("JIG", "jig"), ("polka", "")])
def test_a_class_that_was_meant(charlm, models, label, meant):
    result = charlm("generate", "genre", "--class", label).failed(2, repr(label), "--class: jig, waltz")
    assert (f"did you mean {meant}?" in result.err) == bool(meant)


def test_a_label_of_a_corpus_that_was_meant(charlm, models):
    (models.folder / "wrong.tsv").write_text("good\tabc\nGodo\tca\n")
    charlm("evaluate", "classify", "wrong.tsv").failed(3, "'Godo'", "did you mean good?", "charlm inspect")


def test_the_same_choices_stand_in_the_same_order():
    """`typing` keeps one of two equal unions: which one, and so the order in a help text, depends on the imports."""
    orders = {}
    for path in sorted((Path(__file__).parents[2] / "charlm").rglob("*.py")):
        for found in re.findall(r"Literal\[([^\]]*)\]", path.read_text()):
            choices = tuple(re.findall(r'"([^"]*)"', found))
            assert orders.setdefault(frozenset(choices), choices) == choices, path
    assert len(orders) > 10
