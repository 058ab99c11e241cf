"""`charlm fill`: a line out for each line in, the gaps filled, and every other byte as it came."""

import pytest

from charlm import load
from charlm.inference.cloze import Filler
from tests.cli.shell import SECONDS, read_line, started
from tests.task_models import saved

LINES = ["the ___ sees it.", "no gap,  here\t", "", "___, ___ and ___", " ", "(___)", "____s a___b"]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("fill"))


def filled_by(path, lines=LINES, **options):
    return list(Filler(load(path, device="cpu"), **options).fill(lines))


def test_each_line_comes_back_filled(charlm, models):
    result = charlm("fill", models.cloze, stdin=TEXT).succeeded()
    assert result.lines == [one.filled for one in filled_by(models.cloze)]
    assert result.err.count("\n") == 1 and "lines without a gap, printed as they are: 4 of 7;" in result.err
    for line, filled in zip(LINES, result.lines, strict=True):
        gaps = len(filled_by(models.cloze, [line])[0].gaps)
        assert gaps == (0 if "____" in line else line.count("___"))
        assert (filled == line) == (gaps == 0)


def test_a_model_of_characters_fills_one_for_each_gap(charlm, models):
    result = charlm("fill", models.cloze_char, stdin=b"a___b\n______\nabc\n\n").succeeded()
    assert [len(line) for line in result.lines] == [3, 2, 3, 0]
    assert result.lines[0][0] == "a" and result.lines[0][2] == "b" and result.lines[2] == "abc"
    assert result.lines == [one.filled for one in filled_by(models.cloze_char, ["a___b", "______", "abc", ""])]


def test_records(charlm, models):
    for flags, count in (((), 1), (("-n", "3"), 3), (("--num-candidates", "100"), 7)):
        records = charlm("fill", models.cloze, "--format", "jsonl", *flags, stdin=TEXT).succeeded().records
        expected = filled_by(models.cloze, candidates=count)
        for record, one in zip(records, expected, strict=True):
            assert set(record) == {"text", "filled", "gaps"}
            assert (record["text"], record["filled"]) == (one.text, one.filled)
            assert record["gaps"] == [[{"token": c.token, "prob": c.prob} for c in gap] for gap in one.gaps]
            assert all(len(gap) == count for gap in record["gaps"])
    assert [len(record["gaps"]) for record in records] == [1, 0, 0, 3, 0, 1, 0]
    for gap in (gap for record in records for gap in record["gaps"]):
        assert sum(one["prob"] for one in gap) == pytest.approx(1.0)
        assert not {one["token"] for one in gap} & {"<UNK>", "<EOS>"}


def listed(one):
    return [" ".join(f"{c.token} {c.prob:.4f}" for c in gap) for gap in one.gaps]


def test_candidates_are_listed_behind_the_line(charlm, models):
    lines = charlm("fill", models.cloze, "-n", 2, stdin=TEXT).succeeded().lines
    expected = [
        [one.filled.replace("\t", "\\t"), " | ".join(listed(one))] for one in filled_by(models.cloze, candidates=2)
    ]
    assert [line.split("\t") for line in lines] == expected


@pytest.mark.parametrize("flags", [("-n", 1), ("-n", 5), ("--format", "tsv"), ("--format", "tsv", "-n", 2)])
@pytest.mark.parametrize("kind", ["cloze", "cloze_char"])
def test_every_line_has_as_many_columns_whatever_its_gaps(charlm, models, kind, flags):
    text = TEXT + b"\\ ___\t___\n" + b"___\r___ ___ ___\n"
    lines = charlm("fill", getattr(models, kind), *flags, stdin=text).succeeded().lines
    assert len(lines) == len(LINES) + 2 + ("tsv" in flags)
    assert {line.count("\t") for line in lines} == {2 if "tsv" in flags else 1}


WITHOUT = ["____s", "the __ cat", "[MASK]", "...", "_ _ _", "", "a___b", "<mask> _", "___1"]


@pytest.mark.parametrize(
    "flags", [(), ("-n", 2), ("--format", "tsv"), ("--format", "jsonl"), ("--unbuffered",), ("-q",)]
)
@pytest.mark.parametrize("gaps", [0, 1, 3])
def test_lines_without_a_gap_are_counted_in_one_warning(charlm, models, flags, gaps):
    text = "".join(f"{line}\n" for line in [*WITHOUT, *["the ____ sees"] * gaps, *WITHOUT])
    result = charlm("fill", models.cloze, *flags, stdin=text.encode()).succeeded()
    (warning,) = result.err.splitlines()
    assert warning.startswith(
        f"charlm: warning: lines without a gap, printed as they are: 18 of {18 + gaps}; a gap is three"
    )
    assert result.text.count("____s") >= 2 and result.text.count("[MASK]") >= 2


