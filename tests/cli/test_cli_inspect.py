"""`charlm inspect`: models of every task, several at once, pictures, and how far gradients reach."""

import json
import math
import os
import sys

import numpy as np
import pytest

from charlm import checkpoint, load
from charlm.inference.vanishing import gradient_decay
from tests.task_models import FITTING, KINDS, TASKS, saved, task_model

ROW = {"epoch": 0.5, "train_nats": 3.0, "valid_nats": 3.5, "learning_rate": 0.1}
HISTORY = [{**ROW, "step": 10 * n, "train_nats": 3.0 / n, "valid_nats": 3.5 / n} for n in range(1, 5)]
TEXT = "abcab\nca\n\nbbacca\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    made = saved(folder)
    for cell in ("rnn", "gru", "lstm"):
        lm = task_model("lm", cell=cell, spread=0.8)
        lm.history.extend(HISTORY)
        setattr(made, cell, folder / f"{cell}.safetensors")
        checkpoint.save(getattr(made, cell), lm)
    made.text = folder / "text.txt"
    made.text.write_text(TEXT)
    return made


@pytest.fixture
def drawing():
    return pytest.importorskip("matplotlib")


# ---- the task


@pytest.mark.parametrize("kind", KINDS)
def test_the_task_comes_first_with_what_it_is_for(charlm, models, kind):
    result = charlm("inspect", models.folder / f"{kind}.safetensors").succeeded()
    commands = ", ".join(f"charlm {name}" for name in FITTING[TASKS[kind]])
    assert result.lines[0].split(None, 1) == ["task", f"{TASKS[kind]}, for {commands}"]
    labels = [line.split(":")[1].split() for line in result.lines if line.startswith("labels ")]
    assert labels == ([list(KINDS[kind][1])] if KINDS[kind][1] else [])
    assert any(line.startswith("target ") and "'chat'" in line for line in result.lines) == (kind == "translate")


@pytest.mark.parametrize("kind", KINDS)
def test_records(charlm, models, kind):
    (record,) = charlm("inspect", models.folder / f"{kind}.safetensors", "--format", "jsonl").succeeded().records
    assert set(record) >= {"config", "parameters", "vocabulary_size", "history", "task", "commands", "labels"}
    assert "model" not in record
    lm = models.models[kind]
    assert (record["task"], record["labels"]) == (TASKS[kind], list(KINDS[kind][1]))
    assert record["commands"] == [f"charlm {name}" for name in FITTING[TASKS[kind]]]
    assert record["parameters"] == lm.model.parameters.count
    assert record["parameters"] == sum(math.prod(shape) for shape in record["arrays"].values())
    assert record["vocabulary_size"] == len(lm.tokenizer.vocabulary)


# ---- several models


def test_several_models_are_told_apart(charlm, models):
    alone = [charlm("inspect", path).succeeded().lines for path in (models.gru, models.tag)]
    both = charlm("inspect", models.gru, models.tag).succeeded().lines
    assert both == [f"== {models.gru}", *alone[0], f"== {models.tag}", *alone[1]]
    records = charlm("inspect", models.gru, models.tag, "--format", "jsonl").succeeded().records
    assert [record.pop("model") for record in records] == [str(models.gru), str(models.tag)]
    assert records == [
        charlm("inspect", path, "--format", "jsonl").succeeded().records[0] for path in (models.gru, models.tag)
    ]


def test_one_that_is_no_model_is_refused_before_anything_is_printed(charlm, models):
    assert charlm("inspect", models.gru, models.text).failed(4, str(models.text)).out == b""


# ---- --plot


def test_without_a_file_the_loss_is_drawn_in_characters_wherever_the_flag_stands(charlm, models):
    plain = charlm("inspect", models.gru).succeeded().lines
    after, before, dash = (
        charlm("inspect", *args).succeeded().lines
        for args in ((models.gru, "--plot"), ("--plot", models.gru), ("--plot", "-", models.gru))
    )
    assert after == before == dash
    assert after[: len(plain)] == plain and after[-1].split() == ["·", "train", "o", "valid", "*", "kept"]
    drawn = "".join(line.partition("|")[2] for line in after[len(plain) : -1])
    assert (drawn.count("o"), drawn.count("*")) == (len(HISTORY) - 1, 1) and "-" in drawn


