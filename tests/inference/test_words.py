"""Scores of written words sum to the score of the line."""

import math

import pytest

from charlm.inference.scoring import Scorer
from charlm.inference.words import word_scores, written_words
from charlm.text import EOS, make_splitter
from tests import forms
from tests.conftest import SHARED
from tests.task_models import task_model

LINES = [
    "the cat sees it.", "", " ", "  the  cat ", "it's 3.5, (no)!", "a\u00a0b c", "ΟΔΟΣ ΑΣ", "e\u0301 \u0301x",
    "\u00a8 x", "a\tb\u3000c", "<unk> <EOS> b", "👍🏽 ok",
]  # fmt: skip
SPLITTERS = [
    make_splitter(level, split, lowercase, normalize)
    for level, split in (("char", "punct"), ("word", "punct"), ("word", "whitespace"))
    for lowercase, normalize in ((False, "none"), (True, "nfc"), (True, "nfkc"))
]


def check(line, splitter):
    words, tokens = written_words(line, splitter), splitter.split(line)
    assert words[-1].word == EOS and words[-1].end == len(tokens) + 1
    assert [one.start for one in words] == [0, *(one.end for one in words[:-1])]
    for one in words[:-1]:
        if splitter.level == "word":
            assert tokens[one.start : one.end] == splitter.split(one.word)
        else:
            assert splitter.spelled(one.word) in "".join(tokens[one.start : one.end])
            assert "".join(tokens[one.start : one.end]).split() == splitter.spelled(one.word).split()


@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: splitter.rule)
def test_words_have_all_tokens(splitter):
    for line in LINES:
        check(line, splitter)
    for path in sorted((SHARED / "corpora" / "unicode").glob("*")):
        for line in path.read_text().split("\n")[: forms.times(20, 2_000)]:
            check(line[:2_000], splitter)


def test_words_are_what_white_space_sets_apart():
    def words(line, splitter, **how):
        return [(one.word, one.start, one.end) for one in written_words(line, splitter, **how)]

    char, punct, white = SPLITTERS[0], SPLITTERS[3], SPLITTERS[6]
    assert words(" he, is ", char) == [("he,", 0, 5), ("is", 5, 8), (EOS, 8, 9)]
    assert words(" he, is ", punct) == [("he,", 0, 2), ("is", 2, 3), (EOS, 3, 4)]
    assert words("a\u00a0b c", punct) == [("a", 0, 1), ("b", 1, 2), ("c", 2, 3), (EOS, 3, 4)]
    assert words("a\u00a0b c", white) == [("a\u00a0b", 0, 1), ("c", 1, 2), (EOS, 2, 3)]
    assert words("  ", char) == [(EOS, 0, 3)]
    assert words("  ", char, has_eos=False) == [("", 0, 2)]
    assert words("", char, has_eos=False) == [] == words("  ", punct, has_eos=False)


@pytest.mark.parametrize("kind", ["lm", "cloze", "cloze-char"])
def test_they_sum_to_the_line(kind):
    model = task_model(kind)
    for has_eos in (True, False):
        for score in Scorer(model, per_token=True, has_eos=has_eos).score(LINES):
            words = word_scores(score, model.tokenizer.splitter)
            assert math.fsum(one.nats for one in words) == pytest.approx(score.nats, rel=0, abs=1e-9)
            assert sum(one.tokens for one in words) == score.tokens
            assert sum(one.oov for one in words) == score.oov
            assert [one.word for one in words if one.word not in ("", EOS)] == [
                word for word in score.text.split() if word != EOS
            ]
