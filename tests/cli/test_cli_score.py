"""`charlm score`: a line out for each line in, in every format, and formats that other tools read."""

import itertools
import math
import re

import numpy as np
import pytest

from charlm import checkpoint, load
from charlm.cli.tables_out import tsv_field
from charlm.inference.scoring import Scorer
from tests.cli.shell import SECONDS, read_line, run, started
from tests.inference.test_scoring import random_model
from tests.task_models import task_model

LINES = ["Ratoni", "", "sau rus", "R?a\N{SNOWMAN}", "x" * 300, " ", "Tri\tce", "back\\slash"]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


def scores_of(path, lines=LINES, **options):
    return list(Scorer(load(path, device="cpu"), **options).score(lines))


# ---- the formats


def test_tsv_is_the_default(trained):
    result = run("score", trained.char, stdin=TEXT).succeeded()
    assert result.err == ""
    header, *rows = result.lines
    assert header == "log10p\ttokens\toov\tperplexity\ttext"
    expected = [
        f"{s.log10p:.4f}\t{s.tokens}\t{s.oov}\t{s.perplexity:.4f}\t{tsv_field(s.text)}" for s in scores_of(trained.char)
    ]
    assert rows == expected
    assert [row.split("\t")[4] for row in rows] == [*LINES[:6], "Tri\\tce", "back\\\\slash"]


def test_text_is_the_number_alone(charlm, trained):
    result = charlm("score", trained.char, "--format", "text", stdin=TEXT).succeeded()
    assert result.lines == [f"{score.log10p:.4f}" for score in scores_of(trained.char)]


def test_records(charlm, trained):
    records = charlm("score", trained.char, "--format", "jsonl", stdin=TEXT).succeeded().records
    for record, score in zip(records, scores_of(trained.char), strict=True):
        assert set(record) == {"text", "log10p", "prob", "tokens", "oov", "perplexity", "bits_per_char"}
        assert (record["text"], record["tokens"], record["oov"]) == (score.text, score.tokens, score.oov)
        assert record["log10p"] == pytest.approx(score.log10p, abs=1e-6)
        assert record["prob"] == pytest.approx(score.prob, rel=1e-4)
        assert record["perplexity"] == pytest.approx(score.perplexity, rel=1e-5)
        assert record["bits_per_char"] == pytest.approx(score.bits_per_char, rel=1e-5)


def test_records_per_token(charlm, trained):
    args = ("--format", "jsonl", "--per", "token")
    records = charlm("score", trained.word, *args, stdin=b"the zebra sees it.\n\n").succeeded().records
    assert [len(record["token_scores"]) for record in records] == [6, 1]
    for record in records:
        assert set(record) > {"text", "log10p", "tokens", "oov", "token_scores"}
        assert len(record["token_scores"]) == record["tokens"]
        assert sum(token["log10p"] for token in record["token_scores"]) == pytest.approx(record["log10p"])
        assert sum(token["oov"] for token in record["token_scores"]) == record["oov"]
        assert all(set(token) == {"token", "log10p", "oov"} for token in record["token_scores"])
    first = records[0]["token_scores"]
    assert [token["oov"] for token in first] == [False, True, False, False, False, False]
    assert [first[at]["token"] for at in (0, 2, 3, 4, 5)] == ["the", "sees", "it", ".", "<EOS>"]


def test_tsv_per_token(charlm, trained):
    result = charlm("score", trained.char, "--per", "token", stdin=b"R\t\n\nsa\n").succeeded()
    header, *rows = result.lines
    assert header == "line\ttoken\tlog10p\toov"
    cells = [row.split("\t") for row in rows]
    assert [(line, token, oov) for line, token, _, oov in cells] == [
        ("1", "R", "0"),
        ("1", "\\t", "1"),
        ("1", "<EOS>", "0"),
        ("2", "<EOS>", "0"),
        ("3", "s", "0"),
        ("3", "a", "0"),
        ("3", "<EOS>", "0"),
    ]
    expected = [t.nats for s in scores_of(trained.char, ["R\t", "", "sa"], per_token=True) for t in s.token_scores]
    np.testing.assert_allclose([float(cell[2]) for cell in cells], -np.array(expected) / math.log(10), atol=6e-5)