@pytest.mark.thinned(4)
@pytest.mark.parametrize("suffix", [".svg", ".png", ".SVG"])
@pytest.mark.slow
def test_with_a_file_it_is_a_picture_and_the_same_each_time(charlm, models, drawing, tmp_path, suffix):
    plain = charlm("inspect", models.gru).succeeded()
    made = []
    for number, order in enumerate(("after", "before", "joined")):
        path = tmp_path / f"{number}{suffix}"
        flags = ["--plot", path] if order != "joined" else [f"--plot={path}"]
        args = [*flags, models.gru] if order == "before" else [models.gru, *flags]
        result = charlm("inspect", *args).succeeded()
        assert result.out == plain.out and result.err == ""
        made.append(path.read_bytes())
    assert made[0] == made[1] == made[2]
    assert made[0].startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    named = [b"<!-- %s -->" % text for text in (b"gru, 0.875 at step 40", b"train", b"valid", b"kept")]
    assert suffix == ".png" or all(comment in made[0] for comment in named)
    other = tmp_path / f"other{suffix}"
    charlm("inspect", models.lstm, "--plot", other).succeeded()
    assert other.read_bytes() != made[0]


@pytest.mark.slow
def test_a_picture_of_several_models(charlm, models, drawing, tmp_path):
    one, both = tmp_path / "one.svg", tmp_path / "both.svg"
    charlm("inspect", models.gru, "--plot", one).succeeded()
    charlm("inspect", models.gru, models.lstm, "--plot", both).succeeded()
    assert both.stat().st_size > one.stat().st_size


def test_a_model_without_a_history_has_an_empty_picture(charlm, models, drawing, tmp_path):
    result = charlm("inspect", models.tag, "--plot", tmp_path / "x.svg").succeeded()
    assert result.err == "" and (tmp_path / "x.svg").stat().st_size > 0
    assert charlm("inspect", models.tag, "--plot").succeeded().err == ""


def test_a_picture_that_cannot_be_written_is_told_before_the_work(charlm, models, tmp_path):
    result = charlm("inspect", models.gru, f"--plot={tmp_path / 'x.pdf'}").failed(2, "x.pdf", ".svg")
    assert result.out == b""
    assert charlm("inspect", models.gru, "--plot", tmp_path / "no" / "x.svg").failed(6, "x.svg").out == b""


@pytest.mark.parametrize("flags", [(), ("--gradients",)])
def test_without_matplotlib_pictures_are_refused_with_a_hint(charlm, models, tmp_path, monkeypatch, flags):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = charlm("inspect", models.gru, *flags, "--plot", tmp_path / "x.svg", stdin=TEXT.encode())
    result.failed(6, "matplotlib", "pip install", "[plot]")
    assert not (tmp_path / "x.svg").exists()
    charlm("inspect", models.gru, "--plot").succeeded()


# ---- --gradients


def decay_of(path, longest=24):
    return gradient_decay(load(path, device="cpu"), TEXT.split("\n")[:-1], longest=longest)


def table_of(lines):
    """Give the header and the rows of the printed table, k and half-life first."""
    assert lines[0] == "mean norm of dL<t>/da<t-k>"
    end = next(number for number, line in enumerate(lines) if line.split()[0] == "half-life")
    return lines[1].split(), [line.split() for line in lines[2 : end + 1]]


def test_the_norms_are_printed_and_drawn(charlm, models):
    lines = charlm("inspect", models.gru, models.rnn, "--gradients", models.text).succeeded().lines
    header, rows = table_of(lines)
    decays = [decay_of(models.gru), decay_of(models.rnn)]
    assert header == ["k", "gru", "rnn"]
    assert [int(row[0]) for row in rows[:-1]] == list(range(7))
    for column, decay in enumerate(decays, start=1):
        np.testing.assert_allclose([float(row[column]) for row in rows[:-1]], decay.norms, rtol=1e-3)
        assert float(rows[-1][column]) == pytest.approx(decay.half_life, abs=6e-3)
    assert lines[-1].split() == ["a", "gru", "b", "rnn"]
    chart = "".join(line.partition("|")[2] for line in lines[len(rows) + 2 :])
    assert chart.count("a") + chart.count("b") > 8


