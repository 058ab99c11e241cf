"""Splitting, joining and encoding: the inverse laws, the marks, and what text must not be able to do."""

# ruff: noqa: RUF001 - the strings are of many scripts on purpose

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text import EOS, EOS_ID, UNK, UNK_ID, Splitter, Tokenizer, Vocabulary, make_splitter, read_lines
from charlm.text.ids.encoder import count_tokens
from charlm.text.tokens.splitter import _ASCII_TOKEN, _unicode_token
from tests.forms import properties

UNICODE_CORPORA = Path(__file__).parents[3] / "shared" / "corpora" / "unicode"
FEW_HUNDRED = properties(100, 400)

CHARACTERS = make_splitter("char", "punct", False)
WORDS = make_splitter("word", "punct", False)
WHITESPACE = make_splitter("word", "whitespace", False)
ALL_SPLITTERS = [
    make_splitter(level, split, lowercase)
    for level, split in [("char", "punct"), ("word", "punct"), ("word", "whitespace")]
    for lowercase in (False, True)
]

# Marks that hold words together or lose spaces, emoji parts, things that attach, and some words.
PIECES = [
    *"'\"’‘“”-‐.,;:!?()[]{}<>/—–…$#@%*&=_`^~«»、。「」（）¿।",
    *[" ", " ", "  ", "\t", "\u3000", "\u00a0"],
    *["a", "Ab", "7", "é", "e\u0301", "\u0301", "\u20e3", "हि", "ς", "Σ", "İ", "語", "<unk>", "<UNK>"],
    *["\u200d", "\u200c", "\ufe0f", "☺", "👍", "🏽", "👩", "🇩", "🇪", "🏴", "\U000e0067", "\U000e007f"],
    *["\0", "\x1c", "\x85", "\r", "\xad", "\udc80", "\U0001faff", "\U00010400"],
]
DENSE = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
LINES = st.text(st.characters().filter(lambda character: character != "\n"))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("splitter", ALL_SPLITTERS)
@FEW_HUNDRED
@given(line=st.one_of(LINES, DENSE))
def test_splitting_the_joined_text_gives_the_tokens_again(splitter: Splitter, line: str) -> None:
    tokens = splitter.split(line)
    assert splitter.split(splitter.join(tokens)) == tokens
    assert "".join(splitter.stream(iter(tokens))) == splitter.join(tokens)
    assert len(list(splitter.stream(tokens))) == len(tokens)


@properties(120, 500)
@given(pieces=st.lists(st.one_of(DENSE, LINES), max_size=6), random=st.randoms(use_true_random=False))
def test_any_order_of_tokens_survives_joining(pieces: list[str], random) -> None:
    # A model writes tokens in orders that no text had.
    tokens = [token for piece in pieces for token in WORDS.split(piece)]
    random.shuffle(tokens)
    assert WORDS.split(WORDS.join(tokens)) == tokens


@FEW_HUNDRED
@given(line=st.one_of(LINES, DENSE))
def test_words_keep_every_character_but_white_space(line: str) -> None:
    assert "".join(WORDS.split(line)) == "".join(line.split())
    assert all(token and not any(map(str.isspace, token)) for token in WORDS.split(line))


@FEW_HUNDRED
@given(line=st.text(st.characters(max_codepoint=127)))
def test_the_ascii_pattern_agrees_with_the_unicode_pattern(line: str) -> None:
    assert _ASCII_TOKEN.findall(line) == _unicode_token().findall(line)


@FEW_HUNDRED
@given(line=st.one_of(LINES, DENSE))
def test_characters_lose_nothing(line: str) -> None:
    assert CHARACTERS.split(line) == list(line)
    assert CHARACTERS.join(CHARACTERS.split(line)) == line


