"""`charlm inspect --trace`: equations with their numbers at a terminal, as records, and as pages."""

import re
from collections import Counter

import numpy as np
import pytest

import charlm as library
from charlm import checkpoint
from charlm.cli import ui
from charlm.cli.inspect_views import trace_text as view
from charlm.cli.inspect_views.trace_pages import in_tex
from charlm.config import CELL_VARIANTS, cell_fields
from charlm.inference.trace import TraceRecord
from charlm.nn.cells import CELLS
from tests.task_models import task_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    wide = {"hidden_size": 12, "embedding_size": 12, "tie_weights": True}
    networks = {"rnn": {"cell": "rnn", "num_layers": 1, "hidden_size": 3}, "lstm": {"cell": "lstm"}}
    networks |= {"gru": {"cell": "gru", **wide}, "relevance": cell_fields("lstm", "relevance")}
    for name, network in networks.items():
        checkpoint.save(folder / f"{name}.safetensors", task_model("lm", **network))
    for kind in ("conditioned", "tag"):
        checkpoint.save(folder / f"{kind}.safetensors", task_model(kind))
    return folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def blocks(lines):
    """Return the lines below each heading."""
    found, heading = {}, ""
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not before:
            heading = line
            found[heading] = []
        elif line:
            found[heading].append(line)
    return found


def test_unknown_tokens_of_a_text_are_named(charlm):
    named = "the text has unknown tokens, read as <UNK>: 'z', 'é'"
    for flag in ("--trace", "--activations"):
        assert named in charlm("inspect", "rnn", flag, "azéz").succeeded().err
        assert "unknown" not in charlm("inspect", "rnn", flag, "ab").succeeded().err
        assert named in charlm("inspect", "conditioned", flag, r"x\tazé").succeeded().err
    two = charlm("inspect", "rnn", "gru", "--activations", "-", stdin="é\x80\n".encode("latin-1")).succeeded().err
    assert f"rnn: the text has unknown tokens, read as <UNK>: {chr(0xDCE9)!r}" in two
    assert two.count("<UNK>") == 2 and two.count("not UTF-8") == 1
    words = charlm("inspect", "tag", "--activations", "the zebra sees it").succeeded().err
    assert "read as <UNK>: 'zebra'" in words


def test_every_symbol_is_printed_with_its_shape_and_numbers(charlm):
    lines = charlm("inspect", "rnn", "--trace", "ab").succeeded().lines
    assert lines[2] == "W_a [a, x] of the notes is W_aa a + W_ax x."
    found = blocks(lines)
    assert list(found)[1:-1] == [
        "weights",
        "the states before step 1",
        "step 1: reads the zero vector, expects 'a'",
        "step 2: reads 'a', expects 'b'",
        "step 3: reads 'b', expects '<EOS>'",
        *(f"back through step {t}" for t in (3, 2, 1)),
        "back to the states before step 1",
        "gradients of the weights",
    ]
    records = {one.symbol: one for one in library.trace(library.load("rnn"), "ab").records}
    (line,) = [line for line in found["step 2: reads 'a', expects 'b'"] if line.startswith("  z_a<2> = ")]
    equation, shape, *numbers = re.split(r"\s{2,}", line.strip())
    assert (equation, shape) == ("z_a<2> = W_aa a<1> + W_ax x<2> + b_a", "3")
    assert [float(n) for n in " ".join(numbers).split()] == pytest.approx(records["z_a<2>"].values, abs=1e-4)
    back = found["back through step 2"]
    assert back[1].startswith("  da<2> = W_aaᵀ dz_a<3> + W_yaᵀ dz_y<2>") and "* (1 - a<2>²)" in back[2]
    sums = found["gradients of the weights"]
    assert sums[0].startswith("  dW_aa = Σ_t dz_a<t> a<t-1>ᵀ  3 x 3 ")
    assert [line.split()[0] for line in sums if line[2] == "d"] == ["dW_aa", "dW_ax", "db_a", "dW_ya", "db_y"]
    assert lines[-1].startswith(f"L = {ui.figure(float(records['L'].values))} nats over 3 steps; ")


