"""`charlm predict`: a line out for each line in, in every format, for tags, classes and translations."""

import itertools
import math

import pytest

from charlm import load
from charlm.inference.prediction import predict
from tests.cli.shell import SECONDS, read_line, started
from tests.task_models import WORDS, random_lines, saved

KINDS = ("tag", "yes-no", "classify", "translate")
LINES = [*random_lines([*WORDS, "what"], 25, 7), "", " ", "the", "a b c cab", "ccc", "ab"]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("predict"))


def path_of(models, kind):
    return getattr(models, kind.replace("-", "_"))


def predicted(models, kind, lines=LINES, **options):
    return list(predict(load(path_of(models, kind), device="cpu"), lines, **options))


def shown(one):
    return " ".join(one.prediction) if isinstance(one.prediction, list) else one.prediction


# ---- the formats


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_the_prediction_alone(charlm, models, kind):
    result = charlm("predict", path_of(models, kind), stdin=TEXT).succeeded()
    assert result.lines == [shown(one) for one in predicted(models, kind)]
    assert result.err == ""
    assert len(set(result.lines)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_tsv_has_the_probability_and_the_text(charlm, models, kind):
    header, *rows = charlm("predict", path_of(models, kind), "--format", "tsv", stdin=TEXT).succeeded().lines
    assert header == "prediction\tprob\ttext"
    cells = [row.split("\t", 2) for row in rows]
    expected = predicted(models, kind)
    assert [cell[0] for cell in cells] == [shown(one) for one in expected]
    assert [cell[2] for cell in cells] == LINES
    for (_, prob, _), one in zip(cells, expected, strict=True):
        probs = one.prob if isinstance(one.prob, list) else [one.prob]
        assert [float(p) for p in prob.split()] == pytest.approx(probs, rel=1e-3, abs=6e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_records(charlm, models, kind):
    records = charlm("predict", path_of(models, kind), "--format", "jsonl", stdin=TEXT).succeeded().records
    for record, one in zip(records, predicted(models, kind), strict=True):
        assert list(record)[:3] == ["text", "prediction", "prob"]
        assert (record["text"], record["prediction"]) == (one.text, one.prediction)
        assert record["prob"] == pytest.approx(one.prob, rel=1e-9)
        if kind == "classify":
            assert math.fsum(record["probs"].values()) == pytest.approx(1.0)
            assert record["probs"][record["prediction"]] == record["prob"] == max(record["probs"].values())
        elif kind == "translate":
            assert record["log10p"] == pytest.approx(math.log10(record["prob"]))
            assert "<UNK>" not in record["tokens"] and "<EOS>" not in record["tokens"]
        else:
            assert len(record["prediction"]) == len(record["prob"]) == len(record["tokens"])
            assert record["tokens"] == record["text"].split()
            assert set(record["prediction"]) <= ({"0", "1"} if kind == "yes-no" else {"N", "P", "V"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [("--batch-size", 1), ("--batch-size", 4), ("--unbuffered",)])
def test_how_it_is_computed_does_not_matter(charlm, models, kind, flags):
    args = ("predict", path_of(models, kind), "--format", "tsv")
    plain, other = (charlm(*args, *some, stdin=TEXT).succeeded() for some in ((), flags))
    assert plain.out == other.out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("text", "lines"), [(b"", 0), (b"\n", 1), (b"the", 1), (b"\n\nthe\xff\n\n", 4)])
def test_one_line_out_for_each_line_in(charlm, models, kind, text, lines):
    result = charlm("predict", path_of(models, kind), stdin=text).succeeded()
    assert len(result.lines) == lines
    records = charlm("predict", path_of(models, kind), "--format", "jsonl", stdin=text).succeeded().records
    texts = text.removesuffix(b"\n").split(b"\n") if text else []
    assert [record["text"].encode("utf-8", "surrogateescape") for record in records] == texts


def test_empty_lines_have_no_tags_and_a_class(charlm, models):
    assert charlm("predict", models.tag, stdin=b"\n\n").succeeded().lines == ["", ""]
    assert set(charlm("predict", models.classify, stdin=b"\n\n").succeeded().lines) <= {"bad", "good", "so-so"}
    assert "" not in charlm("predict", models.classify, stdin=b"\n\n").lines


# ---- translations


def test_a_beam_is_the_librarys(charlm, models):
    args = ("predict", models.translate, "--format", "jsonl")
    for beam in (1, 4):
        records = charlm(*args, "--beam", beam, stdin=TEXT).succeeded().records
        expected = predicted(models, "translate", beam=beam)
        assert [record["prediction"] for record in records] == [one.prediction for one in expected]
    greedy, beamed = (charlm(*args, *flags, stdin=TEXT).out for flags in ((), ("--beam", 4)))
    assert greedy == charlm(*args, "--beam", 1, stdin=TEXT).out != beamed


@pytest.mark.parametrize("kind", ["tag", "classify"])
def test_a_beam_is_refused_elsewhere(charlm, models, kind):
    for command in ("predict", "evaluate"):
        charlm(command, path_of(models, kind), "--beam", 2, stdin=b"").failed(2, "--beam", kind)
    charlm("predict", models.translate, "--beam", 0, stdin=b"").failed(2, "--beam")


# ---- columns


LAYOUTS = [
    ["the", "cat", "", "it", "sees", ""],
    ["the", "cat", "", "", "", "it"],
    ["", "", "the", ""],
    ["the"],
    ["", ""],
    [],
]


@pytest.mark.parametrize("kind", ["tag", "yes-no"])
@pytest.mark.parametrize("lines", LAYOUTS)
@pytest.mark.parametrize("flags", [(), ("--unbuffered",)])
def test_columns_come_back_with_a_tag_behind_each_token(charlm, models, kind, lines, flags):
    text = "".join(f"{line}\n" for line in lines).encode()
    rows = charlm("predict", path_of(models, kind), "--columns", *flags, stdin=text).succeeded().lines
    assert [row.split("\t")[0] for row in rows] == lines
    sentences = [list(group) for blank, group in itertools.groupby(lines, key=lambda line: not line) if not blank]
    expected = [" ".join(sentence) for sentence in sentences]
    tags = [tag for one in predicted(models, kind, expected) for tag in one.prediction]
    assert [row.split("\t")[1] for row in rows if row] == tags


def test_columns_can_be_tagged_again_and_evaluated(charlm, models):
    text = b"the\ncat\n\n\nit\nwhat\tN\nsees\n"
    once = charlm("predict", models.tag, "--columns", stdin=text).succeeded()
    assert charlm("predict", models.tag, "--columns", stdin=once.out).succeeded().out == once.out
    (record,) = charlm("evaluate", models.tag, "--format", "jsonl", stdin=once.out).succeeded().records
    assert (record["accuracy"], record["tokens"], record["sentences"]) == (1.0, 5, 2)


def test_columns_with_probabilities(charlm, models):
    text = b"the\ncat\n"
    (one,) = predicted(models, "tag", ["the cat"])
    rows = charlm("predict", models.tag, "--columns", "--format", "tsv", stdin=text).succeeded().lines
    cells = [row.split("\t") for row in rows if row.split("\t")[0] in ("the", "cat")]
    assert [cell[1] for cell in cells] == one.prediction
    assert [float(cell[2]) for cell in cells] == pytest.approx(one.prob, abs=6e-5)
    records = charlm("predict", models.tag, "--columns", "--format", "jsonl", stdin=text).succeeded().records
    assert [record["text"] for record in records] == ["the", "cat"]
    assert [record["prediction"] for record in records] == one.prediction


@pytest.mark.parametrize("kind", ["classify", "translate"])
def test_columns_are_of_tags(charlm, models, kind):
    charlm("predict", path_of(models, kind), "--columns", stdin=b"").failed(2, "--columns", kind)


def test_help_leads_with_examples(charlm):
    result = charlm("predict", "--help").succeeded()
    assert result.text.startswith("Usage: charlm predict ")
    assert "charlm predict " in result.text.partition("Options:")[0]


@pytest.mark.parametrize("flags", [(), ("--columns",)])
def test_unbuffered_answers_at_once(models, flags):
    with started("predict", models.tag, "--unbuffered", *flags) as process:
        for line in (b"the", b"", b"cat"):
            process.stdin.write(line + b"\n" + (b"\n" if flags and line else b""))
            answer = read_line(process.stdout)
            if flags and line:
                answer += read_line(process.stdout)
            assert (len(answer.strip()) > 0) == bool(line)
        process.stdin.close()
        assert process.wait(SECONDS) == 0
