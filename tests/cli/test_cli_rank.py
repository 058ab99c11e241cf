"""`charlm rank`: the library's lines with their places, in every format, with odd runs marked."""

import csv
import io
import re
import signal
import sys

import numpy as np
import pytest

import charlm as package
from charlm import checkpoint
from charlm.cli import ui
from tests import forms
from tests.benchmarks.odd_lines import made_log, shares
from tests.cli.shell import read_line, started, wait_for_handlers
from tests.task_models import KINDS, outputs, random_lines, saved, task_model

ODD = ["a\tb", 'say "no"', '"', "a,b", "a\rb", "\r\ra", "NA", "null", "", "", " a ", "#x", "\\", "a\\tb", "007"]
ODD += ["\ufeffa", "a\u2028b", "\x85", "\x1c", "日本", "👍🏽", "e\u0301"]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("rank"))


@pytest.fixture(scope="module")
def ordinary(models):
    """A model to which `a` and a space are ordinary, and others cost 40 bits; its marks are the others' words."""
    model = task_model("cloze-char")
    outputs(model, np.log([2.0**-40, 2.0**-40, 3 / 4, 2.0**-40, 2.0**-40, 1 / 4]))
    path = models.folder / "ordinary.safetensors"
    checkpoint.save(path, model)
    return path


def as_text(lines):
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def rows_of(data):
    header, *rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("by", ["bits-per-char", "bits", "perplexity"])
def test_the_lines_are_those_of_the_library(charlm, models, by):
    model = package.load(models.lm, device="cpu")
    lines = [*random_lines("abcz", 60, 30, seed=1, between=""), "Zzz", "", "a\tb 9"]
    found = package.rank(model, lines, count=7, by=by)
    args = ("rank", models.lm, "-n", 7, "--by", by, "--format", "jsonl")
    records = charlm(*args, stdin=as_text(lines)).succeeded().records
    key = by.replace("-", "_")
    assert [(r["rank"], r["file"], r["line"], r["text"], r[key]) for r in records] == [
        (one.rank, "standard input", one.number, one.text, pytest.approx(one.value)) for one in found
    ]
    assert [r["runs"] for r in records] == [
        [{"start": a.start, "end": a.end, "text": one.text[a.start : a.end], "bits": a.bits} for a in one.runs]
        for one in found
    ]
    assert set(records[0]) == {
        *("rank", "file", "line", "bits_per_char", "bits", "perplexity", "tokens", "oov", "text", "runs")
    }
    (least,) = charlm(*args[:3], 1, *args[4:], "--likeliest", stdin=as_text(lines)).succeeded().records
    assert least["text"] == package.rank(model, lines, count=1, by=by, likeliest=True)[0].text
    limit = found[3].value
    above = charlm(*args, "--above", limit, stdin=as_text(lines)).succeeded().records
    assert [r["rank"] for r in above] == [1, 2, 3]


