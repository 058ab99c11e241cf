"""Accuracy and F1, counted batch by batch, against a computation from lists of labels."""

import random

import numpy as np
import pytest

from charlm.inference.figures import accuracy, scores_of
from charlm.inference.tallies import Accuracy, BinaryF1, EntityF1, has_f1, tally_named
from charlm.text.batches.whole import WholeBatches
from charlm.text.tokens.codec import BINARY

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def chunks(tags):
    """Return the entities of a sentence as (type, first, last), read from left to right."""
    found, current = set(), None
    for i, tag in enumerate([*tags, "O"]):
        kind = tag[2:]
        if current and (tag == "O" or tag.startswith("B-") or kind != current[0]):
            found.add((*current, i - 1))
            current = None
        if tag != "O" and current is None:
            current = (kind, i)
    return found


def drawn(labels, seed):
    """Return batches of sentences of random tags, and a prediction that is right in two cases of three."""
    rng = random.Random(seed)
    truth = [[rng.choice(labels) for _ in range(rng.randint(1, 9))] for _ in range(30)]
    guess = [[one if rng.random() < 0.67 else rng.choice(labels) for one in tags] for tags in truth]
    ids = {label: i for i, label in enumerate(labels)}
    flat, guessed = (np.array([ids[tag] for tags in part for tag in tags], np.int32) for part in (truth, guess))
    offsets = np.concatenate([[0], np.cumsum([len(tags) for tags in truth])])
    both = [WholeBatches(flat, targets, offsets, 4, 8) for targets in (flat, guessed)]
    pairs = [(one, other.targets) for one, other in zip(*(batches.epoch() for batches in both), strict=True)]
    return truth, guess, pairs


@pytest.mark.parametrize("seed", range(5))
def test_entities(seed):
    truth, guess, pairs = drawn(TAGS, seed)
    tally = EntityF1(TAGS)
    for batch, predicted in pairs:
        tally.add(batch, np.where(predicted < 0, 1, predicted))
    true, found = ([chunks(tags) for tags in part] for part in (truth, guess))
    right = sum(len(one & other) for one, other in zip(true, found, strict=True))
    assert (tally.true, tally.found, tally.right) == (sum(map(len, true)), sum(map(len, found)), right)
    assert tally.value == pytest.approx(2 * right / (tally.true + tally.found))
    assert right


@pytest.mark.parametrize("seed", range(3))
def test_binary_tags_and_accuracy(seed):
    truth, guess, pairs = drawn(BINARY, seed)
    f1, share = BinaryF1(), Accuracy()
    for batch, predicted in pairs:
        padded = np.where(predicted < 0, 1, predicted)
        f1.add(batch, padded)
        share.add(batch, padded)
    flat_truth, flat_guess = ([tag for tags in part for tag in tags] for part in (truth, guess))
    assert f1.value == pytest.approx(scores_of("1", flat_guess, flat_truth)["f1"])
    assert share.value == pytest.approx(accuracy(flat_guess, flat_truth))
    assert share.error_of(0.25) == pytest.approx((0.25 * 0.75 / len(flat_truth)) ** 0.5)


def test_which_labels_have_an_f1():
    assert has_f1(TAGS) and has_f1(BINARY) and has_f1(["B-X", "O"])
    assert not any(map(has_f1, (["N", "V"], ["O"], ["O", "I-X"], ["B-X", "N"], ["B-", "O"])))
    assert isinstance(tally_named("f1", BINARY), BinaryF1) and isinstance(tally_named("accuracy", BINARY), Accuracy)


def test_nothing_counted_is_zero():
    assert (EntityF1(TAGS).value, Accuracy().value, BinaryF1().error_of(0.5)) == (0.0, 0.0, 0.0)
