"""Words with their characters: which are known, how a corpus and a batch have them, and each word of a batch once."""

import numpy as np
import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.text.batches.spellings import rows_of, spellings_of
from charlm.text.tasks import corpus_reader
from charlm.text.tokens.characters import LONGEST, UNKNOWN, common_characters, spelled
from charlm.text.tokens.vocabulary import NOTHING

LINES = ["the\tD", "the\tD", "Rome\tN", "", "them\tP", "Ulm\tN", "the\tD", "mét\tP"]


def learned(**text):
    config = TextConfig(level="word", split="whitespace", **text)
    reader = corpus_reader("tag", config, conditioned=False, spells=True)
    return reader.learn(LINES, TrainConfig(min_count=2), 0.0)[:2]


def spelling(codec, row):
    """Return the id of a row and its characters as text, `?` for an unknown one."""
    return int(row[0]), "".join("?" if i == UNKNOWN else codec.characters[i - 1] for i in row[1:] if i != NOTHING)


def test_a_character_is_one_of_two_different_words_at_least():
    assert common_characters(["aab", "cab", "dd", "a"]) == ("a", "b")
    assert common_characters(["aa"]) == ()


def test_a_character_outside_the_list_is_the_unknown_one():
    assert spelled(["ba", "", "xaß"], ["a", "b"]).tolist() == [[2, 1, -1], [-1, -1, -1], [0, 1, 0]]
    assert spelled([], ["a"]).shape == (0, 0)


def test_of_a_long_word_both_ends_are_read():
    row = spelled(["a" * 99 + "b" * 99], ["a", "b"])[0].tolist()
    assert row == [1] * (LONGEST // 2) + [2] * (LONGEST // 2)
    assert len(spelled(["a" * LONGEST], ["a"])[0]) == LONGEST


@pytest.mark.parametrize("lowercase", [False, True])
def test_words_keep_their_own_characters_whatever_the_vocabulary_knows(lowercase):
    """Words left out, words of another text, and capitals of words that are looked up in lower case."""
    codec, train = learned(lowercase=lowercase)
    assert codec.characters == ("m", "e", "t", "h")
    ids, table = codec.read_words(["The", "Mt", "The", "xyz"])
    assert ids.tolist() == [0, 1, 0, 2] and table[-1].tolist() == [NOTHING] * table.shape[1]
    names = [codec.tokenizer.vocabulary.tokens[int(row[0])] for row in table[:-1]]
    assert names == ["the" if lowercase else "<UNK Aa>", "<UNK Aa>", "<UNK a>"]
    assert [spelling(codec, row)[1] for row in table[:-1]] == ["?he", "?t", "???"]
    unknown = [spelling(codec, row) for row in train.table[:-1] if int(row[0]) > 2]
    assert [text for _, text in unknown] == ["??me", "them", "??m", "m?t"]


def test_without_characters_words_are_ids():
    codec, train, _ = corpus_reader("tag", TextConfig(level="word"), conditioned=False).learn(LINES, TrainConfig(), 0.0)
    assert codec.characters is None and train.table is None
    assert codec.read_words(["the"])[1] is None


def test_a_batch_has_the_words_of_the_corpus_with_their_characters():
    codec, train = learned()
    seen = []
    for batch, numbers, begins, lanes in train.batches(2, 3, seed=1).placed():
        assert batch.inputs.dtype == np.int32 and batch.inputs.flags.c_contiguous
        assert (batch.inputs[:, 1:] != NOTHING).any(axis=(0, 2)).all()  # not wider than its longest word
        for number, begin, lane in zip(numbers, begins, lanes, strict=True):
            first, end = train.offsets[number : number + 2]
            read = [spelling(codec, row) for row in batch.inputs[begin : begin + end - first, :, lane]]
            assert read == [spelling(codec, train.table[i]) for i in train.ids[first:end]]
            seen.append(int(number))
    assert sorted(seen) == [0, 1]


def places_of(inputs, found):
    """Return the characters at each place of a batch, read from the lanes of `spellings_of`."""
    words = []
    for last, lane in zip(found.last, found.lane, strict=True):
        first = last
        while not found.starts[first, lane]:
            first -= 1
        words.append(found.characters[first : last + 1, lane].tolist())
    return [[None if i == NOTHING else words[i] for i in row] for row in found.which.tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_each_word_of_a_batch_is_there_once(seed):
    rng = np.random.default_rng(seed)
    shape, K = tuple(rng.integers(1, 9, 2)), int(rng.integers(1, 30))
    inputs = rng.integers(0, 3, (shape[0], 1 + K, shape[1]), dtype=np.int32)
    lengths = rng.integers(0, K + 1, shape)
    inputs[:, 1:][np.arange(K)[:, None] >= lengths[:, None]] = NOTHING
    found = spellings_of(inputs)
    expected = [
        [[int(i) for i in inputs[t, 1:, b] if i != NOTHING] or None for b in range(shape[1])] for t in range(shape[0])
    ]
    assert places_of(inputs, found) == expected
    different = {tuple(word) for row in expected for word in row if word}
    assert len(found.last) == len(different) and (found.characters != NOTHING).sum() == sum(map(len, different))
    ends = np.roll(found.starts, -1, axis=0)
    ends[-1] = True
    assert ends[found.last, found.lane].all() and found.characters[found.last, found.lane].min(initial=0) >= 0
    # Nothing depends on where the words stand.
    turned = spellings_of(np.ascontiguousarray(inputs[::-1, :, ::-1]))
    for name in ("characters", "starts", "last", "lane"):
        np.testing.assert_array_equal(getattr(turned, name), getattr(found, name))


def test_a_batch_without_a_word_has_a_lane_of_nothing():
    for width in (0, 2):
        found = spellings_of(np.full((2, 1 + width, 3), NOTHING, np.int32))
        assert found.characters.tolist() == [[NOTHING]] and found.last.size == 0
        assert found.which.tolist() == [[NOTHING] * 3] * 2


def test_rows_are_as_wide_as_the_longest_word_among_them():
    table = np.array([[5, 1, -1, -1], [6, 1, 2, 3], [-1, -1, -1, -1]], np.int32)
    assert rows_of(table, np.array([[0, -1]])).tolist() == [[[5, -1], [1, -1]]]
    assert rows_of(table, np.array([[1], [0]])).shape == (2, 4, 1)
    assert rows_of(table, np.array([[-1]])).shape == (1, 1, 1)
