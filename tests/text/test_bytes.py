"""Bytes as tokens: nothing is lost, nothing is unknown, and what is drawn is whole characters."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.config import TextConfig, check_text, check_vocabulary
from charlm.errors import CorpusError, UsageError
from charlm.text import EOS_ID, UNK_ID, Tokenizer, make_splitter, read_lines
from charlm.text.ids.encoder import make_encoder
from charlm.text.learning import gather
from charlm.text.tokens.parts import written_parts
from charlm.text.tokens.utf8 import WholeCharacters, bytes_of, text_of
from tests.forms import properties

BYTES = make_splitter("byte", "punct", False)
TOKENIZER = Tokenizer(BYTES, BYTES.vocabulary)
# Every byte, also in an order that is not UTF-8, a byte order mark and carriage returns.
EVERYTHING = b"\xef\xbb\xbfa\r\nb\r\r\n\0" + bytes(range(256)) + bytes(range(255, -1, -1)) + "é龍\U0001f600".encode()
LINES = st.binary(max_size=30).map(lambda data: text_of(data.replace(b"\n", b"")))


@properties(15, 250)
@given(LINES)
@example("a\ud800\udc80b")
def test_ids_are_the_bytes_and_join_to_the_text(line):
    data = bytes_of(line)
    ids = TOKENIZER.encode(line)
    assert b"".join(BYTES.token_bytes[one] for one in ids) == data
    assert [one + (one < 12) - 2 for one in ids] == [byte - (byte > 10) + (byte < 10) for byte in data]
    assert UNK_ID not in ids
    assert EOS_ID not in ids
    assert bytes_of(BYTES.join(BYTES.split(line))) == data


@properties(10, 250)
@given(LINES)
def test_parts_make_up_the_line(line):
    parts = written_parts(line, BYTES)
    assert "".join(one.text for one in parts) == line
    assert [one.start for one in parts] + [len(bytes_of(line))] == [0, *(one.end for one in parts)]
    for one in parts:
        assert one.end - one.start == len(bytes_of(one.text))


def test_there_are_256_bytes_and_the_newline_is_the_end_of_a_line():
    assert len(BYTES.vocabulary) == 257
    assert sorted(BYTES.token_bytes[:1] + BYTES.token_bytes[2:]) == [bytes([byte]) for byte in range(256)]
    assert BYTES.vocabulary.tokens[2 + ord("a") - 1] == "a"
    assert BYTES.vocabulary.tokens[-1] == "<0xFF>"
    with pytest.raises(ValueError, match="newline"):
        TOKENIZER.encode("a\nb")


def test_a_file_is_its_ids_and_back(tmp_path):
    (path := tmp_path / "file").write_bytes(EVERYTHING)
    store = gather(read_lines([str(path)], errors="raw"), BYTES)
    ids = store.slice(0, store.size)
    assert b"".join(BYTES.token_bytes[one] for one in ids) == EVERYTHING + b"\n"
    assert make_encoder(BYTES)("ab")[-1] != EOS_ID  # of a block that continues


def test_without_raw_marks_and_carriage_returns_are_left_out(tmp_path):
    (path := tmp_path / "file").write_bytes(EVERYTHING)
    text = "\n".join(read_lines([str(path)], errors="bytes"))
    assert bytes_of(text) == EVERYTHING.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    with pytest.raises(CorpusError):
        list(read_lines([str(path)]))


@pytest.mark.parametrize("start", [b"%PDF-1.5\n", b"\xff\xfea\0", b"\x89PNG\r\n\x1a\n"])
def test_files_of_any_kind_are_bytes(tmp_path, start):
    (path := tmp_path / "file").write_bytes(start)
    with pytest.raises(CorpusError):
        list(read_lines([str(path)], errors="keep"))
    for errors in ("bytes", "raw"):
        read = bytes_of("".join(f"{line}\n" for line in read_lines([str(path)], errors=errors)))
        assert read.rstrip(b"\n") == (start if errors == "raw" else start.replace(b"\r\n", b"\n")).rstrip(b"\n")


def test_raw_does_not_decompress(tmp_path):
    (path := tmp_path / "file").write_bytes(packed := gzip.compress(b"ab\n"))
    assert list(read_lines([str(path)], errors="bytes")) == ["ab"]
    assert bytes_of("\n".join(read_lines([str(path)], errors="raw"))) == packed.removesuffix(b"\n")


@properties(10, 250)
@given(st.randoms(use_true_random=False), st.integers(1, 20))
def test_what_is_not_banned_is_whole_characters(random, length):
    whole, data = WholeCharacters(BYTES.token_bytes, never=[UNK_ID]), b""
    for _ in range(length):
        token = random.choice(sorted(set(range(257)).difference(whole.banned())))
        data += BYTES.token_bytes[token]
        whole.add(token)
    while whole.banned() != WholeCharacters(BYTES.token_bytes, never=[UNK_ID]).banned():  # end the last character
        token = min(set(range(257)).difference(whole.banned()))
        data += BYTES.token_bytes[token]
        whole.add(token)
    assert data.decode().encode() == data


@properties(8, 250)
@given(st.text())
@example("\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff")
def test_no_character_is_banned(text):
    whole = WholeCharacters(BYTES.token_bytes, never=[UNK_ID])
    for token in BYTES.encode_lines(bytes_of(text).decode("utf-8", "surrogateescape").split("\n")).tolist():
        if any(0xD800 <= ord(one) < 0xE000 for one in text):
            return
        assert token not in whole.banned()
        whole.add(token)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="--raw"):
        TextConfig(raw=True)
    for given_ in ({"vocab_size": 10}, {"min_count": 2}):
        with pytest.raises(UsageError, match="--level byte"):
            check_vocabulary(TextConfig(level="byte"), given_)
    check_vocabulary(TextConfig(level="byte"), {"min_count": 1, "vocab_size": None})
    for task in ("tag", "translate", "music"):
        with pytest.raises(UsageError, match="--level byte"):
            check_text(task, TextConfig(level="byte"))
    with pytest.raises(UsageError, match="--raw"):
        check_text("classify", TextConfig(level="byte", raw=True))


def test_other_levels_are_stored_as_before():
    assert set(TextConfig().stored()) == {"level", "unit", "split", "lowercase", "normalize"}
    raw = TextConfig(level="byte", raw=True)
    assert TextConfig.from_dict(raw.stored()) == raw


def test_normalization_and_lower_case_come_before_the_bytes():
    splitter = make_splitter("byte", "punct", True, "nfc")
    assert splitter.split("E\u0301\udcff") == ["<0xC3>", "<0xA9>", "<0xFF>"]
    assert splitter.rule == "byte-lower-nfc"
    assert splitter.encode_lines([]).size == 0
