"""The shapes of unknown words."""

import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.text.tasks import corpus_reader
from charlm.text.tokens.unknown_words import common_shapes, shapes_of
from charlm.text.tokens.vocabulary import UNK_ID

TAGS = TextConfig(level="word", split="whitespace")


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Paris", "<UNK Aa-ris>"),
        ("NATO", "<UNK AA-ato>"),
        ("I", "<UNK Aa-i>"),
        ("walking", "<UNK a-ing>"),
        ("3rd", "<UNK 0-3rd>"),
        ("B2B", "<UNK 0-b2b>"),
        (":-)", "<UNK .-:-)>"),
        ("étude", "<UNK a-ude>"),
    ],
)
def test_capitals_digits_and_ending(word, shape):
    assert shapes_of(word) == (shape, f"{shape.split('-', 1)[0]}>")


def test_a_shape_is_one_of_two_rare_words_at_least():
    assert common_shapes(["talking", "baking", "Rome"]) == ["<UNK a-ing>", "<UNK a>"]
    assert common_shapes(["Rome"]) == []


def test_an_unknown_token_of_a_tagged_sentence_is_read_as_its_shape():
    """By its ending where that is a known one, else by its case, else as `<UNK>`; lower-casing changes none of that."""
    lines = ["the\tD", "the\tD", "talking\tV", "baking\tV", "Rome\tN", "Bonn\tN"]
    for lowercase in (False, True):
        text = TextConfig(level="word", split="whitespace", lowercase=lowercase)
        codec, _, _ = corpus_reader("tag", text, conditioned=False).learn(lines, TrainConfig(min_count=2), 0.0)
        ids = codec.tokenizer.encode_tokens(["the", "walking", "cat", "Paris", "42", "<UNK>", "<EOS>"])
        names = [codec.tokenizer.vocabulary.token_of(token) for token in ids.tolist()]
        assert names == ["the", "<UNK a-ing>", "<UNK a>", "<UNK Aa>", "<UNK>", "<UNK>", "<UNK>"]


def test_without_rare_words_there_are_no_shapes():
    codec, _, _ = corpus_reader("tag", TAGS, conditioned=False).learn(["a\tX", "b\tY"], TrainConfig(), 0.0)
    assert codec.tokenizer.vocabulary.tokens[2:] == ("a", "b")
    assert codec.tokenizer.encode_tokens(["c"]).tolist() == [UNK_ID]
