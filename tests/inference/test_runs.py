"""Odd runs: what exceeds the model's own expectation, smoothed, and where it is in the text."""

import itertools
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.inference.runs import best_segments, excess_bits, odd_runs, token_spans
from charlm.inference.scoring import Scorer
from charlm.text import EOS_ID, NOTHING
from charlm.text.tokens.levels import make_splitter
from tests import forms
from tests.task_models import choices_everywhere, given_the_others, ids_of, outputs, shifted, task_model


def scored(model, line):
    (score,) = Scorer(model).score([line])
    return score


def test_the_segments_are_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(forms.times(40, 1_000)):
        gains, cost = rng.choice([-3, -2, -1, 0, 1, 2, 5], rng.integers(0, 8)).tolist(), float(rng.choice([0.5, 1, 3]))
        found = best_segments(gains, cost)
        assert all(one[0] < one[1] for one in found)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
        best = max(
            sum(g for g, inside in zip(gains, chosen, strict=True) if inside)
            - cost * sum(b and not a for a, b in itertools.pairwise((False, *chosen)))
            for chosen in itertools.product((False, True), repeat=len(gains))
        )
        assert sum(sum(gains[a:b]) - cost for a, b in found) == pytest.approx(best)


@pytest.mark.parametrize(("kind", "unit"), [("lm", "line"), ("lm", "stream"), ("conditioned", "line")])
def test_the_excess_is_surprisal_less_entropy(kind, unit):
    model = task_model(kind, text={"unit": unit})
    line = "abcaabbcz" * 20  # longer than one call of the network reads
    score = scored(model, f"y\t{line}" if kind == "conditioned" else line)
    ids = ids_of(model, line)
    first = EOS_ID if unit == "stream" else NOTHING
    if kind == "conditioned":
        first = int(model.codec.first_inputs(["y"])[0])
    log_probs = np.log2(choices_everywhere(model, shifted(ids, first)))
    expected = [-of[i] + (2.0**of * of).sum() for i, of in zip(ids, log_probs, strict=True)]
    assert excess_bits(model, score) == pytest.approx(expected, abs=1e-9)


def test_of_a_cloze_model_both_are_given_the_others():
    model = task_model("cloze")
    ids = ids_of(model, "the cat sees it.")
    probs = [given_the_others(model, ids, place) for place in range(len(ids))]
    expected = [-math.log2(p[i]) + (p * np.log2(p)).sum() for i, p in zip(ids, probs, strict=True)]
    assert excess_bits(model, scored(model, "the cat sees it.")) == pytest.approx(expected, abs=1e-9)
    assert odd_runs(model, scored(model, "")) == []


@pytest.fixture(scope="module")
def of_letters():
    """A model to which `a` and a space are likely, and others cost 40 bits."""
    model = task_model("cloze-char")
    other = 2.0**-40
    outputs(model, np.log([other, other, 3 / 4, other, other, 1 / 4]))
    return model


def test_a_run_grows_to_words_and_loses_the_spaces_at_its_ends(of_letters):
    line = "aa aabaa aa  aa"
    (run,) = odd_runs(of_letters, scored(of_letters, line))
    assert line[run.start : run.end] == "aabaa"
    assert run.bits == pytest.approx(40, abs=1)
    gap = " aa" * 6
    line = f"aac{gap} b, {gap}a日本aa"
    runs = odd_runs(of_letters, scored(of_letters, line))
    assert [line[one.start : one.end] for one in runs] == ["aac", "b,", "日本"]
    (whole,) = odd_runs(of_letters, scored(of_letters, "aac aa b"))
    assert (whole.start, whole.end) == (0, 8)


def test_what_cannot_be_expected_is_not_odd(of_letters):
    """Not even many of them, if the model knows that each is a guess."""
    model = task_model("lm")
    outputs(model, np.log([0.01, 0.03, 0.32, 0.32, 0.32]))
    assert odd_runs(model, scored(model, "abccbaabc" * 30)) == []
    outputs(model, np.log([0.01, 2.0**-30, 0.94, 0.05, 2.0**-30]))
    assert len(odd_runs(model, scored(model, "aaaa" * 30 + "c" + "aaaa" * 30))) == 1


# ---- where a token is in the text


CASES = [
    ("e\u0301a\u0301", "nfc", False, [(0, 2), (2, 4)]),
    ("\ufb01x", "nfkc", False, [(0, 1), (0, 1), (1, 2)]),
    ("\u1112\u1161\u11ab!", "nfc", False, [(0, 3), (3, 4)]),
    ("\u0130a", "none", True, [(0, 1), (0, 1), (1, 2)]),
    ("\u0391\u03a3 \u0391", "nfc", True, [(0, 2), (0, 2), (2, 3), (3, 4)]),
    ("a\u0301\u0323", "nfc", False, [(0, 3), (0, 3)]),
    ("\udcffa", "nfc", False, [(0, 1), (1, 2)]),
]


@pytest.mark.parametrize(("text", "form", "lowercase", "expected"), CASES)
def test_tokens_are_where_they_came_from(text, form, lowercase, expected):
    assert token_spans(text, make_splitter("char", "punct", lowercase, form)) == expected


def test_a_line_of_marks_takes_linear_time():
    text = "a" + "\u0301\u0323" * 5_000  # which one normal form sorts
    spans = token_spans(text, make_splitter("char", "punct", False, "nfc"))
    assert set(spans) == {(0, len(text))}


LETTERS = "aAbB .,'\u00e9\u0301\u0323\u0130\u03a3\u1112\u1161\u11ab\uac00\ufb01\u3042\u65e5\U0001f44d\u200d\udcff\t<"


@given(
    st.text(LETTERS, max_size=12),
    st.sampled_from(["nfc", "nfkc", "none"]),
    st.booleans(),
    st.sampled_from(["char", "word"]),
)
@forms.properties(20, 1_000)
def test_the_spans_of_any_text_spell_its_tokens(text, form, lowercase, level):
    text = text.replace("\n", " ")
    splitter = make_splitter(level, "punct", lowercase, form)
    spans, tokens = token_spans(text, splitter), splitter.split(text)
    assert len(spans) == len(tokens)
    assert all(one[0] <= other[0] and one[1] <= other[1] for one, other in itertools.pairwise(spans))
    for (start, end), token in zip(spans, tokens, strict=True):
        assert token in splitter.spelled(text[start:end])
    if level == "char" and form == "nfc" and text == unicodedata.normalize("NFC", text) and not lowercase:
        assert spans == [(at, at + 1) for at in range(len(text))]
