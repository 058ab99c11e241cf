"""Surprisal, entropy and rank: against the score, against the definitions, and over a whole small language."""

import itertools
import math

import numpy as np
import pytest

import charlm
from charlm.errors import UsageError
from charlm.inference.regions import split_at_marks, token_starts
from charlm.inference.scoring import Scorer
from charlm.inference.surprisal import surprisals
from charlm.inference.words import written_words
from charlm.text import EOS, EOS_ID, NOTHING, make_splitter
from tests import forms
from tests.task_models import APART, WORD, choices_everywhere, ids_of, random_lines, shifted, task_model

LINES = [
    "abc", "", " ", "  ab c ", "a b, c!", "cab?\u00a0b c", "e\u0301 \u0301x", "<EOS> <UNK> a", "👍🏽 b",
    *random_lines("abc ", 2, 9, between=""), "ab c" * 40,
]  # fmt: skip
MODELS = {
    "char": {},
    "normalized": {"text": {"normalize": "nfkc", "lowercase": True}},
    "stream": {"text": {"unit": "stream"}},
    "float32": {"dtype": "float32"},
    "word": {"text": WORD},
    "apart": {"text": APART},
}


@pytest.fixture(scope="module")
def models():
    return {name: task_model("lm", **fields) for name, fields in MODELS.items()}


def by_line(records, count):
    found = [[] for _ in range(count)]
    for one in records:
        found[one.line - 1].append(one)
    return found


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", ["char", "normalized", "word", "apart", "stream", "float32"])
def test_the_words_tokens_and_regions_of_a_line_sum_to_its_score(models, name):
    model = models[name]
    for carry_state in (False, True)[: 1 + model.is_stream]:
        scores = list(Scorer(model, carry_state=carry_state, batch_size=3).score(LINES))
        for per, mark in (("word", None), ("token", None), ("word", "b"), ("region", "#")):
            found = by_line(surprisals(model, LINES, per=per, region=mark, carry_state=carry_state), len(LINES))
            for score, records in zip(scores, found, strict=True):
                if mark == "b" and (carry_state or "b" in score.text):
                    continue  # its text, or that before it, is another without the mark
                assert math.fsum(one.surprisal for one in records) == pytest.approx(
                    score.nats / math.log(2.0), rel=0, abs=1e-6
                )
                assert sum(one.tokens for one in records) == score.tokens
                assert sum(one.oov for one in records) == score.oov
                assert [one.position for one in records] == list(range(1, len(records) + 1))
                assert records[-1].text == EOS


@pytest.mark.parametrize("name", ["char", "stream", "word"])
def test_entropy_and_rank_are_those_of_the_distribution(models, name):
    """Directly, -sum P log2 P in float64, with each probability from a pass of its own over the line."""
    model = models[name]
    for line, records in zip(LINES, by_line(surprisals(model, LINES, per="token"), len(LINES)), strict=True):
        ids = [*ids_of(model, line), EOS_ID]
        probs = choices_everywhere(model, shifted(ids, EOS_ID if model.is_stream else NOTHING))
        assert [one.surprisal for one in records] == pytest.approx(-np.log2(probs[np.arange(len(ids)), ids]), abs=1e-9)
        entropies = -(probs * np.log2(probs)).sum(axis=1)
        assert [one.entropy for one in records] == pytest.approx(entropies, rel=0, abs=1e-9)
        assert [one.rank for one in records] == [1 + int((p > p[i]).sum()) for p, i in zip(probs, ids, strict=True)]
        after = [*entropies[1:], 0.0]
        reductions = [max(0.0, h - h_after) for h, h_after in zip(entropies, after, strict=True)]
        assert [one.entropy_reduction for one in records] == pytest.approx(reductions, abs=1e-9)
        # As neural-complexity's main.py computes `entred`, whose Hs[t] is the entropy before word t.
        entred = [max(0.0, entropies[max(t - 1, 0)] - entropies[t]) for t in range(len(ids))]
        assert [one.reduction_before for one in records] == pytest.approx(entred, abs=1e-9)