def test_wide_networks_are_shown_in_part(charlm):
    lines = charlm("inspect", "gru", "--trace", "a").succeeded().lines
    assert lines[3] == "W_ya is E, whose gradient is dE + dW_ya."
    (row,) = [line for line in lines if line.startswith("  a[2]<1> = c[2]<1>")]
    assert len(row.split("12", 1)[1].split()) == view.MOST_SHOWN and "…" in row
    assert max(map(len, lines)) < 140
    wrapped = next(at for at, line in enumerate(lines) if line.startswith("  dc[1]<1> = "))
    assert lines[wrapped + 1].startswith("      + ")


def test_records(charlm):
    records = charlm("inspect", "lstm", "--trace", "ab", "--format", "jsonl").succeeded().records
    found = library.trace(library.load("lstm"), "ab").records
    assert len(records) == len(found) and "model" not in records[0]
    for record, one in zip(records, found, strict=True):
        assert list(record) == ["phase", "step", "part", "symbol", "equation", "shape", "values"]
        assert (record["symbol"], record["equation"]) == (one.symbol, one.equation)
        assert (record["shape"], record["values"]) == (list(one.shape), one.values.tolist())
    rows = charlm("inspect", "lstm", "rnn", "--trace", "ab", "--format", "tsv").succeeded().lines
    assert rows[0].split("\t") == ["model", "phase", "step", "part", "symbol", "equation", "row", "column", "value"]
    assert len([row for row in rows if row.startswith("lstm\t")]) == sum(one.values.size for one in found)
    last = rows[-1].split("\t")
    assert (last[0], last[4], float(last[-1])) == (
        "rnn", "db_y", library.trace(library.load("rnn"), "ab").records[-1].values[-1]
    )  # fmt: skip


def test_a_label_comes_before_a_tab(charlm):
    lines = charlm("inspect", "conditioned", "--trace", r"zz\tab").succeeded().lines
    assert "step 1: reads 'zz', expects 'a'" in lines
    charlm("inspect", "conditioned", "--trace", "ab").failed(3)


# ---- pages


def balanced(tex):
    """Check brackets and environments of TeX."""
    bare = re.sub(r"\\[{}$]|\\\\", "", tex)
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    begun, ended = (Counter(re.findall(rf"\\{word}{{(\w+)}}", tex)) for word in ("begin", "end"))
    assert begun == ended
    assert bare.count(r"\left") == bare.count(r"\right")


def test_a_latex_page(charlm, tmp_path):
    page = tmp_path / "t.tex"
    names = ("lstm", "gru", "relevance", "rnn")
    printed = charlm("inspect", *names, "--trace", "ab", "--trace-file", page).succeeded().out
    assert printed == charlm("inspect", *names, "--trace", "ab").succeeded().out
    tex = page.read_text(encoding="ascii")
    assert tex.startswith(r"\documentclass") and tex.endswith("\\end{document}\n")
    balanced(tex)
    records = [library.trace(library.load(name), "ab").records for name in names]
    assert tex.count(r"\begin{aligned}") == tex.count("\\]\n") == sum(map(len, records))
    for formula in re.findall(r"\\begin{aligned}\n(.*?)\n\\end{aligned}", tex, re.DOTALL):
        assert not re.search(r"(?<!\\left)(?<!\\right)[()]|[*~<]|Gamma(?<!\\Gamma)", formula), formula
        assert formula.count(r"\left") == formula.count(r"\right")
        for line in formula.split(r" \\" + "\n"):
            balanced(line)
    assert r"\mathrm{d}z_{a}^{\langle 2 \rangle} &= \mathrm{d}a^{\langle 2 \rangle} \odot" in tex
    before = page.read_bytes()
    charlm("inspect", *names, "--trace", "ab", "--trace-file", page).succeeded()
    assert page.read_bytes() == before


