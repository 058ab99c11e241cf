"""Which lines stay: limits, the lowest of all, percentiles of a clean text, differences of two models."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm
from charlm.errors import CorpusError, UsageError
from charlm.inference.filtering import Filter, Limit, Rule, best, differing_words, values_of
from charlm.inference.scoring import Scorer
from tests.forms import properties
from tests.task_models import random_lines, task_model

LINES = ["", *random_lines("abcd", 60, 9, between="")]


@pytest.fixture(scope="module")
def models():
    return {
        "lm": task_model("lm"),
        "other": task_model("lm", seed=2),
        **{kind: task_model(kind) for kind in ("cloze", "cloze-char", "conditioned", "tag")},
        "words": task_model("lm", text={"level": "word"}),
    }


def bits_per_char(model, lines):
    return np.array([score.bits_per_char for score in Scorer(model).score(lines)])


def test_the_value_is_the_measure_of_the_line(models):
    scores = list(Scorer(models["lm"]).score(LINES))
    assert list(values_of(models["lm"], LINES)) == [one.bits_per_char for one in scores]
    assert list(values_of(models["lm"], LINES, by="bits")) == [one.nats / math.log(2.0) for one in scores]
    assert list(values_of(models["lm"], LINES, by="perplexity")) == [one.perplexity for one in scores]


@pytest.mark.parametrize("by", ["bits-per-char", "bits"])
def test_the_difference_is_that_of_moore_and_lewis(models, by):
    """H_I(s) - H_N(s), in NumPy, from -ln P of both; whatever is read ahead."""
    first, second = (np.array([one.nats for one in Scorer(models[name]).score(LINES)]) for name in ("lm", "other"))
    characters = np.array([len(line) + 1 for line in LINES]) if by == "bits-per-char" else 1
    expected = (first - second) / np.log(2.0) / characters
    for window in (1, 7, None):
        found = list(values_of(models["lm"], LINES, minus=models["other"], by=by, window=window))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert np.ptp(expected) > 0.1


def test_a_difference_knows_the_place_of_a_malformed_line(models):
    lines = ["x\tabc", "nope\tabc"]
    found = values_of(models["conditioned"], lines, minus=task_model("conditioned", seed=2))
    assert math.isfinite(next(found))
    with pytest.raises(CorpusError, match="'nope' was never seen in training, line 2"):
        next(found)


def test_models_that_cannot_be_subtracted(models):
    for minus, by, words in (
        ("other", "perplexity", "--by perplexity"),
        ("cloze-char", "bits", "cloze model and one that is not"),
        ("conditioned", "bits", "--condition and one without"),
    ):
        with pytest.raises(UsageError, match=words):
            values_of(models["lm"], LINES, minus=models[minus], by=by)
    assert differing_words(models["cloze"], models["words"]) and not differing_words(models["words"], models["words"])
    assert not differing_words(models["lm"], models["other"])


# ---- rules


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "no rule says which lines stay"),
        ({"below": 1.0, "above": 2.0}, "--below with --above"),
        ({"top": "5%", "below": 2.0}, "--top with --below"),
        ({"below": math.nan}, "--below is not a number"),
        ({"percentile": 95.0}, "--percentile without --of"),
        ({"below": 1.0, "has_clean": True}, "--of without --percentile"),
        ({"percentile": 101.0, "has_clean": True}, "--percentile is 101"),
        *[
            ({"top": top}, f"--top is '{top}'")
            for top in ("", "%", "x", "-1", "-1%", "101%", "1.5", "nan%", "1/0", "1e")
        ],
    ],
)
def test_what_is_no_rule(rule, words):
    with pytest.raises(UsageError, match=words):
        Rule(**rule)


@pytest.mark.parametrize(
    ("top", "lines", "count"),
    [
        ("10%", 30, 3), ("0.1%", 1000, 1), ("0.1%", 1001, 2), ("50%", 5, 3), ("100%", 7, 7), ("0%", 7, 0),
        ("12.5%", 8, 1), ("7", 5, 5), (3, 5, 3), ("0", 5, 0), ("20%", 0, 0), ("1%", 1, 1),
    ],
)  # fmt: skip
def test_a_share_is_exact_and_rounded_up(top, lines, count):
    assert Rule(top=top).count(lines) == count


def test_bounds_are_as_their_names_say():
    assert [Limit("below", 2.0).stays(x) for x in (1.0, 2.0, 3.0, math.nan)] == [True, False, False, False]
    assert [Limit("above", 2.0).stays(x) for x in (1.0, 2.0, 3.0, math.nan)] == [False, False, True, False]
    assert [Limit("at most", 2.0).stays(x) for x in (1.0, 2.0, 3.0, math.nan)] == [True, True, False, False]


@properties(40, 600)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, -3.0, math.inf, math.nan])), st.integers(0, 12))
def test_the_lowest_are_those_of_a_stable_sort(values, count):
    stays, limit = best(np.array(values, float), count)
    ranked = sorted((i for i in range(len(values)) if not math.isnan(values[i])), key=lambda i: values[i])[:count]
    assert np.flatnonzero(stays).tolist() == sorted(ranked)
    assert limit.value == values[ranked[-1]] if ranked else math.isnan(limit.value)


def test_the_percentile_is_that_of_numpy(models):
    clean = bits_per_char(models["lm"], LINES[:30])
    for percentile in (0.0, 12.5, 95.0, 100.0):
        rule = Rule(percentile=percentile, has_clean=True)
        assert rule.limit([*clean, math.nan]) == Limit("at most", float(np.percentile(clean, percentile)))
    with pytest.raises(CorpusError, match="no lines to score"):
        Rule(percentile=5.0, has_clean=True).limit([math.nan])


def test_what_was_decided_is_counted():
    chosen = Filter(Rule(below=2.0), Limit("below", 2.0))
    assert [stays for _, stays in chosen.decisions([3.0, math.nan, 1.0])] == [False, False, True]
    assert (chosen.lines, chosen.kept, chosen.lowest, chosen.highest) == (3, 1, 1.0, 3.0)


# ---- lines


@properties(15, 400)
@given(
    st.lists(st.sampled_from(LINES), max_size=40),
    st.sampled_from([{"below": 2.2}, {"above": 2.2}, {"top": "30%"}, {"top": 4}, {"percentile": 60.0, "of": LINES}]),
)
def test_lines_that_stay_are_a_subsequence_and_the_reverse_is_the_rest(models, lines, rule):
    kept = list(charlm.filter_lines(models["lm"], lines, **rule))
    dropped = list(charlm.filter_lines(models["lm"], lines, **rule, reverse=True))
    numbers = [one.number for one in kept]
    assert numbers == sorted(set(numbers))
    assert sorted([*numbers, *(one.number for one in dropped)]) == list(range(1, len(lines) + 1))
    assert all(lines[one.number - 1] == one.text for one in [*kept, *dropped])
    values = bits_per_char(models["lm"], lines)
    assert [one.value for one in [*kept, *dropped]] == pytest.approx(
        [values[one.number - 1] for one in [*kept, *dropped]]
    )


def test_an_empty_line_has_a_figure_except_to_a_cloze_model(models):
    rule = {"below": 1e9}
    assert [one.text for one in charlm.filter_lines(models["lm"], ["", "a"], **rule)] == ["", "a"]
    assert [one.text for one in charlm.filter_lines(models["cloze-char"], ["", "a"], **rule)] == ["a"]
    (empty,) = charlm.filter_lines(models["cloze-char"], ["", "a"], **rule, reverse=True)
    assert empty.text == "" and math.isnan(empty.value)
    assert [one.text for one in charlm.filter_lines(models["cloze-char"], ["", "a"], top="100%")] == ["a"]


def test_a_stream_is_read_as_it_is_decided(models):
    read = 0

    def lines():
        nonlocal read
        for line in LINES * 50:
            read += 1
            yield line

    ahead = max(
        read - one.number for one in charlm.filter_lines(models["lm"], lines(), below=1e9, minus=models["other"])
    )
    assert read == 50 * len(LINES) and ahead < 32 * 64


def test_mistakes_are_found_at_once(models):
    with pytest.raises(UsageError, match="no rule"):
        charlm.filter_lines(models["lm"], LINES)
    with pytest.raises(UsageError, match="unknown measure"):
        charlm.filter_lines(models["lm"], LINES, below=1.0, by="nats")
    with pytest.raises(UsageError, match="charlm filter does not work with a --task tag model"):
        charlm.filter_lines(models["lm"], LINES, below=1.0, minus=models["tag"])
    with pytest.raises(TypeError, match="one string"):
        charlm.filter_lines(models["lm"], "abc", below=1.0)