def test_a_word_begins_with_its_first_token(models):
    for model in (models["char"], models["normalized"], models["word"]):
        tokens, words = (by_line(surprisals(model, LINES, per=per), len(LINES)) for per in ("token", "word"))
        for line, of_tokens, of_words in zip(LINES, tokens, words, strict=True):
            spans = written_words(line, model.tokenizer.splitter)
            assert [one.text for one in of_words] == [span.word for span in spans]
            for one, span in zip(of_words, spans, strict=True):
                first = of_tokens[span.start]
                assert (one.entropy, one.rank) == (first.entropy, first.rank)
                after = of_tokens[span.end].entropy if span.end < len(of_tokens) else 0.0
                assert one.entropy_reduction == max(0.0, one.entropy - after)
    first, second = charlm.surprisal(models["char"], ["a"])
    assert (first.text, first.reduction_before, second.text) == ("a", 0.0, EOS)


def test_the_probabilities_of_all_words_and_the_rest_sum_to_one():
    """Every word of up to n of three letters, with `?` for all other characters, ends; or it has more letters."""
    model, longest = task_model("lm", seed=4), forms.times(3, 5)
    words = ["".join(letters) for n in range(longest + 1) for letters in itertools.product("abc?", repeat=n)]
    longer = ["".join(letters) for letters in itertools.product("abc?", repeat=longest + 1)]

    def total(lines, **how):
        found = by_line(charlm.surprisal(model, lines, **how), len(lines))
        return math.fsum(2.0 ** -math.fsum(one.surprisal for one in records) for records in found)

    of_words, the_rest = total(words), total(longer, has_eos=False)
    assert 0.01 < of_words < 0.99
    assert of_words + the_rest == pytest.approx(1.0, rel=0, abs=1e-9)


def test_the_answer_does_not_depend_on_batches_or_on_what_else_is_asked(models):
    for model in (models["char"], models["word"]):
        whole = list(surprisals(model, LINES))
        for how in ({"batch_size": 1}, {"batch_size": 5, "window": 2}):
            for one, other in zip(whole, surprisals(model, LINES, **how), strict=True):
                assert (one.line, one.text, one.rank, one.tokens) == (other.line, other.text, other.rank, other.tokens)
                assert [one.surprisal, one.entropy] == pytest.approx([other.surprisal, other.entropy], abs=1e-9)
        quick = list(surprisals(model, LINES, with_entropy=False))
        assert [one.surprisal for one in quick] == [one.surprisal for one in whole]
        assert {(one.entropy, one.rank) for one in quick} == {(0.0, 0)}
        lines = [line for line in LINES if line.strip() and EOS not in line]
        assert [one.surprisal for one in surprisals(model, lines, has_eos=False)] == [
            one.surprisal for one in surprisals(model, lines) if one.text != EOS
        ]


def test_a_conditioned_model_begins_with_the_label():
    model, lines = task_model("conditioned"), ["x\tabc a", "zz\tc", "y\tb"]
    scores = list(charlm.score(model, lines))
    found = by_line(charlm.surprisal(model, lines), 3)
    assert [{one.label for one in records} for records in found] == [{"x"}, {"zz"}, {"y"}]
    for score, records in zip(scores, found, strict=True):
        assert math.fsum(one.surprisal for one in records) == pytest.approx(score.nats / math.log(2.0), abs=1e-9)


# ---- regions


@pytest.mark.parametrize(
    ("line", "text", "regions"),
    [
        ("the dog | barked | .", "the dog barked .", ["the dog", "barked", "."]),
        ("the dog |barked| loudly", "the dog barked loudly", ["the dog", "barked", "loudly"]),
        ("a  |\tb", "a b", ["a", "b"]),
        ("a |  | b", "a b", ["a", "", "b"]),
        ("| a | ", "a", ["", "a", ""]),
        (" a b ", " a b ", [" a b "]),
        ("ba|rked|.", "barked.", ["ba", "rked", "."]),
        ("", "", [""]),
        ("||", "", ["", "", ""]),
    ],
)
def test_a_mark_is_no_part_of_the_text(line, text, regions):
    found = split_at_marks(line, "|")
    assert (found.text, list(found.regions)) == (text, regions)
    for start, region in zip(found.starts, regions, strict=True):
        assert found.text[start:].startswith(region)
    assert list(found.starts) == sorted(found.starts)
    longer = split_at_marks(line.replace("|", "<>"), "<>")
    assert (longer.text, longer.starts) == (found.text, found.starts)
    assert (found.joined != "") == ("ba" in regions)


