"""Word errors: the edit distance of two sentences, counted as jiwer counts it."""

from functools import cache

import numpy as np

from charlm.inference.word_errors import word_errors

# What jiwer 4.0.0 counts: substitutions, insertions and deletions together.
OF_JIWER = (
    ("the cat sat on the mat", "the cat sat on the mat", 0),
    ("the cat sat on the mat", "", 6),
    ("the cat sat", "the the cat sat sat", 2),
    ("a b c d", "b c d e", 2),
    ("a b c d", "d c b a", 4),
    ("a", "x y z", 3),
    ("The cat", "the cat", 1),
    ("a b a b a", "b a b a b", 2),
    ("x a b c y", "a x b y c", 4),
)


def test_errors_are_those_that_jiwer_counts():
    for reference, hypothesis, errors in OF_JIWER:
        assert word_errors(reference.split(), hypothesis.split()) == errors, (reference, hypothesis)


def test_errors_are_those_of_the_definition(times):
    rng = np.random.default_rng(1)
    for _ in range(times(60, 2000)):
        reference, hypothesis = ("".join(rng.choice(list("abc"), rng.integers(0, 9))) for _ in range(2))

        @cache
        def distance(i, j, reference=reference, hypothesis=hypothesis):
            if not i or not j:
                return i + j
            same = distance(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1])
            return min(same, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

        assert word_errors(reference, hypothesis) == distance(len(reference), len(hypothesis))