@pytest.mark.parametrize(
    ("kind", "text"), [("cloze", "___\n(____).\n"), ("cloze_char", "___\na______b\n"), ("cloze", "")]
)
def test_without_such_lines_nothing_is_said(charlm, models, kind, text):
    assert charlm("fill", getattr(models, kind), stdin=text.encode()).succeeded().err == ""


def test_of_characters_the_warning_says_what_a_gap_is(charlm, models):
    result = charlm("fill", models.cloze_char, stdin=b"_" * 80 + b"\n____\n").succeeded()
    assert result.out == b"_" * 80 + b"\n____\n"
    assert "2 of 2; a gap is three underscores for each character" in result.err


def test_tsv_has_a_header(charlm, models):
    header, *rows = charlm("fill", models.cloze, "--format", "tsv", stdin=TEXT).succeeded().lines
    assert header == "text\tfilled\tcandidates"
    escaped = [[text.replace("\t", "\\t") for text in (one.text, one.filled)] for one in filled_by(models.cloze)]
    rest = [" | ".join(listed(one)) for one in filled_by(models.cloze)]
    assert rows == ["\t".join([*texts, last]) for texts, last in zip(escaped, rest, strict=True)]


@pytest.mark.parametrize("flags", [("--batch-size", 1), ("--batch-size", 3), ("--unbuffered",), ("--threads", 1)])
def test_how_it_is_computed_does_not_matter(charlm, models, flags):
    plain, other = (charlm("fill", models.cloze, *some, stdin=TEXT * 5).succeeded() for some in ((), flags))
    assert plain.out == other.out
    assert len(plain.lines) == 5 * len(LINES)


def test_bytes_that_are_no_utf8_come_through(charlm, models):
    text = b"\xff ___ \x80\xfe\nno\xff\n"
    result = charlm("fill", models.cloze, stdin=text).succeeded()
    first, second, _ = result.out.split(b"\n")
    assert first.startswith(b"\xff ") and first.endswith(b" \x80\xfe") and b"___" not in first
    assert second == b"no\xff"
    assert result.err.count("not UTF-8") == 1
    records = charlm("fill", models.cloze, "--format", "jsonl", stdin=text).succeeded().records
    assert records[0]["text"].encode("utf-8", "surrogateescape") == b"\xff ___ \x80\xfe"


@pytest.mark.parametrize(
    ("text", "out"), [(b"", b""), (b"\n", b"\n"), (b"a", b"a\n"), (b"a\r\nb", b"a\nb\n"), (b"a\rb\n", b"a\rb\n")]
)
def test_what_ends_a_line(charlm, models, text, out):
    assert charlm("fill", models.cloze, stdin=text).succeeded().out == out


def test_files_are_read_as_one_in_order(charlm, models, tmp_path):
    (tmp_path / "one").write_text("1\n2")
    (tmp_path / "two").write_text("3\n")
    result = charlm("fill", models.cloze, tmp_path / "one", "-", tmp_path / "two", stdin=b"x\n").succeeded()
    assert result.lines == ["1", "2", "x", "3"]
    charlm("fill", models.cloze, tmp_path / "none").failed(3, "none")


@pytest.mark.parametrize(("flag", "value"), [("-n", 0), ("-n", "many"), ("--format", "xml"), ("--batch-size", 0)])
def test_flags_out_of_range(charlm, models, flag, value):
    assert charlm("fill", models.cloze, flag, value, stdin=TEXT).failed(2).out == b""


def test_help_leads_with_examples(charlm):
    result = charlm("fill", "--help").succeeded()
    assert result.text.startswith("Usage: charlm fill ")
    assert "___" in result.text.partition("Options:")[0]


def test_unbuffered_answers_each_line_at_once(models):
    with started("fill", models.cloze, "--unbuffered") as process:
        for line in (b"the ___", b"", b"plain"):
            process.stdin.write(line + b"\n")
            answer = read_line(process.stdout)
            assert answer == line + b"\n" if b"___" not in line else answer.startswith(b"the ")
            assert answer.endswith(b"\n")
        process.stdin.close()
        assert process.wait(SECONDS) == 0
