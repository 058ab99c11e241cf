"""Text that nobody would write: each a defined result, or an error that names the file, the line and the byte."""

# ruff: noqa: RUF001 - the strings are of many scripts on purpose

import gzip
import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm import load
from charlm.inference.scoring import Scorer
from charlm.text import EOS_ID, UNK_ID, Tokenizer, Vocabulary, make_splitter, read_lines
from charlm.text.ids.encoder import count_tokens
from charlm.text.learning import gather
from charlm.text.lines.open_text import LONGEST_LINE
from tests.cli.shell import run
from tests.faults.limited import run_limited
from tests.forms import properties

pytestmark = pytest.mark.usefixtures("private_cache")

SPLITTERS = [
    make_splitter(level, split, lowercase, form)
    for level, split in (("char", "punct"), ("word", "punct"), ("word", "whitespace"))
    for lowercase in (False, True)
    for form in ("none", "nfc", "nfkc")
]
NO_NEWLINE = st.text(st.characters(exclude_characters="\n"))
# What text is spelled with that is no letter: ends of lines, of words and of sentences, marks, joiners, directions.
ODD = [
    *("\r", "\0", "\v", "\f", "\x1c", "\x85", "\xa0", "\u2028", "\u2029", "\u3000", "\ufeff", "\ufffe", "\x1b[2J"),
    *("<EOS>", "<UNK>", "<unk>", "<eos>", "</s>", " ", "  ", ".", "'", "-", "a", "Z", "7", "é", "e\u0301", "\u0301"),
    *("\u200d", "\u200c", "\ufe0f", "👩", "🏽", "🇩", "\u202e", "\u2067", "\u2069", "שלום", "سلام", "ς", "Σ", "İ"),
    *("\udc80", "\udcff", "\U0010ffff"),
]
LINES = NO_NEWLINE | st.lists(st.sampled_from(ODD), max_size=12).map("".join)
WHOLE = ("--valid-fraction", 0)
TINY = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 2, "--seq-length", 8, "--max-steps", 1, "--seed", 1)


# ---- whatever the text


@pytest.mark.thinned(5)
@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: splitter.rule)
def test_ids_spell_the_line_again_and_the_words_in_their_normal_form(splitter):
    @properties(40, 100)
    @given(line=LINES)
    def check(line):
        tokenizer = Tokenizer(splitter, Vocabulary.build(count_tokens([line], splitter)))
        ids = tokenizer.encode(line).tolist()
        assert EOS_ID not in ids
        if splitter.level == "char":
            assert UNK_ID not in ids
            spelled = tokenizer.join(map(tokenizer.vocabulary.token_of, ids))
            assert spelled == splitter.spelled(line)
            return
        normal = tokenizer.join(tokenizer.split(line))
        assert tokenizer.join(tokenizer.split(normal)) == normal
        assert tokenizer.encode(normal).tolist() == ids

    check()