def test_a_markdown_page(charlm, tmp_path):
    page = tmp_path / "t.md"
    charlm("inspect", "rnn", "--trace", "ab", "--trace-file", page).succeeded()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# rnn over 'ab'\n") and "\n## step 2: reads 'a', expects 'b'\n" in text
    assert r"expects '\<EOS\>'" in text
    formulas = re.findall(r"^\$\$\n(.*?)\n\$\$$", text, re.DOTALL | re.MULTILINE)
    assert len(formulas) == len(library.trace(library.load("rnn"), "ab").records)
    for formula in formulas:
        balanced(formula)


def test_every_symbol_of_every_cell_in_tex():
    for cell, variants in CELL_VARIANTS.items():
        for variant in variants:
            for equation in CELLS[cell][variant].equations:
                balanced(in_tex(equation.replace("<t>", "<2>").replace("<t-1>", "<1>")))
    assert in_tex("dc~[2]<3> * (1 - c~[2]<3>^2)") == (
        r"\mathrm{d}\tilde c^{[2]\langle 3 \rangle} \odot "
        r"\left( 1 - \left(\tilde c^{[2]\langle 3 \rangle}\right)^2 \right)"
    )
    assert in_tex("W_ua[1]^T dz_u[1]<2>") == r"W_{ua}^{[1]\top} \mathrm{d}z_{u}^{[1]\langle 2 \rangle}"
    assert in_tex("sum over t of dz_a<t> a<t-1>^T") == (
        r"\sum_t \mathrm{d}z_{a}^{\langle t \rangle} a^{\langle t-1 \rangle\top}"
    )
    assert in_tex("sigma(z_y<1>) [a<1> > 0]").startswith(r"\sigma \left( z_{y}")


def test_numbers():
    shown = [view.number(value) for value in (0.0, -0.0, 1.0, 0.12345, -12.5, 1e-5, 12345.678, -1e-300, np.inf)]
    assert shown == ["0", "0", "1", "0.1235", "-12.5000", "1.0e-05", "1.2e+04", "-1.0e-300", "inf"]
    long = np.zeros(20)
    assert view.one_hot(TraceRecord("forward", 1, "input", "x<1>", "", long)) == "0"
    long[7] = 1
    assert view.one_hot(TraceRecord("forward", 1, "input", "x<1>", "", long)) == "1 at 7, else 0"


# ---- what is refused


def test_what_is_refused_before_anything_is_printed(charlm, folder, tmp_path):
    assert charlm("inspect", "rnn", "--trace", "a" * 30).failed(2, "31 tokens", "shorter").out == b""
    assert charlm("inspect", "rnn", "tag", "--trace", "a").failed(2, "--task tag", "--task lm").out == b""
    charlm("inspect", "rnn", "--trace", r"a\nb").failed(2, "newline")
    charlm("inspect", "rnn", "--trace-file", tmp_path / "t.md").failed(2, "--trace-file without --trace")
    charlm("inspect", "rnn", "--trace", "a", "--trace-file", tmp_path / "t.pdf").failed(2, "t.pdf", "FILE.tex")
    charlm("inspect", "rnn", "--trace", "a", "--trace-file", tmp_path / "no" / "t.md").failed(6, "t.md")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder.md").mkdir()
    charlm("inspect", "rnn", "--trace", "a", "--trace-file", tmp_path / "folder.md").failed(6, "folder.md")


VIEWS = [("--trace", "a", "--samples"), ("--vocabulary", "--command"), ("--samples", "--plot")]


@pytest.mark.parametrize("flags", VIEWS)
def test_two_views_at_once_are_refused(charlm, trained, flags):
    charlm("inspect", trained.char, *flags).failed(2, " with --", "leave")