def test_whitespace_splits_at_ascii_white_space_only() -> None:
    line = " \ta\u00a0b\v\fc\rd  e\u3000f\x1cg\x85h\u2028i "
    assert WHITESPACE.split(line) == ["a\u00a0b", "c", "d", "e\u3000f\x1cg\x85h\u2028i"]
    assert WHITESPACE.join(["a", ",", "b"]) == "a , b"


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("", []),
        (" \t\u3000\x85", []),
        ("don't stop", ["don't", "stop"]),
        ("it\u2019s well-known", ["it\u2019s", "well-known"]),
        ("3.5 or 1,000, e.g. x.", ["3.5", "or", "1,000", ",", "e.g", ".", "x", "."]),
        ("snake_case _x_", ["snake_case", "_x_"]),
        ("'tis the dogs' -5 a--b", ["'", "tis", "the", "dogs", "'", "-", "5", "a", "-", "-", "b"]),
        ("...", [".", ".", "."]),
        ("a\u00a0b\u3000c\u2028d", ["a", "b", "c", "d"]),
        ("<unk>, x<UNK>y <unk", ["<unk>", ",", "x", "<UNK>", "y", "<", "unk"]),
        ("<EOS>", ["<EOS>"]),
        ("e\u0301te\u0301 हिन्दी।", ["e\u0301te\u0301", "हिन्दी", "।"]),
        ("می\u200cخواهم، ≠=\u0338", ["می\u200cخواهم", "،", "≠", "=\u0338"]),
        ("吾輩は猫である。「名」", ["吾輩は猫である", "。", "「", "名", "」"]),
        ("a👍🏽👩\u200d👩\u200d👧!", ["a", "👍🏽", "👩\u200d👩\u200d👧", "!"]),
        ("🇩🇪🇫🇷🇪", ["🇩🇪", "🇫🇷", "🇪"]),
        ("☺\ufe0f#\ufe0f\u20e31\ufe0f\u20e3", ["☺\ufe0f", "#\ufe0f\u20e3", "1\ufe0f\u20e3"]),
        ("(\u200dक ☺\u200da ☺\u200d☺", ["(", "\u200dक", "☺", "\u200da", "☺\u200d☺"]),
        ("caf\udce9.", ["caf\udce9", "."]),
        ("\0x\x07", ["\0", "x", "\x07"]),
    ],
)
def test_words_and_marks(line: str, tokens: list[str]) -> None:
    assert WORDS.split(line) == tokens


@pytest.mark.parametrize(
    "line",
    [
        "He said: \"Stop (now), don't go!\" and 'left'.",
        "Is it 50%? No; it cost $3.50... [see #4, @me, {x}].",
        "One—two and/or three -- four.",
        "\u201cYes,\u201d she said, \u2018it\u2019s\u2019 \u00abtrue\u00bb\u2026",
        "\u00bfQu\u00e9? \u00a1Ol\u00e9! \u00a35 and \u20ac6",
        "吾輩は猫である。名前は、まだ無い（笑）。",
        "नमस्ते।",
        "(<unk>)",
        '"a" "b" \'c\'',
        "a + b = c & d",
    ],
)
def test_well_set_text_comes_back_as_it_was(line: str) -> None:
    assert WORDS.join(WORDS.split(line)) == line


def test_quotes_start_anew_on_each_line() -> None:
    assert [WORDS.join(['"', "a"]), WORDS.join(['"', "b"])] == ['"a', '"b']


def test_stream_gives_each_piece_before_it_asks_for_the_next_token() -> None:
    asked = []

    def tokens():
        for token in ["(", "a", ")", ",", "b"]:
            asked.append(token)
            yield token

    for splitter in (CHARACTERS, WORDS, WHITESPACE):
        asked.clear()
        for count, _ in enumerate(splitter.stream(tokens()), start=1):
            assert len(asked) == count


@pytest.mark.thinned(6)
@pytest.mark.parametrize("splitter", ALL_SPLITTERS)
@FEW_HUNDRED
@given(lines=st.lists(st.one_of(LINES, DENSE), max_size=4))
def test_count_and_encode_lines_agree_with_split(splitter: Splitter, lines: list[str]) -> None:
    expected = Counter(token for line in lines for token in splitter.split(line))
    if splitter.level == "word":
        for token in ("<unk>", UNK, EOS):
            del expected[token]
    counts = count_tokens(iter(lines), splitter)
    assert dict(counts) == dict(expected)

    vocabulary = Vocabulary.build(counts, min_count=2)
    tokenizer = Tokenizer(splitter, vocabulary)
    ids, offsets = tokenizer.encode_lines(lines)
    assert (ids.dtype, offsets.dtype, len(offsets)) == (np.int32, np.int64, len(lines) + 1)
    assert (offsets[0], offsets[-1]) == (0, len(ids))
    for line, start, end in zip(lines, offsets, offsets[1:], strict=False):
        wanted = [UNK_ID if token == EOS else vocabulary.id_of(token) for token in splitter.split(line)]
        assert ids[start:end].tolist() == [*wanted, EOS_ID]
        assert tokenizer.encode(line).tolist() == wanted


