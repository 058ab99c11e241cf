"""`--dynamic` and `--cache` of score, evaluate and surprisal."""

import math

import numpy as np
import pytest

from charlm.backends import get_backend
from charlm.checkpoint import load
from charlm.cli import signals, ui
from charlm.inference.adaptation import Adapter
from tests import forms
from tests.task_models import saved


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("adaptation"))


@forms.each("command", ["score", "surprisal", "evaluate"])
def test_a_rate_of_zero_prints_the_same_bytes(charlm, trained, command):
    args = (command, trained.stream, trained.sentences, "--format", "jsonl")
    plain, zero = charlm(*args).succeeded(), charlm(*args, "--dynamic", 0).succeeded()
    if command == "evaluate":
        (one,), (other,) = plain.records, zero.records
        assert {**one, "tokens_per_second": 0} == {**other, "tokens_per_second": 0}
    else:
        assert plain.out == zero.out


def test_the_commands_print_what_the_library_finds(charlm, trained):
    flags = ("--dynamic", 0.02, "--dynamic-length", 9, "--cache", 50, "--cache-weight", 0.2, "--cache-flatness", 0.5)
    text = trained.sentences.read_bytes()[:300]
    lm = load(trained.stream, get_backend("cpu")).language_model
    adapter = Adapter(lm, rate=0.02, length=9, cache=50, weight=0.2, flatness=0.5)
    lines = text.decode().removesuffix("\n").split("\n")
    nats = [one.nats for one in adapter.scorer(carry_state=True).score(lines)]

    def records(command, *more):
        return charlm(command, trained.stream, "--format", "jsonl", *flags, *more, stdin=text).succeeded().records

    scored = records("score", "--carry-state", "--log-base", "e")
    assert [-one["lnp"] for one in scored] == pytest.approx(nats, rel=1e-6)
    rows = records("surprisal", "--carry-state")
    assert sum(row["surprisal"] for row in rows) == pytest.approx(sum(nats) / math.log(2.0), rel=1e-6)
    (figures,) = records("evaluate")
    assert figures["nats_per_token"] * figures["tokens"] == pytest.approx(sum(nats), rel=1e-6)


def test_the_adapted_model_is_saved(charlm, trained, tmp_path):
    args = ("score", trained.char, trained.names, "--dynamic", 0.05, "--format", "text", "--save")
    scored = charlm(*args, tmp_path / "new").succeeded()
    before, after = (
        load(path, get_backend("cpu")).language_model for path in (trained.char, tmp_path / "new.safetensors")
    )
    assert not np.array_equal(before.model.parameters.values, after.model.parameters.values)
    assert after.outcome is None and after.history == before.history and after.text == before.text
    charlm("inspect", tmp_path / "new").succeeded()
    charlm(*args, tmp_path / "new").failed(2, "file exists", "--force")
    assert charlm(*args, tmp_path / "new", "--force").succeeded().out == scored.out
    again = load(tmp_path / "new.safetensors", get_backend("cpu")).language_model
    assert np.array_equal(after.model.parameters.values, again.model.parameters.values)
    charlm("evaluate", trained.char, trained.names, "--dynamic", 0, "--save", tmp_path / "same").succeeded()
    assert (tmp_path / "same.safetensors").read_bytes() == trained.char.read_bytes()
    charlm(*args, trained.char, "--force").failed(2, "input is also the output")
    charlm(*args, trained.names, "--force").succeeded()  # its suffix is added
    (trained.folder / "names.txt.safetensors").unlink()


def test_the_model_is_saved_though_the_reader_went_away(charlm, models, tmp_path, monkeypatch):
    def leave(*_):
        raise signals.ClosedPipe

    def saved_by(command, name):
        flags = ("--dynamic", 0.05, "--save", tmp_path / name)
        assert charlm(command, models.lm, *flags, stdin=b"abc\nbca\n").code == 0
        return (tmp_path / f"{name}.safetensors").read_bytes()

    whole = saved_by("score", "whole")
    monkeypatch.setattr(ui.Output, "write", leave)
    assert saved_by("score", "left") == saved_by("surprisal", "left too") == whole


def test_the_first_model_of_a_mixture_adapts(charlm, trained, tmp_path):
    """From its own weights on, whatever the text that the weights of the mixture were found on."""
    flags = ("--dynamic", 0.05, "--cache", 9, "--format", "text")
    args = ("score", trained.char, "--mix", f"{trained.char}=0", *flags)
    stdin = trained.names.read_bytes()[:120]
    alone = charlm("score", trained.char, *flags, stdin=stdin).succeeded().lines
    assert charlm(*args, stdin=stdin).succeeded().lines == alone
    tuned = charlm(
        *("score", trained.char, "--mix", trained.char, "--tune-mix", trained.names, *flags),
        "--save",
        tmp_path / "m",
        stdin=stdin,
    ).succeeded()
    assert "=0.000000; perplexity" in tuned.err and tuned.lines == alone
    charlm("score", trained.char, *flags, "--save", tmp_path / "n", stdin=stdin).succeeded()
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "n.safetensors").read_bytes()


def test_an_explosion_ends_with_5(charlm, trained, tmp_path):
    new = tmp_path / "new"
    result = charlm("score", trained.char, trained.names, "--dynamic", 1e6, "--save", new)
    result.failed(5, "dynamic evaluation diverged", "use a lower --dynamic")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--save", "new"), ("--save without --dynamic", "add --dynamic")),
        (("--cache", 5, "--save", "new"), ("--save without --dynamic",)),
        (("--dynamic", 1, "--force"), ("--force without --save",)),
        (("--dynamic-length", 5), ("--dynamic-length without --dynamic",)),
        (("--cache-weight", 0.1), ("--cache-weight without --cache",)),
        (("--cache-flatness", 0.1), ("--cache-flatness without --cache",)),
        (("--cache", 5, "--cache-weight", 1), ("--cache-weight is 1.0", "0 to 0.999")),
        (("--dynamic", "nan"), ("--dynamic is nan",)),
        (("--dynamic", 1, "--save", "-"), ("--save -: a model cannot go to standard output",)),
        (("--dynamic", 1, "--save", "x.ckpt"), ("suffix of checkpoints",)),
    ],
)
def test_what_is_refused(charlm, models, monkeypatch, tmp_path, args, words):
    monkeypatch.chdir(tmp_path)
    assert charlm("score", models.lm, *args).failed(2, *words).out == b""
    assert not list(tmp_path.iterdir())


def test_other_tasks_are_refused_by_name(charlm, models, tmp_path):
    charlm("score", models.cloze, "--dynamic", 0.1).failed(2, "a --task cloze model cannot adapt", "--task lm")
    charlm("evaluate", models.tag, "--cache", 5).failed(2, "a --task tag model cannot adapt")
    charlm("evaluate", models.lm, "--pairs", "--cache", 5).failed(2, "--pairs with --dynamic or --cache")
    args = ("evaluate", models.lm, "--pairs", "--dynamic", 0)
    charlm(*args, "--save", tmp_path / "new").failed(2, "--pairs with --dynamic or --cache")
