"""The search for weights: exact along a line, as good as a grid, and in the middle of what is best."""

from collections import Counter
from itertools import pairwise
from math import log
from pathlib import Path

import numpy as np
import pytest

from charlm.inference.rescoring import Scored, Weights, ranked, tune_weights
from charlm.inference.weight_search import NBest, WeightSearch, pieces
from charlm.inference.word_errors import word_errors

CORPORA = Path(__file__).resolve().parents[2] / "corpora"


def made(seed, *, scale=1.0):
    """Return lists of (score, ln P, words, errors) in which all three tell of the errors, with much noise."""
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(int(rng.integers(1, 30))):
        count = int(rng.integers(1, 12))
        words = np.maximum(0, rng.integers(0, 12) + rng.integers(-2, 3, count))
        errors = rng.integers(0, 5, count)
        lnps = -6.0 * words - 3.0 * errors * rng.uniform(0, 1) + rng.normal(0, 3, count)
        scores = scale * (-4.0 * words - 2.0 * errors * rng.uniform(-0.3, 1) + rng.normal(0, 3, count))
        lists.append([(*map(float, one[:3]), int(one[3])) for one in zip(scores, lnps, words, errors, strict=True)])
    return lists


def errors_on_grid(lists, lm_weights, bonuses):
    """Return the errors [lm_weights, bonuses] of the hypotheses with the largest totals."""
    total = np.zeros((len(lm_weights), len(bonuses)), int)
    for one in lists:
        scores, lnps, words, errors = np.array(one).T[:, :, None, None]
        totals = scores + lm_weights[:, None] * lnps + bonuses * words
        total += errors[totals.argmax(0), 0, 0].astype(int)
    return total


def test_the_pieces_of_a_line_have_the_errors_of_their_places(times):
    for seed in range(times(4, 40)):
        lists = NBest.of(made(seed))
        line = pieces(lists.scores - 0.3 * lists.words, lists.lnps, lists.errors, 0.0)
        assert line[0].low == 0.0 and line[-1].high == np.inf
        for piece, following in pairwise(line):
            assert piece.high == following.low and piece.errors != following.errors
        for piece in line:
            for share in (0.001, 0.5, 0.999):
                end = min(piece.high, 2.0 * piece.low + 1.0)
                place = piece.low + share * (end - piece.low)
                assert lists.errors_with(place, -0.3) == piece.errors


def test_no_grid_finds_fewer_errors(times):
    for seed in range(times(2, 100)):
        lists = made(seed)
        weights = WeightSearch(NBest.of(lists)).best()
        found = NBest.of(lists).errors_with(*weights)
        grid = errors_on_grid(lists, np.arange(0.0, 4.0, 0.1), np.arange(-5.0, 25.0, 0.5))
        assert found <= grid.min(), f"seed {seed}, weights {weights}"
        assert found <= NBest.of(lists).errors_with(0.0, 0.0)


def test_the_weights_grow_with_the_scores(times):
    for seed in range(times(1, 10)):
        small, large = (WeightSearch(NBest.of(made(seed, scale=scale))).best() for scale in (1.0, 1000.0))
        assert large == pytest.approx([1000.0 * weight for weight in small], rel=0.05)