def test_two_words_that_become_one_are_named():
    assert split_at_marks("the reporter|who left|.", "|").joined == "reporter|who"
    assert split_at_marks("the dog|, | it", "|").joined == ""


@pytest.mark.parametrize("name", ["char", "word", "apart"])
def test_regions_have_the_tokens_that_begin_in_them(models, name):
    model = models[name]
    marked = ["  ab c | b, c |!", "a | | b", "|a b|", "ab|c a", "a c"]
    plain = [split_at_marks(line, "|").text for line in marked]
    tokens = by_line(charlm.surprisal(model, plain, per="token"), len(plain))
    words = by_line(charlm.surprisal(model, marked, per="word", region="|"), len(plain))
    again = by_line(charlm.surprisal(model, marked, per="token", region="|"), len(plain))
    regions = by_line(charlm.surprisal(model, marked, region="|"), len(plain))
    for of_tokens, of_words, numbered, of_regions in zip(tokens, words, again, regions, strict=True):
        assert [one.region for one in of_regions] == list(range(1, len(of_regions) + 1))
        assert [one.surprisal for one in numbered] == [one.surprisal for one in of_tokens]
        for region in of_regions:
            mine = [one for one in numbered if one.region == region.region]
            assert region.tokens == len(mine)
            assert region.surprisal == pytest.approx(math.fsum(one.surprisal for one in mine), abs=1e-12)
            assert region.rank == (mine[0].rank if mine else 0)
            following = [one for one in numbered if one.region >= region.region]
            assert region.entropy == following[0].entropy
            if not mine:
                assert region.entropy_reduction == 0.0
        assert of_words[-1].region == of_regions[-1].region and of_words[-1].text == EOS
    assert [[one.region for one in line] for line in words[:3]] == [[1, 1, 2, 2, 3, 4], [1, 3, 4], [2, 2, 4]]


def test_a_mark_inside_a_word_parts_its_characters_and_keeps_its_token(models):
    of_char = list(charlm.surprisal(models["char"], ["ab|c a"], region="|"))
    assert [(one.text, one.tokens) for one in of_char] == [("ab", 2), ("c a", 3), (EOS, 1)]
    of_word = list(charlm.surprisal(models["word"], ["ab|c|. a"], region="|"))
    assert [(one.text, one.tokens) for one in of_word] == [("ab", 1), ("c", 0), (". a", 2), (EOS, 1)]


def test_tokens_begin_inside_their_words():
    for level, split in (("char", "punct"), ("word", "punct"), ("word", "whitespace")):
        for normalize in ("none", "nfc", "nfkc"):
            splitter = make_splitter(level, split, False, normalize)
            for line in [*LINES, "ﬃ ﬃx, e\u0301!", "\u00a8 x"]:
                starts, tokens = token_starts(line, splitter), splitter.split(line)
                assert len(starts) == len(tokens) and starts == sorted(starts)
                for word in written_words(line, splitter, has_eos=False):
                    for at in starts[word.start : word.end]:
                        assert word.at <= at < len(line) or at < word.at == line.find(word.word)
                if normalize == "none":
                    assert all(line.startswith(token, at) for token, at in zip(tokens, starts, strict=True))


def test_what_is_refused(models):
    for how in ({"per": "region"}, {"region": ""}, {"per": "word", "region": ""}):
        with pytest.raises(UsageError, match="regions without a mark"):
            next(charlm.surprisal(models["char"], ["a"], **how))
    with pytest.raises(UsageError, match="charlm surprisal does not work with a --task cloze model"):
        charlm.surprisal(task_model("cloze"), ["a"])
