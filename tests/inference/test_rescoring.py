"""Hypotheses rescored: totals by the formula, lists one after the other, and weights found with references."""

import math

import pytest

import charlm
from charlm.errors import CorpusError, UsageError
from charlm.inference.rescoring import Scored, scored_lists, tune_weights
from charlm.inference.scoring import Scorer
from charlm.inference.word_errors import word_errors
from tests.task_models import task_model

LISTS = [
    ("u1", -1.0, "abc ca"),
    ("u1", -3.5, "a b c"),
    ("u1", -2.0, ""),
    ("u2", 4.0, "cab"),
    ("u2", 4.0, "cab"),
    ("u3", 0.0, "abc ca"),
]


@pytest.fixture(scope="module")
def model():
    return task_model("lm")


def test_the_best_has_the_largest_total(model):
    for lm_weight, word_bonus in ((1.0, 0.0), (0.2, 3.0), (0.0, 0.0), (2.0, -5.0)):
        totals = [
            score + lm_weight * log10p * math.log(10.0) + word_bonus * len(text.split())
            for (_, score, text), log10p in zip(
                LISTS, [one.log10p for one in charlm.score(model, [text for *_, text in LISTS])], strict=True
            )
        ]
        weights = {"lm_weight": lm_weight, "word_bonus": word_bonus}
        found = list(charlm.rescore(model, LISTS, **weights, all=True))
        by_place = {(one.utterance, one.number): one for one in found}
        places = [("u1", 1), ("u1", 2), ("u1", 3), ("u2", 1), ("u2", 2), ("u3", 1)]
        for place, total, (_, score, text) in zip(places, totals, LISTS, strict=True):
            one = by_place[place]
            assert one.total == pytest.approx(total, rel=1e-9, abs=1e-9)
            assert (one.score, one.text, one.words) == (score, text, len(text.split()))
        assert [one.utterance for one in found] == ["u1"] * 3 + ["u2"] * 2 + ["u3"]
        of_first = [one.total for one in found[:3]]
        assert of_first == sorted(of_first, reverse=True)
        # Of equal hypotheses the first is the best.
        assert [one.number for one in found[3:5]] == [1, 2]
        assert list(charlm.rescore(model, LISTS, **weights)) == [found[0], found[3], found[5]]


def test_each_distinct_text_is_scored_once(model, monkeypatch):
    seen = []
    score = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, lines: score(self, (seen.append(one) or one for one in lines)))
    many = [(f"{name}{number}", value, text) for number in range(100) for name, value, text in LISTS]
    assert len(list(charlm.rescore(model, many))) == 300
    assert sorted(seen) == ["", "a b c", "abc ca", "cab"]


def test_lists_are_answered_before_all_are_read(model):
    read = []

    def endless():
        number = 0
        while True:
            read.append(number)
            yield (str(number // 2), 0.0, "abc")
            number += 1

    assert [next(charlm.rescore(model, endless())).utterance for _ in range(2)] == ["0", "0"]
    assert len(read) < 1000
    read.clear()
    next(scored_lists(model, endless(), at_once=True))
    assert read == [0, 1, 2]


def test_a_label_is_the_first_input_and_a_cloze_model_has_pseudo_probabilities():
    conditioned = task_model("conditioned")
    for label in ("x", "zz"):
        (one,) = charlm.rescore(conditioned, [("u", 0.0, "abc")], label=label)
        (score,) = charlm.score(conditioned, [f"{label}\tabc"])
        assert one.lnp == pytest.approx(-score.nats, rel=1e-9)
    (empty,) = charlm.rescore(conditioned, [("u", 0.0, "")], label="x")
    assert empty.lnp < 0.0 and empty.words == 0
    with pytest.raises(UsageError, match="no class given"):
        charlm.rescore(conditioned, [])
    with pytest.raises(UsageError, match="--class"):
        charlm.rescore(task_model("lm"), [], label="x")
    cloze = task_model("cloze")
    (one,) = charlm.rescore(cloze, [("u", 0.0, "the cat sees it.")])
    (score,) = charlm.score(cloze, ["the cat sees it."])
    assert one.lnp == pytest.approx(-score.nats, rel=1e-9)
    with pytest.raises(UsageError, match="does not work"):
        charlm.rescore(task_model("tag"), [])


def test_hypotheses_of_one_utterance_are_adjacent(model):
    given = [("u1", 0.0, "a"), ("u2", 0.0, "b"), ("u1", 0.0, "c")]
    found = charlm.rescore(model, given)
    assert [next(found).text, next(found).text] == ["a", "b"]
    with pytest.raises(CorpusError, match="of 'u1' are not adjacent, hypothesis 3"):
        next(found)
    assert list(charlm.rescore(model, [])) == []


def scored(name, *hypotheses):
    return [
        Scored(name, number, score, text, lnp, len(text.split()))
        for number, (score, lnp, text) in enumerate(hypotheses, start=1)
    ]


def test_weights_are_tuned_on_what_has_both_lists_and_references():
    lists = [
        scored("u1", (-1.0, -9.0, "a pair"), (-2.0, -3.0, "a pear")),
        scored("u2", (-1.0, -9.0, "x"), (-1.5, -1.0, "y")),
        scored("u3", (0.0, -1.0, "no reference")),
    ]
    tuned = tune_weights(lists, {"u1": "a pear", "u2": " y\tz ", "u4": "no list", "u5": ""})
    assert (tuned.utterances, tuned.words, tuned.errors_before, tuned.errors, tuned.oracle_errors) == (2, 4, 3, 1, 1)
    assert (tuned.wer_before, tuned.wer, tuned.oracle) == (0.75, 0.25, 0.25)
    assert tuned.without_reference == ("u3",) and tuned.without_hypotheses == ("u4", "u5")
    assert tune_weights(lists, {"u1": "a pear", "u2": "y z"}).weights == tuned.weights
    for references, what in (({"u9": "a"}, "no reference for 'u1'"), ({"u1": " "}, "no words")):
        with pytest.raises(CorpusError, match=what):
            tune_weights(lists, references)
    with pytest.raises(CorpusError, match="no hypotheses"):
        tune_weights([], {"u1": "a"})


def test_tuned_weights_are_those_of_the_models_own_scores(model):
    references = {"u1": "a b c", "u2": "cab", "u3": "x"}
    tuned = charlm.tune_rescoring(model, LISTS, references)
    assert tuned.weights == tune_weights(scored_lists(model, LISTS), references).weights
    weights = tuned.weights
    best = charlm.rescore(model, LISTS, lm_weight=weights.lm_weight, word_bonus=weights.word_bonus)
    assert tuned.errors == sum(word_errors(references[one.utterance].split(), one.text.split()) for one in best)