def test_text_per_token_is_a_line_for_each_line(charlm, trained):
    result = charlm("score", trained.char, "--format", "text", "--per", "token", stdin=b"Ra\n\n").succeeded()
    assert [len(line.split(" ")) for line in result.lines] == [3, 1]


@pytest.mark.parametrize(
    ("base", "key", "unit"), [("10", "log10p", math.log(10)), ("2", "log2p", math.log(2)), ("e", "lnp", 1)]
)
def test_the_base_of_the_logarithm_is_in_the_name(charlm, trained, base, key, unit):
    nats = [score.nats for score in scores_of(trained.char)]
    expected = [-n / unit for n in nats]
    args = ("score", trained.char, "--log-base", base)
    tsv = charlm(*args, stdin=TEXT).succeeded().lines
    assert tsv[0] == f"{key}\ttokens\toov\tperplexity\ttext"
    np.testing.assert_allclose([float(line.split("\t")[0]) for line in tsv[1:]], expected, atol=1e-3)
    text = charlm(*args, "--format", "text", stdin=TEXT).succeeded().lines
    np.testing.assert_allclose([float(line) for line in text], expected, atol=1e-3)
    records = charlm(*args, "--format", "jsonl", "--per", "token", stdin=TEXT).succeeded().records
    np.testing.assert_allclose([record[key] for record in records], expected, atol=1e-4)
    assert all(key in token for record in records for token in record["token_scores"])
    others = {"log10p", "log2p", "lnp"} - {key}
    assert not any(others & set(record) for record in records)
    per_token = charlm(*args, "--per", "token", stdin=TEXT).succeeded().lines
    assert per_token[0] == f"line\ttoken\t{key}\toov"


# ---- what a line is


def test_thousands_of_lines_come_out_in_order(charlm, trained):
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("Rratonisu"), rng.integers(0, 20))) for _ in range(4_000)]
    assert lines.count("") > 50
    text = "".join(f"{line}\n" for line in lines).encode()
    rows = charlm("score", trained.char, "-", stdin=text).succeeded().lines[1:]
    assert [row.split("\t", 4)[4] for row in rows] == lines
    some = range(0, 4_000, 397)
    alone = [scores_of(trained.char, [lines[i]], batch_size=1)[0].log10p for i in some]
    np.testing.assert_allclose([float(rows[i].split("\t")[0]) for i in some], alone, atol=1.1e-4)
    by_sevens = charlm("score", trained.char, "--batch-size", 7, stdin=text).succeeded().lines[1:]
    for one, two in zip(rows, by_sevens, strict=True):
        assert one.split("\t")[4] == two.split("\t")[4]
        assert abs(float(one.split("\t")[0]) - float(two.split("\t")[0])) < 1.5e-4


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"Ra", [b"Ra"]),
        (b"Ra\r\nto\r\n", [b"Ra", b"to"]),
        (b"\xef\xbb\xbfRa\n", [b"Ra"]),
        (b"R\ra\x0bt\x0co\x1cn\n", [b"R\ra\x0bt\x0co\x1cn"]),
        ("R\u2028a\x85t\n".encode(), ["R\u2028a\x85t".encode()]),
        (b"R\xff\xfea\n\x80\n", [b"R\xff\xfea", b"\x80"]),
        (b"R\0a\n", [b"R\0a"]),
    ],
)
def test_what_ends_a_line_and_that_every_byte_survives(charlm, trained, text, lines):
    out = charlm("score", trained.char, stdin=text).succeeded().out
    escaped = [line.replace(b"\r", b"\\r") for line in lines]
    assert [row.split(b"\t")[4] for row in out.split(b"\n")[1:-1]] == escaped
    records = charlm("score", trained.char, "--format", "jsonl", stdin=text).succeeded().records
    assert [record["text"].encode("utf-8", "surrogateescape") for record in records] == lines


def test_bytes_that_are_no_utf8_are_warned_of_once_and_are_unknown(charlm, trained):
    result = charlm("score", trained.char, stdin=b"R\xff\n\xfe\n" * 100).succeeded()
    assert result.err.count("charlm: warning:") == 1 and result.err.count("\n") == 1
    assert {row.split(b"\t")[2] for row in result.out.split(b"\n")[1:-1]} == {b"1"}


