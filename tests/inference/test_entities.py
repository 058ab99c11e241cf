"""Entities against seqeval's and conlleval's figures, on sentences with sequences that no scheme allows."""

import numpy as np
import pytest

from charlm.inference.entities import Entities, precision_recall_f1
from charlm.text.iob import as_iob2, follows

# Three files, a sentence a line: annotated tags, then predicted ones. By type: right, predicted and annotated entities,
# as seqeval 1.2.2 counts them in its default mode.
FILES = {
    "begun by I": (
        "I-PER I-PER O I-LOC | B-PER I-PER O B-LOC\n"
        "O I-PER B-PER I-PER O | O B-PER B-PER I-PER O\n"
        "I-LOC I-LOC | I-LOC O\n"
        "B-LOC B-LOC I-LOC | B-LOC I-LOC I-LOC",
        {"LOC": (1, 3, 4), "PER": (3, 3, 3)},
    ),
    "changing type": (
        "B-PER I-LOC I-LOC O | B-PER I-PER I-LOC O\n"
        "I-ORG I-PER I-ORG | I-ORG I-PER I-ORG\n"
        "B-ORG I-PER O B-PER I-ORG | B-ORG I-ORG O B-PER I-ORG\n"
        "O O O | I-PER O I-ORG",
        {"LOC": (0, 1, 1), "ORG": (3, 5, 4), "PER": (2, 4, 4)},
    ),
    "at the edges": (
        "B-LOC | B-LOC\n"
        "I-LOC I-LOC | I-LOC I-LOC\n"
        "O B-LOC | I-LOC I-LOC\n"
        "I-LOC O I-LOC B-LOC | I-LOC O B-LOC I-LOC\n"
        "O | O",
        {"LOC": (3, 5, 6)},
    ),
}
EXPECTED = {"begun by I": (4, 6, 7), "changing type": (5, 10, 9), "at the edges": (3, 5, 6)}


def read(text):
    """Return annotated and predicted tags by sentence."""
    pairs = [line.split(" | ") for line in text.split("\n")]
    return [[side.split() for side in sides] for sides in zip(*pairs, strict=True)]


def counted(truth, predicted):
    labels = sorted({tag for tags in (*truth, *predicted) for tag in tags} | {"O"})
    entities, ids = Entities(labels), {label: i for i, label in enumerate(labels)}
    first = np.concatenate([np.arange(len(tags)) == 0 for tags in truth])
    flat = [np.array([ids[tag] for tags in part for tag in tags]) for part in (predicted, truth)]
    entities.add(*flat, first)
    return dict(zip(entities.types, map(tuple, entities.counts.tolist()), strict=True))


def conlleval(truth, predicted):
    """Return right, predicted and annotated chunks as conlleval.pl counts them: token by token, as one stream."""

    def parted(tag):
        return tag.partition("-")[::2]

    def ends(before, now):
        (tag, kind), (next_tag, next_kind) = parted(before), parted(now)
        return tag in "BI" and (next_tag in "BO" or kind != next_kind)

    def starts(before, now):
        (tag, kind), (next_tag, next_kind) = parted(before), parted(now)
        return next_tag == "B" or (next_tag == "I" and (tag == "O" or kind != next_kind))

    right = found = true = 0
    is_correct, old_truth, old_guess = False, "O", "O"
    stream = [
        pair
        for one, other in zip(truth, predicted, strict=True)
        for pair in (*zip(one, other, strict=True), ("O", "O"))
    ]
    for one, other in stream:
        end_truth, end_guess = ends(old_truth, one), ends(old_guess, other)
        if is_correct:
            if end_truth and end_guess and parted(old_truth)[1] == parted(old_guess)[1]:
                is_correct, right = False, right + 1
            elif end_truth != end_guess or parted(one)[1] != parted(other)[1]:
                is_correct = False
        begins = starts(old_truth, one), starts(old_guess, other)
        is_correct = is_correct or (all(begins) and parted(one)[1] == parted(other)[1])
        true, found = true + begins[0], found + begins[1]
        old_truth, old_guess = one, other
    return right, found, true


@pytest.mark.parametrize("name", FILES)
def test_odd_sequences_are_counted_as_seqeval_and_conlleval_do(name):
    text, by_type = FILES[name]
    truth, predicted = read(text)
    assert counted(truth, predicted) == by_type
    assert conlleval(truth, predicted) == EXPECTED[name]
    # Read as IOB2, the same entities.
    assert counted(*([as_iob2(tags) for tags in side] for side in (truth, predicted))) == by_type


def test_random_sequences_are_counted_as_conlleval_does():
    rng = np.random.default_rng(1)
    tags = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    for _ in range(40):
        lengths = rng.integers(1, 8, 5)
        truth = [rng.choice(tags, n).tolist() for n in lengths]
        predicted = [[one if rng.random() < 0.7 else str(rng.choice(tags)) for one in sentence] for sentence in truth]
        assert tuple(np.sum([*counted(truth, predicted).values()], axis=0)) == conlleval(truth, predicted)


def test_the_figures_are_those_of_seqeval():
    seqeval = pytest.importorskip("seqeval.metrics")
    for text, by_type in FILES.values():
        report = seqeval.classification_report(*read(text), output_dict=True, zero_division=0)
        for name, counts in by_type.items():
            figures = precision_recall_f1(*counts)
            found = report[name]
            assert figures == pytest.approx(
                {"precision": found["precision"], "recall": found["recall"], "f1": found["f1-score"]}
            )
            assert found["support"] == counts[2]
        total = precision_recall_f1(*np.sum([*by_type.values()], axis=0).tolist())
        assert total["f1"] == pytest.approx(seqeval.f1_score(*read(text)))


def test_nothing_found_or_annotated_is_zero():
    assert precision_recall_f1(0, 0, 0) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_which_tags_may_follow():
    labels = ["B-X", "B-Y", "I-X", "O"]
    may, first = follows(labels)
    assert first.tolist() == [True, True, False, True]
    assert may[:, [0, 1, 3]].all() and may[:, 2].tolist() == [True, False, True, False]
