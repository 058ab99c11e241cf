"""`charlm inspect --activations`: tables, coloured lines, pages and arrays of what units do over a text."""

import re

import numpy as np
import pytest

from charlm.cli import shading, ui
from charlm.inference.activations import Recorder, most_telling, states_of
from tests.cli.pages import Read, check_strictly
from tests.task_models import saved

ANSI = re.compile(rb"\x1b\[[0-9;]*m")
TEXT = "abca b\n\n<c>&\u202ea \t\x1b[31m"
LINES = TEXT.split("\n")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = saved(tmp_path_factory.mktemp("activations"))
    made.text = made.folder / "text.txt"
    made.text.write_text(TEXT + "\n")
    return made


@pytest.fixture
def terminal(monkeypatch):
    """Have the command believe that standard output is a terminal of 256 colours."""
    import sys

    monkeypatch.setattr(ui, "is_terminal", lambda stream: stream is sys.stdout)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_the_units_that_vary_most(charlm, models):
    """The text itself, a file, and standard input are the same text."""
    records = charlm("inspect", models.lm, "--activations", TEXT, "--format", "jsonl").succeeded().records
    found = most_telling(Recorder(models.models["lm"]), LINES)
    assert [(one["layer"], one["unit"]) for one in records] == [(one.unit.layer, one.unit.number) for one in found]
    for record, one in zip(records, found, strict=True):
        assert record["of"] == "tanh(c)"
        figures = [record[name] for name in ("deviation", "mean", "lowest", "highest")]
        assert figures == pytest.approx([one.deviation, one.mean, one.lowest, one.highest], abs=1e-12)
    table = charlm("inspect", models.lm, "--activations", TEXT).succeeded()
    assert table.lines[0].split("\t") == ["layer", "unit", "of", "deviation", "mean", "lowest", "highest"]
    assert len(table.lines) == 1 + len(records)
    for text, stdin in ((f"@{models.text}", b""), ("-", models.text.read_bytes()), ("@-", models.text.read_bytes())):
        assert charlm("inspect", models.lm, "--activations", text, stdin=stdin).succeeded().out == table.out
    assert charlm("inspect", models.lm, "--activations", TEXT.replace("\n", r"\n")).succeeded().out == table.out


@pytest.mark.parametrize("unit", ["1:3", "0:4:forget", "0:4:f", "0:4:\u0393_f", "0:4:Gamma_F", "1:0:c~", "1:0:a"])
def test_the_numbers_of_a_unit(charlm, models, unit):
    result = charlm("inspect", models.lm, "--activations", f"@{models.text}", "--unit", unit, "--format", "jsonl")
    values = states_of(Recorder(models.models["lm"]), LINES)
    layer, number, *part = unit.split(":")
    names = {"a": "a", "c~": "candidate"}.get(*part, "forget") if part else None
    parts = ["a", "c", "update", "forget", "output", "candidate"] if names is None else [names]
    records = result.succeeded().records
    assert [record["token"] for record in records] == values["tokens"].tolist()
    assert [record["line"] for record in records] == values["lines"].tolist()
    assert [record["position"] for record in records][:7] == [1, 2, 3, 4, 5, 6, 1]
    for part in parts:
        expected = values[f"layer{layer}.{part}"][:, int(number)]
        assert [record[part] for record in records] == pytest.approx(expected.tolist(), abs=1e-12)
    assert list(records[0]) == ["line", "position", "token", *parts]


def test_models_of_different_cells_share_a_table(charlm, models, tmp_path):
    from charlm import checkpoint
    from tests.task_models import task_model

    gru = tmp_path / "gru.safetensors"
    checkpoint.save(gru, task_model("lm", cell="gru"))
    table = charlm("inspect", models.lm, gru, "--activations", "ab", "--unit", "0:1", "--format", "csv").succeeded()
    header, *rows = (line.split(",") for line in table.lines)
    gates = ["a", "c", "update", "forget", "output", "candidate", "relevance"]
    assert header == ["model", "line", "position", "token", *gates]
    assert [[name for name, value in zip(header, row, strict=True) if not value.strip("\"")] for row in rows] == [
        *[["relevance"]] * 2, *[["c", "forget", "output"]] * 2
    ]  # fmt: skip


