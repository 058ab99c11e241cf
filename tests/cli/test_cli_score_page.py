"""`charlm score` in colour: --html, and the text column of its table at a terminal."""

import math
import re
import subprocess
import sys

import pytest

from charlm.cli import shading, ui
from charlm.cli.tables_out import tsv_field
from tests.cli.pages import Read, check_strictly
from tests.cli.shell import on_terminal
from tests.task_models import saved

ODD = [
    "abc", "", " ", "a  b ", "<b>&amp;</b>", '"\'', "a\tb", "a\\tb", "\x00\x1b[31mc\x7f\x85", "\u202eabc\u2066",
    "\ud7ff\ufdd0\ufffe\U0001ffff", "שלום abc", "e\u0301\u200d👍🏽", "--><script>alert(1)</script>", "]]>", "a\rb",
    "\udce9x",
]  # fmt: skip
ANSI = re.compile(rb"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("pages"))


def bytes_of(lines):
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("kind", ["lm", "conditioned", "cloze", "cloze-char"])
def test_a_page_has_every_token_with_its_surprisal(charlm, models, tmp_path, kind):
    texts = ODD if kind != "cloze" else ["the cat  sees it.", "", "<dog> & the\tcat\u202e!", " the "]
    lines = [f"x\t{line}" for line in texts if line and "\t" not in line] if kind == "conditioned" else texts
    model, page = models.folder / f"{kind}.safetensors", tmp_path / "page.html"
    result = charlm("score", model, "--html", page, "--per", "token", "--format", "jsonl", stdin=bytes_of(lines))
    records = result.succeeded().records
    read = Read(page)
    check_strictly(page)
    (rows,) = read.tables
    assert len(rows) == len(records) == len(lines)
    log = "pseudo_log10p" if "cloze" in kind else "log10p"
    for number, (line, row, record) in enumerate(zip(lines, rows, records, strict=True), start=1):
        text = line.partition("\t")[2] if kind == "conditioned" else line
        assert row.text == ui.printable(text)
        bits = [-one[log] * math.log2(10) for one in record["token_scores"]]
        shown = [float(title.split(" bits")[0]) for _, _, title in row.tokens]
        assert shown == pytest.approx(bits, abs=0.006)
        assert row.figures[:2] == [str(number), f"{sum(bits):.2f}"]
        assert row.figures[3:] == (["x"] if kind == "conditioned" else [])
        levels = [min(8, int(one / (2 if kind == "cloze" else 1))) for one in bits]
        assert [int("0" + "".join(re.findall(r"\bs(\d)", classes))) for _, classes, _ in row.tokens] == levels
        unknown = [one["oov"] for one in record["token_scores"]]
        assert ["u" in classes.split() for _, classes, _ in row.tokens] == unknown
    assert f"{len(lines)} lines" in read.words and "bits:" in read.words


def test_a_page_of_the_corpora(charlm, models, shared_corpora, tmp_path, times):
    lines = [
        line[: times(60, 400)]
        for path in sorted((shared_corpora / "unicode").glob("*"))
        for line in path.read_text().split("\n")[: times(2, 100)]
    ]
    charlm("score", models.lm, "--html", tmp_path / "p.html", stdin=bytes_of(lines)).succeeded()
    check_strictly(tmp_path / "p.html")
    assert [row.text for row in Read(tmp_path / "p.html").tables[0]] == [ui.printable(line) for line in lines]


def test_standard_output_is_the_same_with_a_page(charlm, models, tmp_path):
    for more in ((), ("--format", "kaldi", "--key", "1"), ("--format", "srilm"), ("--per", "word", "--format", "csv")):
        stdin, page = b"u1 abc\nu2 ca\n", tmp_path / "page.htm"
        alone = charlm("score", models.lm, *more, stdin=stdin).succeeded()
        assert charlm("score", models.lm, *more, "--html", page, stdin=stdin).succeeded().out == alone.out
        assert len(Read(page).tables[0]) == 2
    suspects = charlm("score", models.cloze, "--suspect", "--html", page, stdin=b"the cat\n").succeeded()
    assert suspects.out == charlm("score", models.cloze, "--suspect", stdin=b"the cat\n").out
    assert Read(page).tables[0][0].text == "the cat"
    before = page.read_bytes()
    charlm("score", models.cloze, "--suspect", "--html", page, stdin=b"the cat\n").succeeded()
    assert page.read_bytes() == before


def test_an_output_that_would_overwrite_something_else_is_refused(charlm, models, tmp_path, unchanged):
    text, link = tmp_path / "text.txt", tmp_path / "link.html"
    text.write_text("abc\n")
    link.symlink_to(text)
    unchanged()
    missing = tmp_path / "missing" / "page.html"
    for name, code, word in ((text, 2, "suffix"), (link, 2, "input is also the output"), (missing, 6, "cannot write")):
        charlm("score", models.lm, text, "--html", name).failed(code, word)
    unchanged()


@pytest.mark.slow
def test_a_page_is_complete_though_the_reader_went_away(models, tmp_path):
    text, page = tmp_path / "text.txt", tmp_path / "page.html"
    text.write_text("abc\n" * 3_000)
    command = f"{sys.executable} -m charlm score {models.lm} {text} --html {page} | head -1"
    assert subprocess.run(command, shell=True, capture_output=True, check=True).stdout.startswith(b"log10p")
    assert len(Read(page).tables[0]) == 3_000


# ---- at a terminal


@pytest.fixture
def terminal(monkeypatch):
    """Have the command believe that standard output is a terminal of 256 colours, and give what it shows."""
    monkeypatch.setattr(ui, "is_terminal", lambda stream: stream is sys.stdout)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


@pytest.mark.parametrize("kind", ["lm", "cloze"])
def test_without_its_colours_a_table_is_the_one_without_colours(charlm, models, terminal, tmp_path, kind):
    text = tmp_path / "text.txt"
    text.write_bytes(bytes_of([*ODD, "the cat  sees it. "]))
    model = getattr(models, kind)
    shown, plain = (charlm("score", model, text, *more).succeeded().out for more in ((), ("--no-color",)))
    assert ANSI.sub(b"", shown) == plain and b"\x1b[" not in plain and b"48;5;" in shown
    for line, text_of_line in zip(plain.split(b"\n")[1:], ODD, strict=False):
        shown_text = ui.printable(tsv_field(text_of_line)).encode("utf-8", "surrogateescape")
        assert line.endswith(b"  " + shown_text)
    terminal.setenv("TERM", "xterm")
    few = charlm("score", model, text).succeeded().out
    assert ANSI.sub(b"", few) == plain and b"48;5;" not in few and b"\x1b[33m" in few
    terminal.setenv("NO_COLOR", "1")
    assert charlm("score", model, text).succeeded().out == plain


def test_a_colour_is_that_of_the_surprisal(charlm, models, terminal, tmp_path):
    (tmp_path / "text.txt").write_text("cab\n")
    per_token = charlm("score", models.lm, tmp_path / "text.txt", "--per", "token", "--format", "jsonl").records[0]
    line = charlm("score", models.lm, tmp_path / "text.txt").succeeded().lines[1]
    expected = []
    for one in per_token["token_scores"][:-1]:
        level = shading.surprisal_level(-one["log10p"] * math.log2(10), 1.0)
        expected.append((one["token"], shading.surprisal_style(level)))
    assert line.endswith(shading.Shaded(expected).styled())
    assert len({style for _, style in expected}) > 1


@pytest.mark.slow
def test_a_real_terminal_shows_colours(models):
    code, shown = on_terminal("score", models.lm, which=(1,), stdin=b"cabc\n", TERM="xterm-256color")
    assert code == 0 and b"48;5;" in shown
    assert ANSI.sub(b"", shown).splitlines()[-1].endswith(b"  cabc")


@pytest.mark.parametrize(
    ("bits", "width", "level"),
    [(0.0, 1.0, 0), (-0.0, 1.0, 0), (0.99, 1.0, 0), (1.0, 1.0, 1), (7.99, 1.0, 7), (8.0, 1.0, 8), (3.9, 2.0, 1)],
)
def test_levels_of_surprisal(bits, width, level):
    assert shading.surprisal_level(bits, width) == level


@pytest.mark.parametrize(("value", "level"), [(0.0, 0), (0.08, 0), (0.09, 1), (-0.09, -1), (1.0, 6), (-1.0, -6)])
def test_levels_of_values(value, level):
    assert shading.signed_level(value) == level
