"""`charlm inspect --plot` of several models, charts at a terminal, and a model in words."""

import re

import pytest

from charlm import checkpoint, header
from charlm.cli import chart, pictures, ui
from charlm.cli.inspect_views.words import network_words, text_words, training_words
from charlm.config import CELL_VARIANTS, ModelConfig, TextConfig, TrainConfig, cell_fields
from tests.task_models import task_model

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def history(count, best):
    """Return evaluations whose validation loss is lowest at one of them."""
    return [
        {"step": 10 * n, "epoch": n / 2, "train_nats": 4.0 / n, "valid_nats": 1.0 + abs(n - best), "learning_rate": 0.1}
        for n in range(1, count + 1)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plot")
    for cell, best in (("rnn", 3), ("gru", 17), ("lstm", 20)):
        lm = task_model("lm", cell=cell)
        lm.history.extend(history(20, best))
        checkpoint.save(folder / f"{cell}.safetensors", lm)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_several_models_share_a_table_and_a_chart(charlm, here):
    lines = charlm("inspect", "rnn", "gru", "lstm", "--plot").succeeded().lines
    assert lines[0].split() == ["model", "parameters", "steps", "kept", "train", "valid", "nats/char"]
    rows = [line.split() for line in lines[1:4]]
    assert [row[:2] for row in rows] == [["a", "rnn"], ["b", "gru"], ["c", "lstm"]]
    assert [row[3:] for row in rows] == [["200", *end] for end in (
        ["30", "1.3333", "1.0000"], ["170", "0.2353", "1.0000"], ["200", "0.2000", "1.0000"]
    )]  # fmt: skip
    assert lines[4].strip() == "nats/char"
    drawn = "".join(line.partition("|")[2] for line in lines[5:-1])
    assert drawn.count("*") == 3 and "-" in drawn
    assert all(drawn.count(letter) > 2 for letter in "ABC") and set("abc") & set(drawn)
    assert lines[-1].startswith("          a rnn   b gru   c lstm; ") and lines[-1].endswith("* kept")
    assert all(len(line) <= 80 for line in lines)


def test_a_model_named_twice_has_two_lines(charlm, here):
    lines = charlm("inspect", "gru", "gru", "--plot").succeeded().lines
    assert [line.split("  ")[0] for line in lines[1:3]] == ["a gru", "b gru (2)"]


def test_a_picture_has_one_colour_a_model(charlm, here, tmp_path):
    pytest.importorskip("matplotlib")
    printed = charlm("inspect", "rnn", "gru", "lstm", "--plot", tmp_path / "p.svg").succeeded().lines
    assert printed == charlm("inspect", "rnn", "gru", "lstm", "--plot").succeeded().lines[:4]
    svg = (tmp_path / "p.svg").read_text()
    dotted = re.findall(r"stroke-dasharray: [\d., ]+[^\"]*stroke: (#\w+)", svg)
    assert [color for color in dict.fromkeys(dotted) if color not in ("#808080", "#b0b0b0")] == [
        "#1f77b4", "#ff7f0e", "#2ca02c"
    ]  # fmt: skip
    for comment in ("rnn, 1 at step 30", "gru, 1 at step 170", "lstm, 1 at step 200", "train", "valid", "kept"):
        assert svg.count(f"<!-- {comment} -->") == 1
    assert "<!-- nats/char -->" in svg


@pytest.mark.slow
def test_without_validation_the_dotted_line_has_the_name(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{**row, "valid_nats": None} for row in history(3, 1)]
    pictures.losses({"x": chart.Losses(rows, 0, "nats/char"), "y": chart.Losses(rows, 0)}, tmp_path / "p.svg")
    svg = (tmp_path / "p.svg").read_text()
    for comment, count in (("x", 1), ("y", 1), ("nats", 1), ("kept", 0)):
        assert svg.count(f"<!-- {comment} -->") == count


@pytest.mark.slow
def test_csv_has_its_picture_too(charlm, here, tmp_path):
    pytest.importorskip("matplotlib")
    charlm("inspect", "rnn", "--format", "csv", "--plot", tmp_path / "p.svg").succeeded()
    assert (tmp_path / "p.svg").stat().st_size > 0


# ---- the size and the colours of a chart


def shown(monkeypatch, columns, lines=40, **env):
    """Return a chart of two models at a terminal of some size."""
    monkeypatch.setattr(ui, "is_terminal", lambda stream: True)
    for name, value in {"COLUMNS": columns, "LINES": lines, "TERM": "xterm", "NO_COLOR": "", **env}.items():
        monkeypatch.setenv(name, str(value))
    return chart.loss_chart({"x": chart.Losses(history(8, 5), 50), "y\x1b[2J": chart.Losses(history(8, 8), 80)})


def test_a_chart_is_as_wide_as_the_terminal(monkeypatch):
    sizes = {}
    for columns in (40, 80, 160, 500):
        plain = [ESCAPES.sub("", line) for line in shown(monkeypatch, columns)]
        axis = next(line for line in plain if "+---" in line)
        assert columns == 500 or len(axis) == columns - 1
        assert all(len(line) <= columns for line in plain[:-1])
        sizes[columns] = len(plain), max(map(len, plain[:-1]))
    assert sizes[40] < sizes[80] < sizes[160] < sizes[500] < (60, 260)
    assert len(shown(monkeypatch, 160, lines=24)) < len(shown(monkeypatch, 160, lines=60))
    assert max(map(len, shown(monkeypatch, 5, lines=2))) > 20


def test_a_chart_has_a_colour_a_model_unless_colours_are_off(monkeypatch):
    coloured = shown(monkeypatch, 80)
    *_, legend = coloured
    first, second = re.findall(r"\x1b\[(\d+)m[ab] ", legend)
    assert first != second and r"b y\x1b[2J" in ESCAPES.sub("", legend)
    body = "".join(coloured[:-1])
    assert {code for code, marks in re.findall(r"\x1b\[(\d+)m([^\x1b]*)", body) if "A" in marks} == {first}
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = shown(monkeypatch, 80, **env)
        assert "\x1b" not in "".join(plain)
        assert plain == [ESCAPES.sub("", line) for line in coloured]


def test_in_a_pipe_a_chart_has_always_the_same_size(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ui, "is_terminal", lambda stream: False)
    lines = chart.loss_chart({"x": chart.Losses(history(8, 5), 50)})
    assert len(lines) == 18 and max(map(len, lines)) == 75
    assert chart.loss_chart({"x": chart.Losses([])})[0] == "(no history)"


# ---- words


def test_ten_rows_with_the_first_the_last_and_the_kept_one(charlm, here):
    for name, kept in (("rnn", 30), ("gru", 170), ("lstm", 200)):
        lines = charlm("inspect", name).succeeded().lines
        assert lines[-1] == "10 of 20 evaluations; all of them: --format tsv"
        rows = [int(line.split()[0].replace(",", "")) for line in lines[-11:-1]]
        assert rows == sorted(set(rows)) and rows[0] == 10 and rows[-1] == 200
        assert [int(line.split()[0]) for line in lines[-11:-1] if line.endswith(" *")] == [kept]
        assert len(charlm("inspect", name, "--format", "tsv").succeeded().lines) == 21


def test_the_version_is_shown_and_nothing_depends_on_it(charlm, here, folder):
    lm = checkpoint.load(folder / "rnn.safetensors", task_model("lm").model.ops).language_model
    assert f"charlm         {lm.version}" in charlm("inspect", "rnn").succeeded().lines
    (record,) = charlm("inspect", "rnn", "--format", "jsonl").succeeded().records
    assert record["charlm"] == lm.version
    for strange in (None, 3, "", "a\nb", "x" * 99):
        assert header._version(strange) is None


def test_every_network_is_named_in_words():
    named = {
        network_words(ModelConfig(vocabulary_size=9, **cell_fields(cell, variant)))
        for cell, variants in CELL_VARIANTS.items()
        for variant in variants
    }
    assert len(named) == 9 and "lstm, 2 layers of 128, one-hot, float32" in named
    fields = {"embedding_size": 8, "num_layers": 1, "hidden_size": 8, "dropout": 0.3, "tie_weights": True}
    assert network_words(ModelConfig(vocabulary_size=9, dtype="bfloat16", **fields)) == (
        "lstm, 1 layer of 8, embedding of 8, dropout 0.3, tied weights, bfloat16"
    )
    both = ModelConfig(vocabulary_size=9, task="tag", labels=2, bidirectional=True, dense=(4, 3), activation="relu")
    expected = "lstm, 2 layers of 128 in both directions, one-hot, dense layers of 4, 3 with ReLU, float32"
    assert network_words(both) == expected
    assert network_words(ModelConfig(vocabulary_size=9, task="music")).split(", ")[2] == "a 0 or 1 for each key"


def test_text_and_training_in_words():
    assert text_words(TextConfig()) == "characters, a sequence for each record, normalized to NFC"
    words = TextConfig(level="word", unit="stream", split="whitespace", lowercase=True, normalize="none")
    assert text_words(words) == "words, split at white space, one running text, in lower case, not normalized"
    learned = training_words(TrainConfig(valid="v.txt", minutes=3, vocab_size=1000, clip=0, keep="f1", epochs=4))
    for part in ("4 epochs", "validated on v.txt", "at most 3 min", "1,000 most frequent", "the best F1", "seed 1"):
        assert part in learned
    assert "clipping" not in learned and "held out" not in learned