def test_lines_in_are_lines_out_byte_for_byte(charlm, trained, tmp_path, times):
    scorer = Scorer(load(trained.char))
    path = tmp_path / "any.txt"

    @properties(40, 100)
    @given(lines=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")) | LINES.map(_bytes), max_size=9))
    def check(lines):
        lines = [b"first", *lines]  # what a file begins with may be a mark
        content = b"".join(line + b"\n" for line in lines)
        path.write_bytes(content)
        scores = list(scorer.score(read_lines([str(path)], errors="keep")))
        expected = [line.removesuffix(b"\r") for line in lines]
        assert [_bytes(score.text) for score in scores] == expected
        assert all(np.isfinite(score.nats) and score.nats >= 0 for score in scores)
        printed = charlm("score", trained.char, stdin=content).succeeded().out.split(b"\n")
        assert [row.split(b"\t")[4] for row in printed[1:-1]] == list(map(_escaped, expected))
        kept = gather(read_lines([str(path)], errors="keep"), SPLITTERS[0])
        assert np.count_nonzero(kept.ids == EOS_ID) == len(lines)

    check()


def _escaped(line):
    for byte, written in ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\r", b"\\r")):
        line = line.replace(byte, written)
    return line


def _bytes(text):
    return text.encode("utf-8", "surrogateescape" if any("\udc80" <= c <= "\udcff" for c in text) else "surrogatepass")


# ---- every command with every oddity

TABLE = {  # name: what the file holds, its lines, and what training says of it
    "NUL": (b"Ra\0\nto\n", ["Ra\0", "to"], "zero byte), {} line 1, offset 2"),
    "mark": (b"\xef\xbb\xbfRa\nto\n", ["Ra", "to"], None),
    "mark within": (b"Ra\n\xef\xbb\xbfto\n", ["Ra", "\ufeffto"], None),
    "UTF-16": ("Ra\nto\n".encode("utf-16"), None, "UTF-16 is not UTF-8, {} line 1, offset 0"),
    "UTF-16 without a mark": ("Ra\n".encode("utf-16-le"), ["R\0a\0", "\0"], "zero byte), {} line 1, offset 1"),
    "UTF-32": ("Ra\n".encode("utf-32"), None, "UTF-32 is not UTF-8, {} line 1, offset 0"),
    "LATIN1": (b"Ra\nt\xf6\n", ["Ra", "t\udcf6"], "0xf6 is not UTF-8, {} line 2, offset 4"),
    "CR LF": (b"Ra\r\nto\r\n", ["Ra", "to"], None),
    "lone CR": (b"Ra\rto\nni\r\r\n", ["Ra\rto", "ni\r"], None),
    "U+2028": ("Ra\u2028to\u2029\n".encode(), ["Ra\u2028to\u2029"], None),
    "U+0085": ("Ra\u0085to\n".encode(), ["Ra\u0085to"], None),
    "controls": (b"R\x1b[2Ja\x07\x7f\n\x1c\x1d\v\f\n", ["R\x1b[2Ja\x07\x7f", "\x1c\x1d\v\f"], None),
    "marks": ("e\u0301\u0323\u0301\n\u0301\n".encode(), ["e\u0301\u0323\u0301", "\u0301"], None),
    "emoji": ("👩\u200d👩\u200d👧🏽 🇩🇪\ufe0f\n\u200d\n".encode(), ["👩\u200d👩\u200d👧🏽 🇩🇪\ufe0f", "\u200d"], None),
    "right to left": ("\u202eשלום, سلام\u2067!\n".encode(), ["\u202eשלום, سلام\u2067!"], None),
    "no end": (b"Ra\nto", ["Ra", "to"], None),
    "nothing": (b"", [], "the corpus is empty"),
    "ends alone": (b"\n\r\n\n", ["", "", ""], "the corpus is empty"),
}


@pytest.mark.thinned(5)
@pytest.mark.parametrize("name", TABLE)
def test_each_command_has_an_answer(charlm, trained, tmp_path, name):
    content, lines, refusal = TABLE[name]
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    for model in ("char", "stream", "word"):
        result = charlm("score", getattr(trained, model), path, "--format", "jsonl")
        if lines is None:
            result.failed(3, refusal.format(path))
            continue
        assert [record["text"] for record in result.succeeded().records] == lines
        result = charlm("evaluate", getattr(trained, model), path, "--format", "jsonl")
        if lines:
            assert np.isfinite(result.succeeded().records[0]["perplexity"])
        else:
            result.failed(3, "the text is empty")
    for level in ("char", "word"):
        result = charlm("train", path, "-o", tmp_path / level, "--level", level, "--unit", "line", *WHOLE, *TINY)
        if refusal:
            result.failed(3, refusal.format(path))
            assert not (tmp_path / f"{level}.safetensors").exists()
            continue
        result.succeeded()
        assert charlm("generate", tmp_path / f"{level}.safetensors", "--seed", 1).succeeded().out.count(b"\n") == 1
    if lines:
        prompted = charlm("generate", trained.stream, "-p", "-", "-l", 0, "--seed", 1, stdin=content).succeeded()
        assert prompted.out == _bytes("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["ja_neko_raw.txt", "zh_tang_song.txt", "ar_pud_text.txt", "emoji_names.tsv"])
def test_text_of_many_scripts_goes_through(charlm, trained, shared_corpora, tmp_path, times, name):
    read = read_lines([str(shared_corpora / "unicode" / name)])
    lines = [line[: times(100, 1 << 30)] for line in islice(read, times(20, 1 << 30))]
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines), newline="")
    for level in ("char", "word"):
        charlm("train", path, "-o", tmp_path / level, "--level", level, *TINY).succeeded()
        records = charlm("score", tmp_path / f"{level}.safetensors", path, "--format", "jsonl").succeeded().records
        assert [record["text"] for record in records] == lines


def test_what_text_spells_like_a_token_of_the_models_own_has_one_meaning(charlm, tmp_path):
    """At character level characters like any other, at word level an unknown word; in no text the end of a line."""
    path = tmp_path / "text.txt"
    path.write_text("a <EOS> b\n<UNK> <unk> c\n" * 4)
    for level, split, known in (("char", "punct", True), ("word", "punct", False), ("word", "whitespace", False)):
        model = tmp_path / f"{level}-{split}"
        flags = ("--level", level, "--split", split, "--valid-fraction", 0)
        charlm("train", path, "-o", model, *flags, *TINY).succeeded()
        vocabulary = load(f"{model}.safetensors").tokenizer.vocabulary.tokens
        assert set(vocabulary[2:]) == (set("abc <>EOSUNKunk") if known else set("abc"))
        args = (f"{model}.safetensors", "--format", "jsonl")
        records = charlm("score", *args, path).succeeded().records
        assert [record["oov"] for record in records] == ([0] * 8 if known else [1, 2] * 4)
        assert [record["tokens"] for record in records] == ([10, 14] * 4 if known else [4, 4] * 4)
        for word in ("<EOS>", "<UNK>", "<unk>"):
            result = charlm("generate", *args, "-p", f"a {word}", "--seed", 1).succeeded()
            assert result.records[0]["text"].startswith(f"a {word}")
            assert result.err == "" if known else "read as <UNK>: " in result.err
            assert known or not {"<EOS>", "<UNK>", "<unk>"} & set(result.records[0]["text"].split()[2:])


