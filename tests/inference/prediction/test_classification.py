"""Classes: the probabilities are the network's own after the last token, and neighbours do not matter."""

import numpy as np
import pytest

from charlm.inference.prediction import classify, predict
from charlm.text import EOS_ID
from tests.task_models import choices_at, ids_of, outputs, random_lines, task_model

LINES = random_lines("abc d", 90, 15, between="")


def by_hand(lm, line):
    ids = [*ids_of(lm, line), EOS_ID]
    return choices_at(lm, ids, len(ids) - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_probabilities_are_those_at_the_last_step(bidirectional):
    lm = task_model("classify", bidirectional=bidirectional)
    seen = set()
    for line, found in zip(LINES[:30], classify(lm, LINES[:30]), strict=True):
        expected = by_hand(lm, line)
        assert list(found.others["probs"]) == ["bad", "good", "so-so"]
        np.testing.assert_allclose(list(found.others["probs"].values()), expected, rtol=1e-9)
        assert found.prediction == lm.labels[int(expected.argmax())]
        assert found.prob == pytest.approx(expected.max(), rel=1e-9)
        seen.add(found.prediction)
    assert len(seen) > 1


def test_the_probabilities_sum_to_one():
    for found in classify(task_model("classify"), LINES):
        assert sum(found.others["probs"].values()) == pytest.approx(1.0, abs=1e-12)
        assert found.prob == max(found.others["probs"].values())


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("batch_size", "window"), [(1, None), (7, None), (64, 1), (5, 7)])
def test_neighbours_do_not_matter_and_the_order_is_kept(batch_size, window):
    lm = task_model("classify")
    assert "" in LINES
    alone = [by_hand(lm, line) for line in LINES]
    found = list(classify(lm, LINES, batch_size=batch_size, window=window))
    assert [one.text for one in found] == LINES
    np.testing.assert_allclose([list(one.others["probs"].values()) for one in found], alone, rtol=1e-8)


def test_an_empty_line_has_a_class():
    lm = task_model("classify")
    for lines in ([""], ["", "abc", ""]):
        for line, found in zip(lines, classify(lm, lines), strict=True):
            assert found.prob == pytest.approx(by_hand(lm, line).max(), rel=1e-9)
    assert list(classify(lm, [])) == []


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_class_is_the_one_that_the_output_layer_prefers(best):
    lm = task_model("classify")
    outputs(lm, np.log([0.7 if label == best else 0.15 for label in range(3)]))
    (found,) = predict(lm, ["abc"])
    assert found.prediction == lm.labels[best]
    np.testing.assert_allclose(sorted(found.others["probs"].values()), [0.15, 0.15, 0.7], rtol=1e-12)


def test_no_more_lines_are_read_than_the_window_has():
    lines = iter(LINES)
    next(classify(task_model("classify"), lines, window=1))
    assert list(lines) == LINES[1:]
