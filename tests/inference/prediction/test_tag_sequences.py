"""Tags as sequences: none that the scheme forbids, the likeliest of the rest, and marginal probabilities."""

import itertools

import numpy as np
import pytest

from charlm.inference.prediction import predict
from charlm.inference.prediction.sequences import chained, independent, possible
from charlm.inference.prediction.tagging import tag_tokens
from charlm.nn.heads.base import Transitions
from tests.task_models import task_model

TAGS = ("B-X", "B-Y", "I-X", "I-Y", "O")
RULES = possible(TAGS, "iob2")


def is_possible(tags):
    return all(
        not tag.startswith("I-") or before[2:] == tag[2:] for before, tag in zip(("O", *tags), tags, strict=False)
    )


def log_probs(rng, n):
    z = rng.standard_normal((len(TAGS), n)) * 2
    return z - np.log(np.exp(z).sum(axis=0))


def test_which_tags_have_rules():
    assert possible(TAGS, "none") is None and possible(("N", "V"), "iob2") is None
    assert possible(("0", "1"), "iob2") is None


def test_the_best_possible_sequence_of_independent_tags():
    rng, forbidden = np.random.default_rng(1), 0
    for _ in range(60):
        scores = log_probs(rng, int(rng.integers(1, 5)))
        best, probs = independent(scores, RULES)
        n = best.size
        allowed = [s for s in itertools.product(range(5), repeat=n) if is_possible([TAGS[i] for i in s])]
        assert tuple(best.tolist()) == max(allowed, key=lambda s: scores[s, np.arange(n)].sum())
        np.testing.assert_array_equal(probs, np.exp(scores[best, np.arange(n)]))
        free, _ = independent(scores, None)
        np.testing.assert_array_equal(free, scores.argmax(axis=0))
        forbidden += not is_possible([TAGS[i] for i in free])
    assert forbidden > 20


def test_the_best_sequence_of_a_chain_and_its_marginal_probabilities():
    rng = np.random.default_rng(2)
    t = Transitions(rng.standard_normal((5, 5)), rng.standard_normal(5), rng.standard_normal(5))
    scores = [log_probs(rng, n) for n in (3, 0, 1, 4, 2)]
    for rules in (None, RULES):
        for one, (best, probs) in zip(scores, chained(scores, t, rules), strict=True):
            n = one.shape[1]
            assert best.shape == probs.shape == (n,)
            if not n:
                continue
            each = {
                s: t.first[s[0]]
                + one[s, np.arange(n)].sum()
                + sum(t.A[p] for p in itertools.pairwise(s))
                + t.last[s[-1]]
                for s in itertools.product(range(5), repeat=n)
            }
            allowed = [s for s in each if rules is None or is_possible([TAGS[i] for i in s])]
            assert tuple(best.tolist()) == max(allowed, key=each.get)
            Z = sum(map(np.exp, each.values()))
            for step, label in enumerate(best.tolist()):
                with_label = sum(np.exp(score) for s, score in each.items() if s[step] == label)
                assert probs[step] == pytest.approx(with_label / Z, rel=1e-12)


@pytest.mark.parametrize("crf", [False, True])
def test_no_impossible_sequence_is_predicted(crf, times):
    """10,000 sentences of random words in the long form."""
    lm = task_model("entities", crf=crf, seed=4)
    rng, count = np.random.default_rng(5), times(200, 10_000)
    words = [*lm.tokenizer.vocabulary.tokens[2:], "what"]
    sentences = [rng.choice(words, rng.integers(0, 9)).tolist() for _ in range(count)]
    found = [tags for tags, _ in tag_tokens(lm, sentences)]
    assert all(map(is_possible, found)) and {tag for tags in found for tag in tags} == set(lm.labels)


@pytest.mark.parametrize("kind", ["entities", "yes-no"])
def test_a_chain_is_the_same_whatever_lines_are_beside_it(kind):
    lm = task_model(kind, crf=True, seed=6)
    lines = ["the cat sees it .", "", "dog", "the the cat . , dog sees"]
    together = list(predict(lm, lines))
    for one, line in zip(together, lines, strict=True):
        (alone,) = predict(lm, [line])
        assert one.prediction == alone.prediction and len(one.prediction) == len(line.split())
        np.testing.assert_allclose(one.prob, alone.prob, rtol=1e-9)
