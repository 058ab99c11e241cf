"""Which of the drawn texts are kept: held to a few lines of plain Python over the same draws."""

import numpy as np
import pytest

from charlm.config import SampleConfig
from charlm.errors import UsageError
from charlm.inference.choosing import STALLED, Choice, Counts, Texts, choose, known_texts, mean_log_prob
from charlm.inference.generation import Sample, Sampler
from tests import forms
from tests.fakes import language_model, table
from tests.task_models import task_model

LM = language_model(table([[1.0, 0, 0]] * 4), "ab")


def drawing(seed, *, texts=8):
    """Return a function that draws one of a few texts, each with a likelihood of its own, and the list of its draws."""
    rng = np.random.default_rng(seed)
    pool = ["ab"[:1] * int(n) + "b" * int(m) for n, m in rng.integers(0, 5, (texts, 2))]
    found = []

    def draw(number):
        assert number == len(found)
        text = pool[rng.integers(len(pool))]
        found.append(Sample(text, [*text, "<EOS>"], -float(rng.integers(1, 9))))
        return found[-1]

    return draw, found


def chosen(draw, choice, known=(), tokenizer=LM.tokenizer):
    counts = Counts()
    return list(choose(draw, choice, tokenizer, known=Texts(tokenizer, known), counts=counts)), counts


@forms.each("seed", range(12), thinned=2)
def test_what_is_kept_is_new_distinct_and_of_the_lengths_in_the_order_of_the_draws(seed):
    draw, drawn = drawing(seed, texts=40)
    known = {"a", "ab", "abb", "never drawn"}
    kept, counts = chosen(draw, Choice(5, unique=True, min_length=2, max_length=6), known)
    expected = list(dict.fromkeys(s.text for s in drawn if s.text not in known and 2 <= len(s.text) <= 6))
    assert [sample.text for sample in kept] == expected[:5]
    distinct = {sample.text for sample in drawn}
    assert counts == Counts(len(drawn), len(distinct), len(distinct & known), len(kept), counts.is_stalled)
    assert counts.is_stalled == (len(kept) < 5)
    if not counts.is_stalled:
        assert kept[-1] is drawn[-1]


@forms.each("seed", range(12), thinned=2)
def test_the_best_of_each_round_is_kept(seed):
    draw, drawn = drawing(seed)
    known = {"a", "b"}
    kept, counts = chosen(draw, Choice(4, best_of=5), known)
    rounds = [drawn[at : at + 5] for at in range(0, len(drawn), 5)]
    allowed = [[one for one in part if one.text not in known] for part in rounds]
    assert kept == [max(part, key=mean_log_prob) for part in allowed if part]
    assert counts.drawn == 5 * len(rounds) and counts.known == sum(one.text in known for one in drawn)
    assert counts.distinct == 0


def test_of_each_round_a_text_that_was_kept_is_not_kept_again():
    best, second, third = (Sample(text, ["x"], value) for text, value in (("aa", -1.0), ("bb", -2.0), ("ab", -3.0)))
    kept, counts = chosen(lambda number: [third, best, second][number % 3], Choice(3, unique=True, best_of=3))
    assert kept == [best, second, third]
    assert counts == Counts(9, 3, 0, 3)


def test_the_likeliest_come_first_per_token_and_equal_ones_in_their_order():
    samples = [Sample(text, list(text), value) for text, value in (("ab", -2.0), ("b", -2.0), ("aabb", -2.0))]
    kept, _ = chosen(lambda number: samples[number], Choice(3, sort=True))
    assert [sample.text for sample in kept] == ["aabb", "ab", "b"]
    equal = [Sample(text, ["x"], -1.0) for text in ("b", "a", "ab")]
    assert chosen(lambda number: equal[number], Choice(3, sort=True))[0] == equal
    assert mean_log_prob(Sample("", [], 0.0)) == 0.0


@pytest.mark.parametrize("choice", [Choice(3, unique=True), Choice(3, unique=True, best_of=7)])
def test_drawing_ends_when_nothing_new_comes(choice):
    """The limit is of draws in a row, and a text in its last draw is found."""

    def draw(number):
        return Sample("a" if number != STALLED else "b", ["x"])

    kept, counts = chosen(draw, choice)
    assert [sample.text for sample in kept] == ["a", "b"]
    assert counts.is_stalled and 2 * STALLED <= counts.drawn < 2 * STALLED + 8
    with pytest.raises(StopIteration):
        next(choose(lambda _: Sample("a"), Choice(), LM.tokenizer, known=Texts(LM.tokenizer, ["a"])))


def test_texts_are_equal_if_the_model_spells_them_so():
    words = language_model(table([[1.0, 0, 0]] * 4), ["a"], level="word", lowercase=True).tokenizer
    texts = Texts(words, ["The  cat sees.", "a\nb"])
    assert len(texts) == 2
    assert "the cat sees ." in texts and "\tTHE CAT SEES." in texts and "a\n b" in texts
    assert "thecat sees." not in texts and "a b" not in texts and None not in texts
    plain = Texts(LM.tokenizer, ["Ab", ""])
    assert "Ab" in plain and "" in plain
    assert "ab" not in plain and "Ab " not in plain and "\udc80" not in plain
    composed = language_model(table([[1.0, 0, 0]] * 4), "ab", normalize="nfc").tokenizer
    assert "e\u0301" in Texts(composed, ["\u00e9"]) and "e" not in Texts(composed, ["\u00e9"])


def test_a_conditioned_model_knows_the_texts_of_its_corpus():
    lm = task_model("conditioned")
    known = known_texts(lm, ["x\tabc", "nope\tabc", "cab", "zz\t"])
    assert len(known) == 4
    assert all(text in known for text in ("abc", "nope\tabc", "cab", "")) and "x\tabc" not in known
    assert "x\tabc" in known_texts(LM, ["x\tabc"])


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"best_of": 0}, {"min_length": -1}, {"max_length": -1}, {"min_length": 3, "max_length": 2}]
)
def test_an_impossible_choice_is_refused(wrong):
    with pytest.raises(UsageError) as caught:
        Choice(**wrong)
    assert "--" in caught.value.message and caught.value.hint


def test_what_is_kept_is_what_the_seed_draws_with_the_rejects_left_out():
    """Whatever is asked for, the texts are some of those of the same seed, in their order."""
    lm = language_model(table([[0.3, 0.0, 0.4, 0.3]] * 5), "ab")
    sampler = Sampler(lm, SampleConfig(length=4))
    plain = [sampler.sample(seed=3, number=number).text for number in range(400)]
    for choice in (Choice(9), Choice(9, unique=True), Choice(9, min_length=2), Choice(6, unique=True, best_of=4)):
        kept, counts = chosen(lambda number: sampler.sample(seed=3, number=number), choice, ["ab"], lm.tokenizer)
        rest = iter(plain[: counts.drawn])
        assert len(kept) == choice.count and all(sample.text in rest for sample in kept)
