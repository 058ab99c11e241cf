"""KenLM's and SRILM's formats of text in which the ends of sentences are spelled out: one `</s>` a line."""

import math
import re

import pytest

from charlm import checkpoint
from tests import task_models

LINES = ["a b c", "", "b", "c zebra"]
SPELLED = ("<s> {} </s>", "<s> {}", "{} </s>", " <s>  {}\t</s> ")
APART = {"level": "word", "split": "whitespace"}
MODELS = {  # tokens, labels, target tokens, the text's fields, the network's fields
    "plain": ("abc", (), (), APART, {"task": "lm"}),
    "punct": ("abc", (), (), {"level": "word"}, {"task": "lm"}),
    "char": ("abc ", (), (), {}, {"task": "lm"}),
    "conditioned": ("abc", ("x", "y"), (), APART, {"task": "lm"}),
    "tagged": (("a", "b", "c", "<s>", "</s>"), (), (), APART, {"task": "lm"}),
}
formats = pytest.mark.parametrize("form", ["kenlm", "srilm"])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in MODELS.items():
            patch.setitem(task_models.KINDS, name, kind)
            checkpoint.save(folder / name, task_models.task_model(name))
    return folder


@pytest.fixture
def scored(charlm, models):
    """Score lines; give the result."""

    def call(model, lines, form, *flags):
        label = "x\t" if model == "conditioned" else ""
        text = "".join(f"{label}{line}\n" for line in lines).encode()
        return charlm("score", models / model, "--format", form, *flags, stdin=text).succeeded()

    return call


def tokens_of(lines, form):
    """Give word and log10 of each token, line by line, as the formats' own tools take them."""
    if form == "kenlm":
        rows = [line.split("\t")[:-1] for line in lines if "Total: " in line]
        return [[(cell.split("=")[0], float(cell.split()[-1])) for cell in row] for row in rows]
    rows, words = [], []
    for line in lines[:-2]:
        if line.startswith("\tp( "):
            words.append((line.split()[1], float(line.split()[-2])))
        elif not line:
            rows, words = [*rows, words] if words else rows, []
    return rows


@formats
@pytest.mark.parametrize("model", ["plain", "punct", "char", "conditioned"])
def test_ends_that_are_spelled_out_are_those_that_every_line_has(scored, model, form):
    lines = LINES[:1] + LINES[2:] if model == "conditioned" else LINES
    plain = scored(model, lines, form)
    assert plain.err == ""
    for spelled in SPELLED:
        apart = spelled.replace("\t", " ") if model == "conditioned" else spelled
        result = scored(model, [apart.format(line) for line in lines], form)
        assert result.out == plain.out
        assert result.err.count("charlm: warning: ") == 1 and "<s> or </s>" in result.err


@formats
def test_a_model_that_has_learned_them_keeps_its_figures(scored, form):
    """P(<s>, y) and P(</s>, <EOS>) are those of one token each: so many tokens as a line has for other programs."""
    lines = [SPELLED[0].format(line) for line in LINES[:3]]
    result = scored("tagged", lines, form)
    assert "in training" in result.err and result.err.count("charlm: warning: ") == 1
    whole = [record["log10p"] for record in scored("tagged", lines, "jsonl").records]
    rows = tokens_of(result.lines, form)
    assert [[word for word, _ in row] for row in rows] == [["a", "b", "c", "</s>"], ["</s>"], ["b", "</s>"]]
    assert [sum(log10 for _, log10 in row) for row in rows] == pytest.approx(whole, rel=1e-4)
    total = math.fsum(whole)
    if form == "kenlm":
        assert result.lines[-1] == "Tokens:\t7"
        assert float(result.lines[-4].split("\t")[1]) == pytest.approx(10 ** (-total / 7), rel=1e-4)
    else:
        assert result.lines[-2] == "file -: 3 sentences, 4 words, 0 OOVs"
        assert [line for line in result.lines if "s>" in line and "p( " not in line] == []
        assert f"logprob= {total:.6g} " in result.lines[-1]


@formats
@pytest.mark.parametrize("model", ["plain", "tagged"])
def test_within_a_line_they_are_words_and_end_nothing(scored, model, form):
    result = scored(model, ["a </s> b <s> c", "<s> <s> a </s> </s>"], form)
    for row in tokens_of(result.lines, form):
        words = [word for word, _ in row]
        assert words[-1] == "</s>" and words.count("</s>") == 1 and "<s>" not in words
    shown = "\n".join(line for line in result.lines if "=" in line)
    assert ("\\x3c/s>" in shown) == (form == "kenlm" or model == "tagged")


@formats
def test_without_an_end_there_is_none(scored, form):
    for model in ("plain", "tagged"):
        rows = tokens_of(scored(model, ["<s> a b </s>"], form, "--no-eos").lines, form)
        assert all("</s>" not in word for row in rows for word, _ in row)


@pytest.mark.parametrize("form", ["tsv", "text", "jsonl"])
def test_our_own_formats_read_them_as_they_stand(scored, form):
    result = scored("plain", ["<s> a </s>"], form)
    assert result.err == ""
    assert result.out != scored("plain", ["a"], form).out
    assert form == "text" or "<s> a </s>" in result.text


def test_what_only_looks_like_them_is_no_end(scored):
    for line in ("<s>a", "a</s>", "<S> a", "</s>a b", "s> a", "<s/> a </ s>"):
        result = scored("plain", [line], "kenlm")
        assert result.err == ""
        assert len(re.findall(r"=\d+ ", result.lines[0])) == len(line.split()) + 1
