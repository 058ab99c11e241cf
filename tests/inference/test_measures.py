"""The measures by which lines are ranked and filtered."""

import math

import pytest

from charlm.errors import UsageError
from charlm.inference.measures import DEFAULT, MEASURES, measure_of
from charlm.inference.scoring import Score


def test_each_is_the_figure_of_score():
    score = Score("abc", 8 * math.log(2.0), 4, 0, 0.0)
    assert {name: one.of(score) for name, one in MEASURES.items()} == {
        "bits-per-char": score.bits_per_char,
        "bits": pytest.approx(8.0),
        "perplexity": score.perplexity,
    }
    assert (score.bits_per_char, score.perplexity) == (pytest.approx(2.0), pytest.approx(4.0))
    assert DEFAULT in MEASURES
    assert all(hasattr(score, one.key) for one in MEASURES.values() if one.name != "bits")


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="unknown measure 'nats'"):
        measure_of("nats")