# ---- too much of it


@pytest.mark.slow
def test_of_a_long_line_little_more_is_kept_than_itself_its_ids_and_its_nats(trained, monkeypatch):
    scorer, peaks = Scorer(load(trained.char)), []
    sizes = (400_000, 400_000, 4_000_000)
    one_nat = lambda batch, state, ws: (np.ones(batch.targets.shape), state)  # noqa: E731
    monkeypatch.setattr(scorer.language_model.model, "nats", one_nat)
    for size in sizes:
        line = "Rato" * (size // 4)
        tracemalloc.start()
        (score,) = scorer.score([line])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (score.text, score.tokens, score.nats) == (line, size + 1, size + 1)
    assert peaks[2] - peaks[1] < 16 * (sizes[2] - sizes[1])


@pytest.mark.parametrize("end", ["", "\u0301"])
def test_a_long_word_is_found_without_memory_to_go_back(end):
    word = "a." * 200_000 + "a" + end
    tracemalloc.start()
    assert make_splitter("word", "punct", False).split(word) == [word]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(word) + 2_000_000


PIECES = {"words": b"Ratoni sau. ", "a word": b"a.", "long words": b"x" * 999 + b" ", "emoji": "👩\u200d👧🏽".encode()}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", PIECES)
@pytest.mark.slow
def test_one_line_that_is_the_whole_text(trained, tmp_path, name):
    """Millions of bytes, and one where the line has many tokens, each of which is a step of the network."""
    piece, size = PIECES[name], 1_000_000 if name in ("words", "emoji") else 6_000_000
    path, model = tmp_path / "line.txt", tmp_path / "m"
    path.write_bytes(piece * (size // len(piece)))
    size = path.stat().st_size
    for level in ("char", "word"):
        unit = "line" if level == "word" else "stream"
        flags = ("--level", level, "--unit", unit, "--valid-fraction", 0, "-q")
        result = run_limited("train", path, "-o", model, "--force", *flags, *TINY, seconds=600).succeeded()
        assert result.took < 60_000_000 + 30 * size
    result = run_limited("score", trained.word, path, "--format", "text", seconds=1200).succeeded()
    assert result.out.count(b"\n") == 1
    assert result.took < 50_000_000 + 30 * size


@pytest.mark.slow
def test_empty_lines_by_the_million(trained, tmp_path):
    count = 100_000
    path = tmp_path / "empty.txt"
    path.write_bytes(b"\n" * count)
    result = run_limited("score", trained.char, path, "--format", "text", seconds=600).succeeded()
    assert result.out == run("score", trained.char, "--format", "text", stdin=b"\n").out * count
    assert result.took < 10_000_000
    assert run("evaluate", trained.char, path, "--format", "jsonl").succeeded().records[0]["tokens"] == count
    run("train", path, "-o", tmp_path / "m", *TINY).failed(3, "the corpus is empty")
    path.write_bytes(b"\n" * count + b"Ra\n" + b"\n" * count)
    run("train", path, "-o", tmp_path / "m", *TINY).succeeded()


BOMBS = {"lines": b"Ratoni\n", "words": b"Ratoni ", "zeros": b"\0", "characters": b"a"}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", BOMBS)
def test_a_gzip_bomb_takes_no_more_memory_than_its_longest_line_may(trained, tmp_path, times, name):
    """A hundred megabytes in a hundred kilobytes; but for `characters` a line may have one megabyte."""
    piece, size, longest = BOMBS[name], times(1 << 23, 1 << 27), 1 << 20
    if name == "characters" and times(0, 1):
        size, longest = LONGEST_LINE + (1 << 24), LONGEST_LINE
    before = f"import charlm.text.lines.lines_of_bytes as d; d.LONGEST_LINE = {longest}"
    path, member = tmp_path / "bomb.gz", 1 << 22
    path.write_bytes(gzip.compress(piece * (member // len(piece)), compresslevel=9) * (size // member))
    assert path.stat().st_size < size // 100
    flags = ("--unit", "stream", "--valid-fraction", 0.0001)
    trains = run_limited("train", path, "-o", tmp_path / "m", *flags, *TINY, before=before, seconds=600)
    most = times(150_000_000, 60_000_000) + 3 * longest  # a corpus as small as that of the short form is in memory
    assert trains.took < most
    if name in ("lines", "words"):
        trains.succeeded()
    else:
        trains.failed(3, f"{path} line 1, offset 0", "longer than")
    if name != "lines":
        scores = run_limited("score", trained.char, path, before=before, seconds=600)
        scores.failed(3, f"{path} line 1, offset 0", "longer than")
        assert scores.took < most