def test_the_middle_of_the_best_region_is_taken_in_few_digits():
    """One list bounds each side: no error for lm_weight from 1 to 3 and word_bonus from 2 to 6."""
    bounds = [  # (score, ln P, words) of the right and of the wrong hypothesis
        ((0.0, 0.0, 0.0), (1.0, -1.0, 0.0)),
        ((0.0, -1.0, 0.0), (-3.0, 0.0, 0.0)),
        ((0.0, 0.0, 1.0), (2.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (-6.0, 0.0, 1.0)),
    ]
    lists = [[(*wrong, 1), (*right, 0)] for right, wrong in bounds]
    lm_weight, word_bonus = WeightSearch(NBest.of(lists)).best()
    assert 1.6 < lm_weight < 2.1 and word_bonus == pytest.approx(4.0, abs=0.1)
    assert len(str(lm_weight)) <= 4 and len(str(word_bonus)) <= 4


@pytest.mark.parametrize(
    "lists",
    [
        [[(-1.0, -2.0, 3.0, 1)]],
        [[(0.0, 0.0, 0.0, 1)] * 3] * 2,
        [[(-1.0, -2.0, 3.0, 1), (-1.0, -2.0, 3.0, 0)], [(-5.0, -2.0, 3.0, 2)]],
        [[(1e100, -1.0, 2.0, 1), (-1e100, -3.0, 2.0, 0)]],
    ],
    ids=["one", "equal", "ties", "large"],
)
def test_lists_that_leave_no_choice_have_finite_weights(lists):
    weights = WeightSearch(NBest.of(lists)).best()
    assert np.isfinite(weights).all() and weights[0] >= 0.0


class Bigrams:
    """A language model that is trained in a moment: bigrams, a tenth of them unigrams."""

    def __init__(self, lines):
        words = [["<s>", *line.split(), "</s>"] for line in lines]
        self.pairs = Counter(pair for line in words for pair in pairwise(line))
        self.single = Counter(word for line in words for word in line)
        self.size = sum(self.single.values())

    def lnp(self, text):
        return sum(
            log(0.9 * self.pairs[a, b] / self.single[a] + 0.1 * (self.single[b] + 0.5) / self.size)
            for a, b in pairwise(["<s>", *text.split(), "</s>"])
        )


def kitchen(part, model):
    """Return the lists of a part of the kitchen's n-best lists, and their references."""
    lists = {}
    for line in (CORPORA / f"kitchen_nbest{part}.tsv").read_text().splitlines():
        name, rank, score, text = line.split("\t")
        one = Scored(name, int(rank), float(score), text, model.lnp(text), len(text.split()))
        lists.setdefault(name, []).append(one)
    references = (CORPORA / f"kitchen_nbest{part}_refs.tsv").read_text().splitlines()
    return list(lists.values()), dict(line.split("\t") for line in references)


def wer(lists, references, weights):
    best = [ranked(one, weights)[0] for one in lists]
    errors = sum(word_errors(references[one.utterance].split(), one.text.split()) for one in best)
    return errors / sum(len(text.split()) for text in references.values())


def test_weights_tuned_on_half_of_the_lists_suit_the_other_half(times):
    model = Bigrams((CORPORA / "kitchen.txt").read_text().splitlines()[: times(12_000, 24_000)])
    lists, references = kitchen("", model)
    tuned = tune_weights(lists, references)
    assert (tuned.utterances, tuned.oracle_errors) == (60, 0)
    assert tuned.wer_before == wer(lists, references, Weights(0.0, 0.0)) > 0.12
    assert tuned.wer == wer(lists, references, tuned.weights) < 0.02
    others, their_references = kitchen("_test", model)
    assert wer(others, their_references, Weights(0.0, 0.0)) > 0.12
    assert wer(others, their_references, tuned.weights) < 0.03

    # A grid search finds no fewer errors, and one of its best points is within 0.1.
    lm_weights, bonuses = np.arange(0.0, 1.0, times(0.1, 0.02)), np.arange(-2.0, 5.0, times(0.2, 0.1))
    as_numbers = [
        [(o.score, o.lnp, float(o.words), word_errors(references[o.utterance].split(), o.text.split())) for o in one]
        for one in lists
    ]
    grid = errors_on_grid(as_numbers, lm_weights, bonuses)
    assert tuned.errors <= grid.min()
    at = np.argwhere(grid == grid.min())
    best = np.stack([lm_weights[at[:, 0]], bonuses[at[:, 1]]], axis=1)
    assert abs(best - [tuned.weights.lm_weight, tuned.weights.word_bonus]).max(1).min() <= 0.1
