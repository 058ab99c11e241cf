"""`charlm filter`: the lines that stay, byte for byte."""

import csv
import gzip
import io
import json
import math
import os
import subprocess
import tempfile
from itertools import pairwise

import pytest

import charlm as library
from charlm.cli.reading_twice import ReadTwice
from charlm.cli.tables_in import Source
from charlm.errors import CorpusError
from charlm.text.columns import Rows
from tests.cli.shell import on_terminal
from tests.forms import each
from tests.task_models import random_lines, saved

LINES = [line for line in random_lines("abcd", 80, 9, seed=3, between="") if line]
ODD = [b"a\r\n", b"\n", b"b\xff\xfeb\n", b"c\0\n", b"\r\n", b"a\rb\n", "日本\u2028\n".encode(), b" \t\n", b"abc"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("filter"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def values(charlm, model, path, key="bits_per_char"):
    return [record[key] for record in charlm("score", model, path, "--format", "jsonl").succeeded().records]


def between_two(figures, share):
    """Return a threshold that no line is near to, so that four decimals are enough."""
    ranked = sorted(set(figures))
    first = min(len(ranked) - 2, int(share * len(ranked)))
    _, low, high = max((high - low, low, high) for low, high in pairwise(ranked[first : first + 8]))
    return (low + high) / 2


# ---- the same as other programs


@each("share", [0.4, 0.1, 0.9], thinned=2)
def test_it_is_awk_on_score(charlm, models, text, share):
    table = charlm("score", models.lm, text).succeeded().out
    bits = [
        record["log2p"] for record in charlm("score", models.lm, text, "--log-base", 2, "--format", "jsonl").records
    ]
    for by, condition, figures in (
        ("perplexity", "$4 < x", values(charlm, models.lm, text, "perplexity")),
        ("perplexity", "$4 > x", values(charlm, models.lm, text, "perplexity")),
        ("bits", "-$1 * log(10) / log(2) < x", [-bit for bit in bits]),
        ("bits-per-char", "-$1 * log(10) / log(2) / (length($5) + 1) < x", values(charlm, models.lm, text)),
    ):
        limit = between_two(figures, share)
        rule = "--above" if ">" in condition else "--below"
        awk = ["awk", "-F\t", "-v", f"x={limit}", f"NR > 1 && {condition} {{print $5}}"]
        expected = subprocess.run(awk, input=table, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
        found = charlm("filter", models.lm, text, rule, limit, "--by", by).succeeded()
        assert found.out == expected.stdout and 0 < len(found.lines) < len(LINES)


def test_the_top_is_sort_and_head(charlm, models, text):
    ranked = sorted(zip(values(charlm, models.lm, text), range(len(LINES)), strict=True))
    for top, count in (("25%", math.ceil(len(LINES) / 4)), ("7", 7), ("100%", len(LINES)), ("1000", len(LINES))):
        kept = sorted(number for _, number in ranked[:count])
        result = charlm("filter", models.lm, text, "--top", top).succeeded()
        assert result.lines == [LINES[number] for number in kept]
        assert f"kept {count} of {len(LINES)} lines: bits/char at most {ranked[count - 1][0]:.4f}" in result.err


def test_a_percentile_of_a_clean_text(charlm, models, text, tmp_path):
    clean = tmp_path / "clean.txt"
    clean.write_text("abc\nab\n\nccc\nabcabc\n")
    ranked = sorted(values(charlm, models.lm, clean))
    found = charlm("filter", models.lm, text, "--percentile", 75, "--of", clean).succeeded()
    of_each = values(charlm, models.lm, text)
    assert found.lines == [line for line, value in zip(LINES, of_each, strict=True) if value <= ranked[3]]
    assert f"at most {ranked[3]:.4f}" in found.err
    assert charlm("filter", models.lm, clean, "--percentile", 0, "--of", clean).succeeded().out.count(b"\n") == 1


def test_the_difference_of_two_models(charlm, models, text, trained):
    first, second = (values(charlm, model, text) for model in (models.lm, trained.char))
    limit = between_two([one - other for one, other in zip(first, second, strict=True)], 0.4)
    expected = [line for line, one, two in zip(LINES, first, second, strict=True) if one - two < limit]
    result = charlm("filter", models.lm, text, "--minus", trained.char, "--below", limit).succeeded()
    assert result.lines == expected and 0 < len(expected) < len(LINES)
    assert "difference in bits/char below" in result.err
    charlm("filter", models.lm, text, "--minus", trained.char, "--below", 1, "--by", "perplexity").failed(2, "--minus")
    charlm("filter", models.lm, text, "--minus", models.tag, "--below", 1).failed(2, "--task tag")
    words = charlm("filter", models.lm, text, "--minus", trained.word, "--below", 1000)
    assert "warning: the vocabularies differ" in words.succeeded().err


def test_it_is_the_library(charlm, models, text):
    kept = library.filter_lines(library.load(models.lm), text.read_text().splitlines(), top="30%", reverse=True)
    assert charlm("filter", models.lm, text, "--top", "30%", "--reverse").lines == [one.text for one in kept]


# ---- bytes


@pytest.mark.parametrize("rule", [("--below", "inf"), ("--top", "100%")])
def test_what_stays_is_unchanged(charlm, models, tmp_path, rule):
    path, packed = tmp_path / "odd.txt", tmp_path / "odd.gz"
    path.write_bytes(b"".join(ODD))
    packed.write_bytes(gzip.compress(b"".join(ODD)))
    for found in (
        charlm("filter", models.lm, path, *rule),
        charlm("filter", models.lm, packed, *rule),
        charlm("filter", models.lm, *rule, stdin=b"".join(ODD)),
    ):
        assert found.succeeded().out == b"".join(ODD)
    # A file that does not end in a newline gets one before the line that follows, as the mark of a file goes.
    path.write_bytes(b"\xef\xbb\xbfa")
    assert charlm("filter", models.lm, path, packed, path, *rule).out == b"a\n" + b"".join(ODD) + b"\na"


def test_the_lines_that_stay_and_those_that_go_are_the_input(charlm, models, tmp_path):
    path = tmp_path / "odd.txt"
    path.write_bytes(b"".join(ODD))
    figures = values(charlm, models.lm, path)
    limit = between_two(figures, 0.5)
    kept = charlm("filter", models.lm, path, "--below", limit).succeeded().out
    dropped = charlm("filter", models.lm, path, "--below", limit, "--reverse").succeeded()
    assert kept == b"".join(line for line, value in zip(ODD, figures, strict=True) if value < limit)
    assert dropped.out == b"".join(line for line, value in zip(ODD, figures, strict=True) if value >= limit)
    assert "lines: bits/char not below" in dropped.err


ROWS = [("1", "abc"), ("2", 'a, "b"\nc'), ("3", ""), ("4", "dddd"), ("5", "ab")]


@pytest.mark.parametrize("rule", [("--below", "{}"), ("--top", "3")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_of_tables_are_kept_whole(charlm, models, tmp_path, rule, end):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end).writerows([("id", "text"), *ROWS])
    lines = tmp_path / "texts.txt"
    lines.write_text("".join(f"{text.replace(chr(10), ' ')}\n" for _, text in ROWS))
    figures = values(charlm, models.lm, lines)
    flag, value = rule[0], rule[1].format(sum(sorted(figures)[2:4]) / 2)
    kept = [row for row, figure in zip(ROWS, figures, strict=True) if figure <= sorted(figures)[2]]
    assert len(kept) == 3
    expected = io.StringIO(newline="")
    csv.writer(expected, lineterminator=end).writerows([("id", "text"), *kept])
    path = tmp_path / "t.csv"
    path.write_bytes(buffer.getvalue().encode())
    found = charlm("filter", models.lm, path, "--field", "text", flag, value).succeeded()
    assert found.out == expected.getvalue().encode()
    stdin = ("--field", "text", "--input-format", "csv")
    assert charlm("filter", models.lm, *stdin, flag, value, stdin=path.read_bytes()).out == found.out
    # One header for several files.
    twice = charlm("filter", models.lm, path, path, "--field", "text", "--below", "inf").succeeded().out
    assert twice == path.read_bytes() + path.read_bytes().split(b"\n", 1)[1]
    records = tmp_path / "t.jsonl"
    objects = {one: json.dumps({"id": one, "text": text}).encode() + end.encode() for one, text in ROWS}
    records.write_bytes(b"".join(objects.values()))
    as_json = charlm("filter", models.lm, records, "--field", "text", flag, value).succeeded().out
    assert as_json == b"".join(objects[one] for one, _ in kept)


def test_a_number_of_a_column_has_no_header(charlm, models):
    stdin = b"1\tabc\textra\n2\tdddd\t\n"
    assert charlm("filter", models.lm, "--field", 2, "--below", "inf", stdin=stdin).succeeded().out == stdin
    warned = charlm("filter", models.lm, "--field", 2, "--below", "inf", stdin=b"id\ttext\n1\tabc\n")
    assert warned.succeeded().out == b"id\ttext\n1\tabc\n" and "looks like a header" in warned.err


# ---- nothing, and what cannot be scored


def test_nothing_kept_is_1(charlm, models, text):
    result = charlm("filter", models.lm, text, "--below", 0.001)
    assert (result.code, result.out) == (1, b"")
    figures = values(charlm, models.lm, text)
    said = f"kept 0 of {len(LINES)} lines: bits/char below 0.001; they have {min(figures):.4f} to {max(figures):.4f}\n"
    assert result.err == said
    assert charlm("filter", models.lm, text, "--below", 0.001, "-q").err == ""
    assert charlm("filter", models.lm, text, "--below", "inf", "--reverse").code == 1
    for rule in (("--below", 5), ("--top", "5%"), ("--top", "5%", "--reverse")):
        result = charlm("filter", models.lm, *rule, stdin=b"")
        assert (result.code, result.out) == (1, b"") and " 0 of 0 lines" in result.err
    # The header of a table stays.
    header = charlm("filter", models.lm, "--field", "t", "--below", 0.001, stdin=b"t\nabc\n")
    assert (header.code, header.out) == (1, b"t\n")


def test_an_empty_line_stays_or_goes_by_its_figure(charlm, models):
    """To a cloze model it has none, and never stays."""
    assert charlm("filter", models.lm, "--below", "inf", stdin=b"a\n\nb\n").out == b"a\n\nb\n"
    for rule in (("--below", "inf"), ("--above", "-inf"), ("--top", "100%")):
        assert charlm("filter", models.cloze_char, *rule, stdin=b"a\n\nb\n").succeeded().out == b"a\nb\n"
        assert charlm("filter", models.cloze_char, *rule, "--reverse", stdin=b"a\n\nb\n").succeeded().out == b"\n"


def test_labels_stay_with_their_texts(charlm, models):
    stdin = b"x\tabc\nzz\tc\n"
    assert charlm("filter", models.conditioned, "--below", "inf", stdin=stdin).succeeded().out == stdin
    charlm("filter", models.conditioned, "--below", 1, "--field", 2, stdin=stdin).failed(2, "--condition")
    result = charlm("filter", models.conditioned, "--below", "inf", stdin=b"x\tabc\nno\tc\n")
    assert result.failed(3, "'no' was never seen", "line 2").out == b"x\tabc\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ("no rule", "--top P%")),
        (("--below", 1, "--top", "5%"), ("--top with --below",)),
        (("--top", "5 percent"), ("--top is '5 percent'", "--top 20%")),
        (("--below", "nan"), ("--below is not a number",)),
        (("--percentile", 95), ("--of CLEAN",)),
        (("--percentile", 95, "--of", "-"), ("--of - with FILE -",)),
        (("--below", 1, "--field", "t", "--input-format", "text"), ("--input-format text",)),
        (("a.csv", "b.tsv", "--below", 1, "--field", 1), ("tables of several formats",)),
    ],
)
def test_what_is_refused(charlm, models, args, words):
    assert charlm("filter", models.lm, *args, stdin=b"abc\n").failed(2, *words).out == b""


# ---- reading twice


def test_standard_input_is_copied_and_the_copy_is_gone(charlm, models, text, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    from_file = charlm("filter", models.lm, text, "--top", "40%").succeeded().out
    seen = []
    made = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: seen.append(made()) or seen[-1])
    assert charlm("filter", models.lm, "--top", "40%", stdin=text.read_bytes()).succeeded().out == from_file
    assert seen[0].closed and not [*tmp_path.iterdir()]
    charlm("filter", models.lm, "--below", 1000, stdin=text.read_bytes()).succeeded()
    assert len(seen) == 1


@pytest.mark.parametrize("rule", [("--below", 2.2), ("--top", "20%")])
def test_memory_holds_the_rows_of_a_window(charlm, models, monkeypatch, rule):
    """Whatever is read: the rows wait for the values of at most 32 batches."""
    waiting, taken = [], Rows.taken

    def watched(self):
        waiting.append(len(self._waiting))
        return taken(self)

    monkeypatch.setattr(Rows, "taken", watched)
    args = ("filter", models.lm, *rule, "--minus", models.lm, "--batch-size", 8, "-q")
    charlm(*args, stdin=b"ab\nc\n" * 500)
    assert len(waiting) == 1000 and max(waiting) == 32 * 8


def test_a_disk_without_room_is_told(charlm, models, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    charlm("filter", models.lm, "--top", "40%", stdin=b"abc\n").failed(6, "No space left", "TMPDIR")


@pytest.mark.parametrize(
    ("now", "printed"), [(b"abc\ncd\nabcd\n", None), (b"abc\nce\n", ["abc\n"]), (b"abc\n", ["abc\n"])]
)
def test_a_file_that_changes_between_its_readings(tmp_path, now, printed):
    """What was added since is left out; nothing else may differ."""
    path = tmp_path / "lines.txt"
    path.write_bytes(b"abc\ncd\n")
    source = Source([str(path)], keeps_raw=True)
    with ReadTwice(source) as twice:
        assert list(twice.first(len(line) for line in source.lines)) == [3, 2]
        path.write_bytes(now)
        rows = twice.again()
        if printed is None:
            assert list(rows) == ["abc\n", "cd\n"]
            return
        assert [next(rows) for _ in printed] == printed
        with pytest.raises(CorpusError, match="written to while it was read twice"):
            next(rows)


# ---- at a terminal


@pytest.mark.slow
def test_a_bar_shows_how_far_it_is(models, text):
    code, shown = on_terminal("filter", models.lm, text, "--top", "40%")
    assert code == 0 and b"/s" in shown and b"kept 3" in shown