@pytest.mark.parametrize("splitter", ALL_SPLITTERS)
def test_more_lines_than_a_block(splitter: Splitter) -> None:
    lines = [f"line {number}" for number in range(10_000)]
    vocabulary = Vocabulary.build(count_tokens(lines, splitter))
    ids, offsets = Tokenizer(splitter, vocabulary).encode_lines(lines)
    assert UNK_ID not in ids
    for number in (0, 4095, 4096, 9999):
        line_ids = ids[offsets[number] : offsets[number + 1] - 1]
        assert splitter.join(map(vocabulary.token_of, line_ids)) == lines[number]


def test_characters_count_and_lowercase_see_line_ends() -> None:
    lowercase = make_splitter("char", "punct", True)
    assert count_tokens(["ΑΣ", "Α"], lowercase) == {"α": 2, "ς": 1}
    vocabulary = Vocabulary.build({"σ": 2, "ς": 1})
    assert Tokenizer(lowercase, vocabulary).encode_lines(["ΑΣ", "ΑΣΑ"])[0].tolist() == [1, 3, 0, 1, 2, 1, 0]


def test_code_points_beyond_the_table_are_unknown() -> None:
    tokenizer = Tokenizer(CHARACTERS, Vocabulary.build({"b": 1}))
    assert tokenizer.encode(f"abc\0{chr(sys.maxunicode)}\udcff").tolist() == [1, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("splitter", [WORDS, WHITESPACE])
def test_text_cannot_spell_special_tokens(splitter: Splitter) -> None:
    # Even where a foreign vocabulary has them as ordinary tokens.
    assert count_tokens(["a <unk> a <UNK>"], splitter) == {"a": 2}
    tokenizer = Tokenizer(splitter, Vocabulary((EOS, UNK, "<unk>", "a")))
    assert tokenizer.encode("a <unk> <UNK>").tolist() == [3, UNK_ID, UNK_ID]
    assert EOS_ID not in tokenizer.encode("a <EOS> a")
    assert EOS not in count_tokens(["a <EOS> a"], splitter)


def test_special_tokens_are_plain_characters_at_character_level() -> None:
    vocabulary = Vocabulary.build(count_tokens(["<EOS><unk>"], CHARACTERS))
    ids = Tokenizer(CHARACTERS, vocabulary).encode("<EOS><unk>")
    assert len(ids) == 10
    assert ids.min() > UNK_ID


def test_a_newline_in_a_line_is_refused() -> None:
    tokenizer = Tokenizer(CHARACTERS, Vocabulary.build({"a": 1}))
    with pytest.raises(ValueError, match="newline"):
        tokenizer.encode("a\na")


@pytest.mark.parametrize(("level", "split"), [("syllable", "punct"), ("word", "bpe")])
def test_unknown_splitters_are_refused(level, split) -> None:
    with pytest.raises(ValueError, match="no splitter"):
        make_splitter(level, split, False)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", ["ja_neko_raw.txt", "zh_tang_song.txt", "ar_pud_text.txt", "emoji_names.tsv"])
@pytest.mark.parametrize("splitter", ALL_SPLITTERS)
def test_real_text_of_many_scripts(name: str, splitter: Splitter) -> None:
    path = UNICODE_CORPORA / name
    if not path.exists():
        pytest.skip(f"no corpus {path}")
    lines = list(read_lines([str(path)]))
    for line in lines:
        tokens = splitter.split(line)
        assert splitter.split(splitter.join(tokens)) == tokens


def test_every_emoji_is_one_word() -> None:
    path = UNICODE_CORPORA / "emoji_names.tsv"
    if not path.exists():
        pytest.skip(f"no corpus {path}")
    emoji = [line.split("\t")[0] for line in read_lines([str(path)])]
    assert [one for one in emoji if WORDS.split(one) != [one]] == []