def test_files_are_read_as_one_in_order(charlm, trained, tmp_path):
    one, two = tmp_path / "one", tmp_path / "-two"
    one.write_bytes(b"Ra\nto")
    two.write_bytes(b"ni\n")
    for args, expected in (
        ([one], ["Ra", "to"]),
        ([one, two], ["Ra", "to", "ni"]),
        ([one, "-", two], ["Ra", "to", "sau", "ni"]),
        ([], ["sau"]),
        (["-"], ["sau"]),
        (["--", two], ["ni"]),
    ):
        rows = charlm("score", trained.char, *args, stdin=b"sau\n").succeeded().lines[1:]
        assert [row.split("\t", 4)[4] for row in rows] == expected


def test_a_missing_file_is_told(charlm, trained, tmp_path):
    charlm("score", trained.char, tmp_path / "missing").failed(3, "missing")
    charlm("score", trained.char, tmp_path).failed(3, "directory")


def test_a_very_long_line(charlm, trained):
    line = b"Ratonisau" * 8_000
    (record,) = charlm("score", trained.char, "--format", "jsonl", stdin=line).succeeded().records
    assert record["tokens"] == len(line) + 1
    assert record["prob"] == 0.0


# ---- flags


def test_without_the_end(charlm, trained):
    records = charlm("score", trained.char, "--no-eos", "--format", "jsonl", stdin=b"Ra\n\n").succeeded().records
    first, second = scores_of(trained.char, ["Ra", ""], has_eos=False)
    assert records[0]["log10p"] == pytest.approx(first.log10p, abs=1e-6)
    assert (records[0]["tokens"], records[1]["tokens"]) == (2, 0)
    assert (records[1]["log10p"], records[1]["prob"], records[1]["perplexity"]) == (0, 1, None)
    assert second.nats == 0.0
    tsv = charlm("score", trained.char, "--no-eos", stdin=b"\n").succeeded().lines
    assert tsv[1].split("\t")[0] == "0.0000"
    assert charlm("score", trained.char, "--no-eos", "--format", "text", stdin=b"\n").succeeded().out == b"0.0000\n"


def test_the_state_is_carried_where_it_is_asked_for(charlm, trained):
    text = b"the cat sees fish.\nshe likes it, too.\n"
    lines = text.decode().splitlines()
    apart = charlm("score", trained.stream, "--format", "text", stdin=text).succeeded().lines
    carried = charlm("score", trained.stream, "--format", "text", "--carry-state", stdin=text).succeeded().lines
    assert apart == [f"{s.log10p:.4f}" for s in scores_of(trained.stream, lines)]
    assert carried == [f"{s.log10p:.4f}" for s in scores_of(trained.stream, lines, carry_state=True)]
    assert apart != carried
    charlm("score", trained.char, "--carry-state", stdin=text).failed(2, "--carry-state")


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--batch-size", "0"), ("--format", "xml"), ("--per", "sentence"), ("--log-base", "3"), ("--threads", "0")],
)
def test_flags_out_of_range(charlm, trained, flag, value):
    assert charlm("score", trained.char, flag, value, stdin=TEXT).failed(2, flag).out == b""


# ---- it is a probability


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("tokens", "longest"), [("a", 6), ("abc", 3)])
def test_the_probabilities_of_all_strings_sum_to_one(tmp_path, tokens, longest):
    path = tmp_path / "random.safetensors"
    checkpoint.save(path, random_model(tokens))
    symbols = [*tokens, "?"]
    whole = ["".join(s) for n in range(longest + 1) for s in itertools.product(symbols, repeat=n)]
    begun = ["".join(s) for s in itertools.product(symbols, repeat=longest + 1)]
    total = 0.0
    for lines, flags in ((whole, []), (begun, ["--no-eos"])):
        text = "".join(f"{line}\n" for line in lines).encode()
        records = run("score", path, "--format", "jsonl", *flags, stdin=text).succeeded().records
        assert [record["text"] for record in records] == lines
        total += math.fsum(record["prob"] for record in records)
    assert total == pytest.approx(1.0, abs=1e-6)


# ---- KenLM

SENTENCES = ["the cat sees fish.", "", "a zebra likes the zebra"]
SENTENCES_TEXT = "".join(f"{line}\n" for line in SENTENCES).encode()