def test_the_arrays_are_those_of_the_library(charlm, models, tmp_path):
    path = tmp_path / "states.npz"
    charlm("inspect", models.lm, "--activations", f"@{models.text}", "--states", path).succeeded()
    first, expected = path.read_bytes(), states_of(Recorder(models.models["lm"]), LINES)
    with np.load(path, allow_pickle=False) as found:
        assert set(found) == set(expected)
        for name, array in expected.items():
            if name.startswith("layer"):
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-12)
            else:
                np.testing.assert_array_equal(found[name], array)
    charlm("inspect", models.lm, "--activations", f"@{models.text}", "--states", path).succeeded()
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("kind", "unit"), [("lm", None), ("lm", "1:2"), ("lm", "0:3:update"), ("cloze", None), ("tag", "1:9")]
)
def test_a_page_has_the_text_once_for_each_unit(charlm, models, tmp_path, kind, unit):
    page, model = tmp_path / "page.html", getattr(models, kind)
    lines = LINES if kind == "lm" else ["the cat <sees>  it.", "", "dog"]
    more = () if unit is None else ("--unit", unit)
    text = "\n".join(lines)
    alone = charlm("inspect", model, "--activations", text, *more).succeeded()
    assert charlm("inspect", model, "--activations", text, *more, "--html", page).succeeded().out == alone.out
    check_strictly(page)
    read, values = Read(page), states_of(Recorder(models.models[kind]), lines)
    titles = re.findall(r"layer (\d+), unit (\d+), (\S+)\n", read.words)
    assert len(titles) == len(read.tables) == (10 if unit is None else 1 if unit.count(":") == 2 else 6)
    for (layer, number, part), rows in zip(titles, read.tables, strict=True):
        assert [row.text for row in rows] == [ui.printable(line) for line in lines]
        column = values[f"layer{layer}.{part.removeprefix('tanh(').removesuffix(')')}"][:, int(number)]
        drawn = np.tanh(column) if part.startswith("tanh") else column
        tokens = [token for row in rows for token in row.tokens]
        assert [title for _, _, title in tokens] == [f"{value:.3f}" for value in drawn]
        for (_, kind_of, _), value in zip(tokens, drawn, strict=True):
            level = shading.signed_level(value)
            assert kind_of == ("" if level == 0 else f"{'p' if level > 0 else 'm'}{abs(level)}")


# ---- at a terminal


def test_the_text_in_the_colours_of_a_unit(charlm, models, terminal):
    result = charlm("inspect", models.lm, "--activations", f"@{models.text}", "--unit", "1:3").succeeded()
    assert ANSI.sub(b"", result.out).decode() == "".join(f"{ui.printable(line)}\n" for line in LINES)
    assert "layer 1, unit 3, tanh(c)" in result.err
    drawn = np.tanh(states_of(Recorder(models.models["lm"]), LINES)["layer1.c"][:, 3])
    styles = [shading.signed_style(shading.signed_level(value)) for value in drawn]
    expected = list(zip("abca b", styles, strict=False))
    assert result.lines[0] == shading.Shaded(expected).styled()
    assert len({style for _, style in expected}) > 2


def test_without_colours_a_terminal_shows_numbers(charlm, models, terminal):
    asked = ("inspect", models.lm, "--activations", "abc", "--unit", "1:3")
    result = charlm(*asked, "--no-color").succeeded()
    assert b"\x1b" not in result.out and result.lines[0].split()[:4] == ["line", "position", "token", "a"]
    assert charlm(*asked, "--format", "tsv").succeeded().lines[0].startswith("line\tposition\ttoken\ta\tc")


# ---- refusals


def test_what_does_not_fit_is_refused(charlm, models, tmp_path, unchanged):
    page = tmp_path / "page.html"
    unchanged()
    for arguments, code, words in (
        (["--unit", "0:0"], 2, "--unit without --activations"),
        (["--html", page], 2, "--html without --activations"),
        (["--activations", "a", "--unit", "0"], 2, "not a unit"),
        (["--activations", "a", "--unit", "2:0", "--html", page], 2, "no unit 2:0"),
        (["--activations", "a", "--unit", "0:0:relevance"], 2, "no relevance"),
        (["--activations", "a", "--html", tmp_path / "page.txt"], 2, "suffix"),
        (["--activations", "a", "--states", page], 2, "suffix"),
        (["--activations", "a", "--states", tmp_path / "missing" / "s.npz"], 6, "cannot write"),
        ([models.conditioned, "--activations", "a", "--html", page], 2, "2 models"),
        (["--activations", f"@{tmp_path / 'missing'}"], 3, "missing"),
    ):
        charlm("inspect", models.lm, *arguments).failed(code, words)
    charlm("inspect", models.music, "--activations", "60").failed(2, "--task music")
    charlm("inspect", models.conditioned, "--activations", "ab", "--html", page).failed(3, "1 column")
    unchanged()


def test_the_name_of_a_file_is_taken_for_a_text_with_a_warning(charlm, models):
    result = charlm("inspect", models.lm, "--activations", models.text, "--unit", "0:0").succeeded()
    assert len(result.lines) == 1 + len(str(models.text)) and f"@{models.text}" in result.err