def test_where_the_text_comes_from(charlm, models):
    given = charlm("inspect", models.gru, "--gradients", models.text).succeeded().out
    for args in (
        (models.gru, "--gradients"),
        ("--gradients", models.gru),
        ("--gradients", "-", models.gru),
        (models.gru, "--gradients", "-"),
        (models.gru, "--gradients=-"),
        (models.gru, "--gradients", "--longest", 24),
    ):
        assert charlm("inspect", *args, stdin=TEXT.encode()).succeeded().out == given
    assert charlm("inspect", "--gradients", models.text, models.gru).succeeded().out == given


def test_gradients_as_records(charlm, models):
    args = ("inspect", models.gru, models.lstm, "--gradients", models.text, "--longest", 3, "--format", "jsonl")
    records = charlm(*args).succeeded().records
    for record, path in zip(records, (models.gru, models.lstm), strict=True):
        decay = decay_of(path, 3)
        assert set(record) == {"model", "gradients", "half_life"}
        assert record["model"] == str(path)
        assert [one["k"] for one in record["gradients"]] == [0, 1, 2, 3]
        assert [one["norm"] for one in record["gradients"]] == pytest.approx(decay.norms.tolist())
        assert record["half_life"] == pytest.approx(decay.half_life)
    (short,) = charlm("inspect", models.gru, "--gradients", "--format", "jsonl", stdin=b"\n").succeeded().records
    assert short["half_life"] is None and len(short["gradients"]) == 1


def test_models_of_the_same_name_are_all_shown(charlm, models, tmp_path):
    other = tmp_path / "gru.safetensors"
    other.write_bytes(models.lstm.read_bytes())
    args = ("inspect", models.gru, other, "--gradients", models.text)
    header, rows = table_of(charlm(*args).succeeded().lines)
    assert [len(row) for row in rows] == [3] * len(rows) and len(header) == 3
    records = charlm(*args, "--format", "jsonl").succeeded().records
    assert [record["model"] for record in records] == [str(models.gru), str(other)]
    assert records[0]["gradients"] != records[1]["gradients"]


def test_a_picture_of_gradients_is_the_same_each_time(charlm, models, drawing, tmp_path):
    args = ("inspect", models.gru, models.rnn, "--gradients", models.text, "--plot")
    printed = [charlm(*args, tmp_path / f"{number}.svg").succeeded().out for number in (1, 2)]
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
    assert printed[0] == printed[1]
    losses = tmp_path / "losses.svg"
    charlm("inspect", models.gru, models.rnn, "--plot", losses).succeeded()
    assert losses.read_bytes() != (tmp_path / "1.svg").read_bytes()


@pytest.mark.parametrize("kind", [kind for kind, task in TASKS.items() if task != "lm"])
def test_gradients_are_of_language_models(charlm, models, kind):
    path = models.folder / f"{kind}.safetensors"
    assert charlm("inspect", path, "--gradients", models.text).failed(2, "--gradients", TASKS[kind]).out == b""


def test_gradients_of_no_text(charlm, models, tmp_path):
    charlm("inspect", models.gru, "--gradients", stdin=b"").failed(3)
    charlm("inspect", models.gru, "--gradients", tmp_path / "none").failed(3, "none")
    charlm("inspect", models.gru, "--gradients", models.text, "--longest", 0).failed(2, "--longest")


def test_a_model_is_needed(charlm, models):
    charlm("inspect", "--plot").failed(2, "MODEL")
    charlm("inspect", "--gradients", models.text).failed(2, "MODEL")
    assert json.loads(charlm("inspect", models.gru, "--format", "jsonl", "--plot").succeeded().text)


# ---- a model named twice, and the tokens