def test_kenlm(charlm, trained):
    lines = charlm("score", trained.word, "--format", "kenlm", stdin=SENTENCES_TEXT).succeeded().lines
    scores = scores_of(trained.word, SENTENCES, per_token=True)
    vocabulary = load(trained.word).tokenizer.vocabulary
    assert len(lines) == 3 + 4
    surfaces = [["the", "cat", "sees", "fish", ".", "</s>"], ["</s>"], ["a", "zebra", "likes", "the", "zebra", "</s>"]]
    for line, score, words in zip(lines, scores, surfaces, strict=False):
        *cells, end = line.split("\t")
        parsed = [re.fullmatch(r"(\S+)=(\d+) (\d+) (-?\d\S*)", cell).groups() for cell in cells]
        assert [word for word, *_ in parsed] == words
        for (word, number, _, log10), token in zip(parsed, score.token_scores, strict=True):
            assert (number == "0") == token.oov == (word not in {*vocabulary.tokens, "</s>"})
            assert (number == "2") == (word == "</s>")
            assert float(log10) == pytest.approx(-token.nats / math.log(10), rel=1e-4)
        total, oov = re.fullmatch(r"Total: (\S+) OOV: (\d+)", end).groups()
        assert float(total) == pytest.approx(sum(float(log10) for *_, log10 in parsed), rel=1e-4)
        assert int(oov) == score.oov == sum(number == "0" for _, number, *_ in parsed)
    log10 = sum(score.log10p for score in scores)
    tokens, oov = sum(score.tokens for score in scores), sum(score.oov for score in scores)
    known = log10 + sum(score.oov_nats for score in scores) / math.log(10)
    summary = [line.split("\t") for line in lines[3:]]
    assert [name for name, _ in summary] == [
        "Perplexity including OOVs:",
        "Perplexity excluding OOVs:",
        "OOVs:",
        "Tokens:",
    ]
    assert float(summary[0][1]) == pytest.approx(10 ** (-log10 / tokens), rel=1e-4)
    assert float(summary[1][1]) == pytest.approx(10 ** (-known / (tokens - oov)), rel=1e-4)
    assert (oov, tokens) == (2, 13)
    assert (summary[2][1], summary[3][1]) == ("2", "13")


def test_the_same_token_has_the_same_number_in_kenlm(charlm, trained):
    lines = charlm("score", trained.word, "--format", "kenlm", stdin=b"the cat\ncat the\n").succeeded().lines
    numbers = [dict(cell.rsplit(" ", 2)[0].split("=") for cell in line.split("\t")[:-1]) for line in lines[:2]]
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0].values())) == 3


@pytest.mark.parametrize("form", ["kenlm", "srilm"])
def test_white_space_as_a_token_keeps_the_fields_apart(charlm, trained, form):
    """Other tools split at white space, so a token must not be any."""
    lines = charlm("score", trained.stream, "--format", form, stdin=b"a dog\tsees\n").succeeded().lines
    if form == "kenlm":
        cells = [cell.split() for cell in lines[0].split("\t")[:-1]]
        assert len(cells) == len("a dog\tsees") + 1
        assert all(len(cell) == 3 and re.fullmatch(r"[^=]+=\d+", cell[0]) for cell in cells)
    else:
        words = [line.split() for line in lines if line.startswith("\tp( ")]
        assert len(words) == len("a dog\tsees") + 1
        assert all(len(fields) == 11 and fields[5] == "=" for fields in words)


# ---- SRILM


def test_srilm(charlm, trained):
    out = charlm("score", trained.word, "--format", "srilm", stdin=SENTENCES_TEXT).succeeded().text
    assert out.endswith("\n")
    scores = scores_of(trained.word, SENTENCES, per_token=True)
    lines = out.split("\n")[:-1]
    at = 0
    for sentence, score in zip(SENTENCES, scores, strict=True):
        assert lines[at] == sentence
        before, known = None, 0.0
        for number, token in enumerate(score.token_scores, start=1):
            line = lines[at + number]
            match = re.fullmatch(r"\tp\( (\S+) \| (\S+) (\.\.\.)?\) \t= \[(\w+)\] (\S+) \[ (\S+) \]", line)
            word, context, dots, tag, prob, log10 = match.groups()
            assert context == (before or "<s>") and bool(dots) == bool(before)
            if token.oov:
                assert (word, tag, prob, log10) == ("<unk>", "OOV", "0", "-inf")
            else:
                assert tag == "rnn"
                assert float(prob) == pytest.approx(math.exp(-token.nats), rel=1e-4)
                assert float(log10) == pytest.approx(-token.nats / math.log(10), rel=1e-4)
                assert float(log10) == float(line.split()[9])  # what compute-best-mix takes: $10
                assert line.split()[0] == "p("
                known += float(log10)
            before = word
        assert before == "</s>"
        at += len(score.token_scores) + 1
        words, oov = score.tokens - 1, score.oov
        assert lines[at] == f"1 sentences, {words} words, {oov} OOVs"
        check_sums(lines[at + 1], known, words, oov, 1)
        assert lines[at + 2] == ""
        at += 3
    words, oov = sum(score.tokens - 1 for score in scores), sum(score.oov for score in scores)
    assert lines[at] == f"file -: 3 sentences, {words} words, {oov} OOVs"
    known = -sum(score.nats - score.oov_nats for score in scores) / math.log(10)
    check_sums(lines[at + 1], known, words, oov, 3)
    assert at + 2 == len(lines)