def test_each_line_has_its_file_and_number(charlm, models, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("abc\nzzz\n")
    two.write_text("abc\nabc\nzzz")
    rows = charlm("rank", models.lm, one, two, "-n", 2).succeeded().lines
    assert rows[0] == "rank\tfile\tline\tbits_per_char\ttext"
    assert [row.split("\t")[:3] for row in rows[1:]] == [["1", str(one), "2"], ["2", str(two), "3"]]
    table = charlm("rank", models.lm, one, two, "-n", 1, "--format", "text", "--by", "bits").succeeded().lines
    assert table[0].split() == ["rank", "file", "line", "bits/char", "bits", "text"]
    assert charlm("rank", models.lm, one, "-n", 1, "--format", "text").succeeded().lines[0].split() == [
        *("rank", "line", "bits/char", "text")
    ]
    assert charlm("rank", models.lm, one, "--no-header").succeeded().lines[0].startswith("1\t")
    assert len(charlm("rank", models.lm, *[one] * 12).succeeded().lines) == 21


def test_columns_go_through_and_labels_are_shown(charlm, models):
    stdin = b'id,t\n1,abc\n2,"a\nzz"\n'
    args = ("rank", models.lm, "--field", "t", "--input-format", "csv", "--format", "csv")
    rows = rows_of(charlm(*args, stdin=stdin).succeeded().out)
    assert list(rows[0]) == ["id", "rank", "file", "line", "bits_per_char", "text"]
    assert {(row["id"], row["line"], row["text"]) for row in rows} == {("1", "2", "abc"), ("2", "3", "a\nzz")}
    marked = rows_of(charlm(*args, "--highlight", stdin=stdin).succeeded().out)
    assert {row["text"].replace("⟦", "").replace("⟧", "") for row in marked} == {"abc", "a\nzz"}
    rows = charlm("rank", models.conditioned, stdin=b"x\tabc\ny\tabc\n").succeeded().lines
    assert rows[0].split("\t")[-2:] == ["label", "text"]
    assert {tuple(row.split("\t")[-2:]) for row in rows[1:]} == {("x", "abc"), ("y", "abc")}
    charlm("rank", models.conditioned, stdin=b"abc\n").failed(3, "line 1")
    charlm("rank", models.conditioned, "--field", 1, stdin=b"abc\n").failed(2, "--field")
    (record,) = charlm("rank", models.cloze, "--format", "jsonl", stdin=b"the cat\n").succeeded().records
    assert {"pseudo_bits_per_char", "pseudo_bits", "pseudo_perplexity"} < set(record)


def test_csv_brings_every_text_back(charlm, models, shared_corpora):
    texts = [ODD]
    for path in sorted((shared_corpora / "unicode").glob("*")):
        lines = path.read_text().removesuffix("\n").split("\n")[: forms.times(12, 4_000)]
        texts.append([line[: forms.times(300, 1 << 24)] for line in lines])
    for lines in texts:
        args = ("rank", models.lm, "-n", len(lines), "--format")
        csv.field_size_limit(1 << 24)
        rows = rows_of(charlm(*args, "csv", stdin=as_text(lines)).succeeded().out)
        assert [row["text"] for row in sorted(rows, key=lambda row: int(row["line"]))] == lines
    records = charlm(*args, "jsonl", stdin=as_text(lines)).succeeded().records
    assert [record["text"] for record in sorted(records, key=lambda record: record["line"])] == lines


# ---- marks


LINE = "aa aab" + " aa" * 12 + " b\tb\\ aa"


@pytest.mark.parametrize("format", ["tsv", "csv", "text"])
def test_runs_are_in_brackets_in_a_pipe(charlm, ordinary, format):
    (row,) = charlm("rank", ordinary, "--highlight", "--no-header", "--format", format, stdin=as_text([LINE])).lines
    marked = "aa ⟦aab⟧" + " aa" * 12 + " ⟦b\tb\\⟧ aa"
    assert marked.replace("⟦", "").replace("⟧", "") == LINE
    if format == "tsv":
        marked = marked.replace("\\", "\\\\").replace("\t", "\\t")
    assert row.endswith(f'"{marked}"' if format == "csv" else marked)
    assert "⟦" not in charlm("rank", ordinary, stdin=as_text([LINE])).succeeded().text


@pytest.fixture
def at_a_terminal(monkeypatch):
    monkeypatch.setattr(ui, "is_terminal", lambda stream: stream is sys.stdout)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("at_a_terminal")
def test_at_a_terminal_runs_have_a_colour_and_stripped_of_it_the_line_is_as_it_was(charlm, ordinary):
    lines = [LINE, LINE + "  ", "b" * 50 + "日本 \\ a"]
    header, *rows = charlm("rank", ordinary, stdin=as_text(lines)).succeeded().lines
    assert ANSI.sub("", header).split() == ["rank", "line", "pseudo_bits/char", "text"]
    assert {text for text in lines if any(ANSI.sub("", row).endswith(f"  {text}") for row in rows)} == set(lines)
    assert all(re.search(r"\x1b\[1;31m[^\x1b]*b[^\x1b]*\x1b\[0m", row) for row in rows)
    plain = charlm("rank", ordinary, "--no-color", stdin=as_text(lines)).succeeded().text
    assert "\x1b" not in plain and "⟦aab⟧" in plain
    control = charlm("rank", ordinary, stdin=b"a\x1b[31mb\n").succeeded().text
    assert ANSI.sub("", control).endswith("a\\x1b[31mb\n")


def test_masks_are_scored_and_not_printed(charlm, models):
    stdin = b"abc1\nabc2 7f3a00000010\n"
    args = ("rank", models.lm, "--format", "jsonl")
    records = charlm(*args, "--mask", "digits,hex", stdin=stdin).succeeded().records
    masked = charlm(*args, stdin=b"abc0\nabc0 000000000000\n").succeeded().records
    assert [(r["line"], r["bits"]) for r in records] == [(r["line"], r["bits"]) for r in masked]
    assert {r["text"] for r in records} == set(stdin.decode().splitlines())
    assert charlm(*args, "--mask", "hex", "--mask", "digits", stdin=stdin).succeeded().records == records
    charlm(*args, "--mask", "names", stdin=stdin).failed(2, "names", "digits, hex")


def test_a_mask_for_a_model_of_unmasked_text_is_told(charlm, models, tmp_path, monkeypatch):
    assert "not masked" not in charlm("rank", models.lm, "--mask", "digits", stdin=b"abc\n").succeeded().err
    monkeypatch.setitem(KINDS, "lm", ("a07", *KINDS["lm"][1:]))
    checkpoint.save(tmp_path / "unmasked.safetensors", task_model("lm"))
    args = ("rank", tmp_path / "unmasked", "--mask", "digits")
    assert "the training text was not masked alike, it has '7'" in charlm(*args, stdin=b"a7\n").succeeded().err


# ---- following


def test_a_limit_is_a_number(charlm, ordinary):
    for follow in ((), ("--follow",)):
        charlm("rank", ordinary, *follow, "--above", "nan", stdin=b"a\n").failed(2, "--above is NaN")


def test_following_a_pipe_prints_what_is_above(charlm, ordinary):
    lines = ["aa", "b", "aa a", "aab"]
    args = ("rank", ordinary, "--follow", "--highlight")
    rows = charlm(*args, "--above", 10, stdin=as_text(lines)).succeeded().lines
    assert rows[0].split("\t") == ["file", "line", "pseudo_bits_per_char", "text"]
    assert [row.split("\t")[1::2] for row in rows[1:]] == [["2", "⟦b⟧"], ["4", "⟦aab⟧"]]
    learned = charlm(*args, stdin=as_text(["aa"] * 98 + ["b", "aa", "aa", "bb"])).succeeded()
    assert [row.split("\t")[1] for row in learned.lines[1:]] == ["102"] and "first 100" in learned.err
    rows = rows_of(
        charlm(*args, "--above", 10, "--field", "t", "--format", "csv", stdin=b"i\tt\n1\tb\n2\ta\n").succeeded().out
    )
    assert [(row["i"], row["line"], row["text"]) for row in rows] == [("1", "2", "⟦b⟧")]


def test_what_cannot_be_followed_is_refused(charlm, models, ordinary, tmp_path):
    log = tmp_path / "log"
    log.write_text("aa\n")
    args = ("rank", ordinary, "--follow")
    charlm(*args, log, "-").failed(2, "pipe")
    charlm(*args, log, "--field", 1).failed(2, "--field")
    charlm(*args, log, "-n", 3).failed(2, "--num-lines")
    charlm(*args, log, "--likeliest").failed(2, "--likeliest")
    charlm(*args, tmp_path / "missing").failed(3, "no such file")
    charlm(*args, "--input-format", "csv").failed(2, "--field")
    charlm("rank", models.conditioned, "--follow", stdin=b"x\tabc\nabc\n").failed(3, "standard input line 2")


def test_a_fault_in_a_growing_file_is_printed_while_it_is_written_to(ordinary, tmp_path):
    """How fast a machine is does not count: `test_following.py` looks at the time between two looks."""
    log = tmp_path / "log"
    log.write_text("aa aab\n" * 200)
    with started("rank", ordinary, log, "--follow", "--format", "csv", "--no-header", cwd=tmp_path) as process:
        wait_for_handlers(process)
        assert "learned from 200 lines" in read_line(process.stderr).decode()
        with log.open("a") as file:
            file.write("aa\n" * 3 + "aa b\n")
            file.flush()
            assert read_line(process.stdout).decode().split(",")[1] == "204"
            log.rename(tmp_path / "log.1")
            log.write_text("aa\nb\n")
            assert read_line(process.stdout).decode().split(",")[1] == "2"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


@pytest.mark.slow
def test_planted_faults_come_first_and_are_marked():
    """With a small model of a short log; `tests/benchmarks/odd_lines.py` does it with what `charlm train` chooses."""
    made, first = made_log("web1", lines=6_000, seed=3), 4_000
    options = {"hidden_size": 96, "num_layers": 1, "batch_size": 32, "seq_length": 32, "max_steps": 500}
    model = package.train(made.lines[:first], **options, learning_rate=0.005, seed=1)
    found = {one.number - 1 + first: one for one in package.rank(model, made.lines[first:], count=40)}
    assert len(made.planted) == 12
    of_each = [
        shares(found[place].text, parts, [(run.start, run.end) for run in found[place].runs])
        for place, parts in made.planted.items()
        if place in found
    ]
    assert sum(covered > 0.7 for covered, _ in of_each) >= 10
    assert np.mean([planted for _, planted in of_each]) > 0.75
