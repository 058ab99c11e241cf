"""Pieces of SentencePiece as tokens: its ids, and no text is lost."""

from __future__ import annotations

import base64
import io
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.config import TextConfig
from charlm.errors import ResourceError, UsageError
from charlm.inference.words import token_begins, written_words
from charlm.text import UNK_ID, Tokenizer, make_splitter
from charlm.text.dataset import Dataset
from charlm.text.learning import encode_parts, learn_vocabulary, lines_of
from charlm.text.tokens.levels import gathering_splitter
from charlm.text.tokens.parts import written_parts
from charlm.text.tokens.subword import learn_pieces, pieces_of, read_pieces
from charlm.text.tokens.utf8 import bytes_of
from tests.forms import properties, times

spm = pytest.importorskip("sentencepiece", reason="needs sentencepiece: pip install 'charlm-rnn[subword]'")

CORPUS = ["the cat sees the dog, and the dog sees a cat", "  two  blanks ", "it's 12:30, he said", "caféé 龍の猫"] * 20
MODEL = learn_pieces(CORPUS, 320)
PIECES = make_splitter("subword", "punct", False, "none", MODEL)
LINES = st.text(st.sampled_from("the catsd  ,\té龍\u2581\x00\ud800\udcff\U0001f600"), max_size=20)


@properties(15, 250)
@given(LINES | st.text(st.characters(exclude_characters="\n"), max_size=12))
@example("  a  \u2581 ")
@example("<0x41> <EOS> <UNK> <s>")
def test_no_text_is_lost(line):
    ids = Tokenizer(PIECES, PIECES.vocabulary).encode(line).tolist()
    assert b"".join(PIECES.token_bytes[one] for one in ids) == bytes_of(line)
    assert UNK_ID not in ids
    assert bytes_of(PIECES.join(PIECES.split(line))) == bytes_of(line)
    assert "".join(one.text for one in written_parts(line, PIECES)) == line


def test_ids_are_those_of_sentencepiece(shared_corpora):
    processor = spm.SentencePieceProcessor(model_proto=base64.b64decode(MODEL))
    assert [processor.id_to_piece(one) for one in range(processor.get_piece_size())] == list(PIECES.vocabulary.tokens)
    for file in sorted((shared_corpora / "unicode").iterdir()):
        for line in file.read_text(encoding="utf-8").split("\n")[: times(10, 10_000)]:
            assert PIECES.encode_lines([line])[:-1].tolist() == processor.encode(line)


def test_the_same_text_has_the_same_pieces_and_the_held_out_part_has_none():
    assert learn_pieces(iter(CORPUS), 320) == MODEL
    assert len(pieces_of(learn_pieces(["ab"], None)).vocabulary) < 270
    assert len(pieces_of(learn_pieces([], None)).vocabulary) == 259
    lines = [*["the cat sees"] * 50, *["zyxwzyxw" * 3] * 50]
    config = TextConfig(level="subword", unit="stream")
    tokenizer, train, valid = learn_vocabulary(lines, config, fraction=0.7, seed=1)
    assert not any("z" in token for token in tokenizer.vocabulary.tokens)
    assert any("cat" in token for token in tokenizer.vocabulary.tokens)
    assert valid.size > train.size > 0
    again = encode_parts(tokenizer, lines, "stream", fraction=0.7, seed=1)
    assert [one.ids.tolist() for one in again] == [train.ids.tolist(), valid.ids.tolist()]


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_a_corpus_of_characters_is_lines_again(unit):
    config = TextConfig(level="subword", unit=unit)
    ids, offsets = Tokenizer(PIECES, PIECES.vocabulary).encode_lines(CORPUS)
    characters = gathering_splitter(config)
    _, whole, _ = learn_vocabulary(CORPUS, config, fraction=0.0, seed=1, max_size=320)
    assert whole.sequences == (len(offsets) - 1 if unit == "line" else 1)
    assert whole.ids.tolist() == ids.tolist()
    assert characters.level == "char"
    from charlm.text.learning import gather

    assert list(lines_of(Dataset(gather(CORPUS, characters), unit))) == CORPUS


def test_a_word_has_its_pieces_and_the_blank_before_it():
    line = " the  zebra, a\u2581cat "
    tokens = PIECES.split(line)
    words = written_words(line, PIECES)
    assert [one.word for one in words] == ["the", "zebra,", "a\u2581cat", "<EOS>"]
    assert [words[0].start, *(one.end for one in words)] == [0, *(one.start for one in words[1:]), len(tokens) + 1]
    for one in words[:-1]:
        written = b"".join(PIECES.bytes_by_token[token] for token in tokens[one.start : one.end]).decode()
        assert written.strip() == one.word
    assert token_begins(line, PIECES) == sorted(token_begins(line, PIECES))
    assert [one.word for one in written_words("  ", PIECES)] == ["<EOS>"]
    assert [one.end for one in written_words("  ", PIECES, has_eos=False)] == [2]
    assert written_words("", PIECES, has_eos=False) == []


def _made(**options):
    made = io.BytesIO()
    given_ = {"sentence_iterator": iter(CORPUS), "model_writer": made, "vocab_size": 60, "minloglevel": 3}
    spm.SentencePieceTrainer.train(**{**given_, "hard_vocab_limit": False, "num_threads": 1, **options})
    return made.getvalue()


def test_pieces_of_a_file_keep_every_text_or_are_refused(tmp_path):
    keep = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False}
    path = tmp_path / "pieces.model"
    path.write_bytes(_made(**keep, byte_fallback=True, vocab_size=320))
    splitter = make_splitter("subword", "punct", False, "none", read_pieces(path))
    processor = spm.SentencePieceProcessor(model_file=str(path))  # its ids begin with <unk>, <s>, </s>
    assert splitter.encode_lines(["the cat"])[:-1].tolist() == [one - 1 for one in processor.encode("the cat")]
    assert splitter.join(splitter.split("  the cat\u2581")) == "  the cat\u2581"
    for data in (_made(), b"", b"no model", _made(**keep, vocab_size=60)):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="--pieces"):
            read_pieces(path)
    with pytest.raises(UsageError, match="--pieces: No such file"):
        read_pieces(tmp_path / "missing")


def test_without_the_package_a_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ResourceError, match="sentencepiece") as raised:
        learn_pieces(CORPUS, 320)
    assert raised.value.hint == "pip install 'charlm-rnn[subword]'"
    assert raised.value.exit_code == 6


def test_a_long_line_is_split_in_parts_with_the_same_pieces(monkeypatch):
    line = "the cat  sees a dog, " * 8
    whole = PIECES.encode_lines([line]).tolist()
    monkeypatch.setattr("charlm.text.tokens.subword._PART", 5)
    assert PIECES.encode_lines([line]).tolist() == whole