def check_sums(line, log10, words, oov, sentences):
    match = re.fullmatch(r"0 zeroprobs, logprob= (\S+) ppl= (\S+) ppl1= (\S+)", line)
    assert float(match[1]) == pytest.approx(log10, rel=1e-4)
    assert float(match[2]) == pytest.approx(10 ** (-log10 / (words - oov + sentences)), rel=1e-3)
    if words == oov:
        assert match[3] == "undefined"
    else:
        assert float(match[3]) == pytest.approx(10 ** (-log10 / (words - oov)), rel=1e-3)


@pytest.mark.parametrize("form", ["kenlm", "srilm"])
def test_formats_of_others_have_their_own_tokens_and_logarithms(charlm, trained, form):
    plain = charlm("score", trained.word, "--format", form, stdin=SENTENCES_TEXT).succeeded()
    args = ("--format", form, "--log-base", "2", "--per", "token")
    result = charlm("score", trained.word, *args, stdin=SENTENCES_TEXT).succeeded()
    assert result.out == plain.out
    assert "charlm: warning:" in result.err and plain.err == ""


def test_formats_of_others_have_a_summary_also_of_nothing(charlm, trained):
    lines = charlm("score", trained.word, "--format", "kenlm", stdin=b"").succeeded().lines
    assert [line.split("\t")[0] for line in lines[:2]] == ["Perplexity including OOVs:", "Perplexity excluding OOVs:"]
    assert lines[2:] == ["OOVs:\t0", "Tokens:\t0"]
    assert charlm("score", trained.word, "--format", "srilm", stdin=b"").succeeded().lines == [
        "file -: 0 sentences, 0 words, 0 OOVs",
        "0 zeroprobs, logprob= 0 ppl= undefined ppl1= undefined",
    ]


# ---- as a pipe


@pytest.mark.parametrize("form", ["tsv", "jsonl", "text"])
def test_unbuffered_answers_each_line_at_once(trained, form):
    with started("score", trained.char, "--unbuffered", "--format", form) as process:
        if form == "tsv":
            assert read_line(process.stdout).startswith(b"log10p\t")
        for line in (b"Ra", b"", b"to"):
            process.stdin.write(line + b"\n")
            assert read_line(process.stdout).endswith(b"\n")
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(SECONDS) == 0


def test_without_it_the_answers_come_with_the_end(trained):
    with started("score", trained.char, "--format", "text") as process:
        process.stdin.write(b"Ra\nto")
        process.stdin.close()
        assert process.stdout.read().count(b"\n") == 2
        assert process.wait(SECONDS) == 0


# ---- options without a meaning


@pytest.mark.parametrize(
    ("kind", "flags", "word"),
    [
        ("cloze", ["--no-eos"], "--no-eos"),
        ("cloze-char", ["--no-eos", "--per", "token"], "--no-eos"),
        ("cloze", ["--no-eos", "--suspect"], "--no-eos"),
        ("cloze", ["--no-eos", "--format", "jsonl"], "--no-eos"),
        ("cloze", ["--suspect-factor", 3], "--suspect-factor"),
        ("lm", ["--suspect-factor", 100], "--suspect-factor"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(charlm, tmp_path, kind, flags, word):
    checkpoint.save(tmp_path / "model", task_model(kind))
    assert charlm("score", tmp_path / "model", *flags, stdin=TEXT).failed(2, word).out == b""
