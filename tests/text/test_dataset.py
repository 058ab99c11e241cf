"""A corpus as ids: what is held out, what the vocabulary has seen, and the way back to text."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import TextConfig
from charlm.errors import CorpusError
from charlm.text import EOS, EOS_ID, UNK, UNK_ID, Tokenizer, Vocabulary, make_splitter, split_lines
from charlm.text.dataset import Dataset
from charlm.text.ids.encoder import count_tokens
from charlm.text.learning import coverage_of, encode_corpus, learn_vocabulary
from tests.batches import lines_of
from tests.forms import properties

WORDS = TextConfig(level="word", split="whitespace")


def decode(tokenizer, dataset):
    """Return the lines of a dataset as text; each has to end in <EOS>, and to have it there alone."""
    texts, line = [], []
    for token_id in dataset.ids.tolist():
        if token_id == EOS_ID:
            texts.append(tokenizer.join(line))
            line = []
        else:
            line.append(tokenizer.vocabulary.token_of(token_id))
    assert not line
    return texts


# --- splitting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fraction", "seed"), [(0.1, 1), (0.1, 2), (0.5, 1), (0.9, 1), (0.001, 3)])
def test_lines_are_held_out_whole_and_by_the_seed(fraction, seed):
    lengths = np.arange(40) % 7 + 1
    dataset = Dataset.of(np.arange(lengths.sum(), dtype=np.int32), np.concatenate([[0], np.cumsum(lengths)]), "line")
    train, valid = dataset.split(fraction, seed)
    kept, held = split_lines(40, fraction, seed)
    everything = lines_of(dataset)
    assert lines_of(train) == [everything[i] for i in kept]
    assert lines_of(valid) == [everything[i] for i in held]
    assert (train.sequences, valid.sequences) == (kept.size, held.size) and held.size >= 1
    assert (train.unit, valid.unit) == ("line", "line")


def test_another_seed_holds_out_other_lines():
    dataset = Dataset.of(np.arange(200, dtype=np.int32), np.arange(201), "line")
    held = [tuple(dataset.split(0.2, seed)[1].ids.tolist()) for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


def test_labels_stay_with_their_lines():
    """x<1> of each line, in the batches of either part of a split."""
    ids, first = np.repeat(np.arange(20), 3).astype(np.int32), np.arange(100, 120, dtype=np.int32)
    for part in Dataset.of(ids, np.arange(0, 61, 3), "line", first).split(0.3, 1):
        for batch in part.batches(2, 60, seed=4).epoch():
            begins = batch.starts & (batch.targets >= 0)
            assert begins.any()
            assert (batch.inputs[begins] == batch.targets[begins] + 100).all()


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_nothing_is_held_out_by_the_fraction_0(unit):
    dataset = Dataset.of(np.arange(9, dtype=np.int32), np.array([0, 4, 9]), unit)
    train, valid = dataset.split(0.0, 1)
    assert train.ids.tolist() == dataset.ids.tolist()
    assert valid.ids.size == valid.size == 0


@properties(13, 50)
@given(st.integers(1, 400), st.floats(0, 0.9), st.integers(0, 5))
def test_of_a_stream_the_end_is_held_out(count, fraction, seed):
    dataset = Dataset.of(np.arange(count, dtype=np.int32), np.array([0, count]), "stream")
    train, valid = dataset.split(fraction, seed)
    assert valid.ids.size == round(count * fraction)
    assert [*train.ids.tolist(), *valid.ids.tolist()] == list(range(count))
    assert (train.unit, valid.unit) == ("stream", "stream")


# --- the vocabulary --------------------------------------------------------------------------------------------------


def test_what_only_the_held_out_lines_have_is_unknown():
    lines = [f"the w{i:02}" for i in range(20)]
    tokenizer, train, valid = learn_vocabulary(lines, WORDS, fraction=0.25, seed=3)
    kept, held = split_lines(20, 0.25, 3)
    assert held.size == 5
    assert tokenizer.vocabulary.tokens == (EOS, UNK, "the", *(f"w{i:02}" for i in kept))
    assert decode(tokenizer, train) == [lines[i] for i in kept]
    assert lines_of(valid) == [(2, UNK_ID, EOS_ID)] * 5
    assert not (train.ids == UNK_ID).any()


def test_what_only_the_end_of_a_stream_has_is_unknown():
    text = TextConfig(unit="stream")
    tokenizer, train, valid = learn_vocabulary(["abab", "abxy"], text, fraction=0.3, seed=1)
    assert tokenizer.vocabulary.tokens == (EOS, UNK, "a", "b")
    assert train.ids.tolist() == [2, 3, 2, 3, EOS_ID, 2, 3]
    assert valid.ids.tolist() == [UNK_ID, UNK_ID, EOS_ID]


def test_ids_go_by_frequency_in_the_training_part():
    """In the whole text b is the commonest; in the part that is learned from it is the rarest."""
    lines = ["aaac", "ac", "acb", "bbbbbbbbbb"]
    seed = next(s for s in range(99) if split_lines(4, 0.25, s)[1].tolist() == [3])
    tokenizer, train, valid = learn_vocabulary(lines, TextConfig(), fraction=0.25, seed=seed)
    assert tokenizer.vocabulary.tokens == (EOS, UNK, "a", "c", "b")
    assert (decode(tokenizer, train), decode(tokenizer, valid)) == (lines[:3], lines[3:])


@pytest.mark.parametrize(
    ("limits", "tokens", "first"),
    [
        ({}, "abcd", [2, 3, 4, 5, 0]),
        ({"max_size": 2}, "ab", [2, 3, 1, 1, 0]),
        ({"min_count": 2}, "abc", [2, 3, 4, 1, 0]),
        ({"min_count": 3, "max_size": 1}, "a", [2, 1, 1, 1, 0]),
    ],
)
def test_what_the_limits_cut_off_is_unknown(limits, tokens, first):
    tokenizer, train, valid = learn_vocabulary(["abcd", "abc", "ab", "a"], TextConfig(), fraction=0, seed=1, **limits)
    assert tokenizer.vocabulary.tokens == (EOS, UNK, *tokens)
    assert lines_of(train)[0] == tuple(first)
    assert valid.ids.size == 0


def test_min_count_counts_in_the_training_part_alone():
    lines = ["a a b", "a a c", "a a b"]
    seed = next(s for s in range(99) if split_lines(3, 0.34, s)[1].tolist() == [2])
    tokenizer, train, _ = learn_vocabulary(lines, WORDS, fraction=0.34, seed=seed, min_count=2)
    assert tokenizer.vocabulary.tokens == (EOS, UNK, "a")
    assert train.ids.tolist() == [2, 2, UNK_ID, EOS_ID] * 2


@pytest.mark.parametrize("lines", [[], [""], ["", "", ""]])
def test_an_empty_corpus_is_refused(lines):
    with pytest.raises(CorpusError, match="empty") as refusal:
        learn_vocabulary(lines, TextConfig(), fraction=0.1, seed=1)
    assert refusal.value.exit_code == 3 and refusal.value.hint


def test_a_corpus_of_white_space_has_no_words():
    with pytest.raises(CorpusError, match="empty"):
        learn_vocabulary([" ", "\t"], WORDS, fraction=0.1, seed=1)


def test_a_vocabulary_without_tokens_is_refused():
    with pytest.raises(CorpusError, match="no token is left") as refusal:
        learn_vocabulary(["ab", "ab"], TextConfig(), fraction=0, seed=1, min_count=3)
    assert "--min-count" in refusal.value.hint


# --- there and back --------------------------------------------------------------------------------------------------


@properties(15, 60)
@given(st.lists(st.text("abcé \U0001f600", max_size=6), min_size=1, max_size=8), st.sampled_from(["line", "stream"]))
def test_characters_come_back_as_they_were(lines, unit):
    if not any(lines):
        lines = [*lines, "a"]
    tokenizer, train, valid = learn_vocabulary(lines, TextConfig(unit=unit), fraction=0.0, seed=1)
    assert decode(tokenizer, train) == lines
    again = encode_corpus(tokenizer, iter(lines), unit)
    assert again.ids.tolist() == train.ids.tolist() and again.unit == unit
    assert valid.ids.size == 0


def test_words_come_back_as_they_were():
    lines = ['"No," she said, "not at 3.5%."', "", "(Why not?)", "don't"]
    tokenizer, train, _ = learn_vocabulary(lines, TextConfig(level="word"), fraction=0.0, seed=1)
    assert decode(tokenizer, train) == lines
    assert train.sequences == 4 and train.size == train.ids.size


def test_lower_case_is_one_token_with_upper_case():
    tokenizer, train, _ = learn_vocabulary(["Aa"], TextConfig(lowercase=True), fraction=0.0, seed=1)
    assert train.ids.tolist() == [2, 2, EOS_ID]
    assert encode_corpus(tokenizer, ["aAb"], "line").ids.tolist() == [2, 2, UNK_ID, EOS_ID]


def test_the_text_cannot_spell_a_special_token():
    lines = ["a <unk> <UNK> <EOS> a"]
    tokenizer, train, _ = learn_vocabulary(lines, WORDS, fraction=0.0, seed=1)
    assert tokenizer.vocabulary.tokens == (EOS, UNK, "a")
    assert train.ids.tolist() == [2, UNK_ID, UNK_ID, UNK_ID, 2, EOS_ID]


# --- coverage --------------------------------------------------------------------------------------------------------


def test_coverage_counts_tokens_and_types():
    counts = Counter("aaabbccd")
    assert coverage_of(counts, Vocabulary.build(Counter("aab"))) == {
        "tokens": 8,
        "oov": 3,
        "oov_rate": 3 / 8,
        "types": 4,
        "oov_types": 2,
    }


def test_coverage_of_nothing_is_no_division_by_zero():
    nothing = {"tokens": 0, "oov": 0, "oov_rate": 0.0, "types": 0, "oov_types": 0}
    assert coverage_of({}, Vocabulary.build({"a": 1})) == nothing


def test_coverage_agrees_with_encoding():
    """What `vocab --coverage` announces is what the model will then meet."""
    lines = ["the cat sat", "a dog sat <unk>", "", "THE"]
    splitter = make_splitter("word", "whitespace", lowercase=False)
    vocabulary = Vocabulary.build({"the": 2, "sat": 1})
    ids = encode_corpus(Tokenizer(splitter, vocabulary), lines, "line").ids
    literal = 1  # a literal <unk> is not counted as a token of the text
    assert coverage_of(count_tokens(lines, splitter), vocabulary)["oov"] == np.count_nonzero(ids == UNK_ID) - literal