def test_each_name_has_its_record(charlm, models, tmp_path):
    """Twice the same name, the same file by another name, and in another form."""
    (tmp_path / "link.safetensors").symlink_to(models.gru)
    names = [models.gru, models.gru, models.lstm, tmp_path / "link.safetensors", models.gru]
    lines = charlm("inspect", *names).succeeded().lines
    assert [line for line in lines if line.startswith("==")] == [f"== {name}" for name in names]
    records = charlm("inspect", *names, "--format", "jsonl").succeeded().records
    assert [record.pop("model") for record in records] == list(map(str, names))
    assert records[0] == records[1] == records[3] == records[4] != records[2]


def test_gradients_of_a_model_that_is_named_twice(charlm, models):
    names = [models.gru, models.lstm, models.gru]
    header, rows = table_of(charlm("inspect", *names, "--gradients", models.text).succeeded().lines)
    assert " ".join(header) == "k gru lstm gru (2)"
    assert all(len(row) == 4 and row[1] == row[3] for row in rows)
    records = charlm("inspect", *names, "--gradients", models.text, "--format", "jsonl").succeeded().records
    assert [record["model"] for record in records] == list(map(str, names))


@pytest.mark.parametrize("form", ["text", "jsonl"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_of_every_vocabulary(charlm, models, kind, form):
    codec = models.models[kind].codec
    own, target = codec.tokenizer.vocabulary.tokens, codec.target and codec.target.vocabulary.tokens
    result = charlm("inspect", models.folder / f"{kind}.safetensors", "--vocabulary", "--format", form).succeeded()
    if form == "text":
        expected = [f"source\t{t}" for t in own] + [f"target\t{t}" for t in target] if target else list(own)
        assert result.lines == expected
    elif target:
        sides = [("source", token) for token in own] + [("target", token) for token in target]
        assert [(record["vocabulary"], record["token"]) for record in result.records] == sides
    else:
        assert result.records == [{"token": token} for token in own]


def test_the_tokens_of_several_models_are_told_apart(charlm, models):
    names = [str(models.translate), str(models.gru)]
    records = charlm("inspect", *names, "--vocabulary", "--format", "jsonl").succeeded().records
    assert list(dict.fromkeys(record["model"] for record in records)) == names
    (record,) = charlm("inspect", models.translate, "--format", "jsonl").succeeded().records
    counts = [sum(one.get("vocabulary") == side for one in records) for side in ("source", "target")]
    assert counts == [record["vocabulary_size"], record["target_vocabulary_size"]]


# ---- odd names, and what the user's matplotlib is set to


ODD = [b"l\xe9", b"t\tab", "_hidden 日本".encode(), b"$a$", b"a", b"a (2)", b"a (3)"]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("flags", ["--plot p.svg", "--plot p.png", "--gradients t.txt --plot p.svg"])
def test_models_of_any_name_are_drawn(charlm, drawing, models, tmp_path, monkeypatch, flags):
    """Names that are not UTF-8, that are mathematics to matplotlib, or that it hides; whatever the user has set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    monkeypatch.setitem(drawing.rcParams, "text.usetex", True)
    (tmp_path / "t.txt").write_text(TEXT)
    names = [os.fsdecode(name + b".safetensors") for name in ODD]
    for name in names:
        (tmp_path / name).write_bytes(models.gru.read_bytes())
    result = charlm("inspect", *names, names[4], *flags.split(), "-q").succeeded()
    assert result.err == ""
    assert (tmp_path / flags.split()[-1]).stat().st_size > 1000


def test_names_that_are_taken_are_not_given_again(charlm, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text(TEXT)
    for name in ("a", "a (2)"):
        (tmp_path / f"{name}.safetensors").write_bytes(models.gru.read_bytes())
    flags = ("a.safetensors", "a.safetensors", "a (2).safetensors", "--gradients", "t.txt")
    assert len(charlm("inspect", *flags, "--format", "jsonl").succeeded().records) == 3
    header = charlm("inspect", *flags).succeeded().lines[1].split("  ")
    assert [name.strip() for name in header if name.strip()] == ["k", "a", "a (3)", "a (2)"]
