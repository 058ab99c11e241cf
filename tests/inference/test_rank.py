"""The oddest lines, thresholds that are learned, and masks."""

import math
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from charlm.config import TextConfig
from charlm.errors import UsageError
from charlm.inference.masks import MASK_NAMES, masked, unmasked_token
from charlm.inference.measures import MEASURES
from charlm.inference.rank import FixedThreshold, LearnedThreshold, Measurer, Oddest, rank
from charlm.inference.scoring import Scorer
from charlm.text import EOS, UNK, Tokenizer, Vocabulary, splitter_of
from tests import forms
from tests.task_models import random_lines, task_model


@pytest.fixture(scope="module")
def model():
    return task_model("lm")


@pytest.mark.parametrize("lowest", [False, True])
def test_the_oddest_are_the_first_of_a_stable_sort(lowest):
    rng = np.random.default_rng(1)
    for count in (1, 3, 50):
        values = [*rng.integers(0, 5, 40).astype(float), math.nan, math.inf, -math.inf]
        rng.shuffle(values)
        oddest = Oddest(count, lowest=lowest)
        for place, value in enumerate(values):
            oddest.add(value, {"place": place})  # items without an order
        kept = [place for place, value in enumerate(values) if not math.isnan(value)]
        expected = sorted(kept, key=lambda place: values[place] * (1 if lowest else -1))[:count]
        assert [item["place"] for item in oddest.in_order()] == expected


@pytest.mark.parametrize("by", MEASURES)
def test_the_ranks_are_those_of_the_scores(model, by):
    lines = ["", *random_lines("abcz", 60, 9, seed=1, between=""), "abc", "abc"]
    values = [MEASURES[by].of(score) for score in Scorer(model).score(lines)]
    order = sorted(range(len(lines)), key=lambda at: -values[at])
    found = rank(model, iter(lines), count=15, by=by)
    assert [(one.rank, one.number, one.text) for one in found] == [
        (place, at + 1, lines[at]) for place, at in enumerate(order[:15], start=1)
    ]
    assert [one.value for one in found] == pytest.approx([values[at] for at in order[:15]])
    least = rank(model, lines, count=3, by=by, likeliest=True)
    assert [one.value for one in least] == pytest.approx(sorted(values)[:3])
    limit = values[order[4]]
    assert all(one.value > limit for one in rank(model, lines, by=by, above=limit))
    assert rank(model, [], by=by) == [] == rank(model, lines, above=math.inf)


def test_what_cannot_be_ranked_is_refused(model):
    for options in ({"by": "nats"}, {"masks": ["names"]}, {"count": 0}):
        with pytest.raises(UsageError):
            rank(model, [], **options)


def test_a_line_without_a_value_is_left_out():
    assert [one.text for one in rank(task_model("cloze"), ["", "the cat", ""])] == ["the cat"]


def test_labels_are_read_and_texts_come_back_without_them():
    model = task_model("conditioned")
    found = rank(model, ["x\tabc", "y\tabc"], masks=["hex"])
    assert {(one.text, one.score.label) for one in found} == {("abc", "x"), ("abc", "y")}


# ---- a threshold that is learned


def test_it_is_twice_as_far_from_the_median_as_what_one_in_a_hundred_exceeds():
    values = np.random.default_rng(2).normal(3.0, size=forms.times(2_500, 25_000)).tolist()
    threshold, above = LearnedThreshold(), []
    for place, value in enumerate(values):
        limit = threshold.value
        if place % 97 == 0:
            before = sorted(values[max(0, place - 10_000) : place])
            assert threshold.lines == len(before)
            if len(before) < 100:
                assert limit == math.inf
            else:
                median = before[len(before) // 2]
                high, less = (before[len(before) - 1 - len(before) // one_in] - median for one_in in (100, 20))
                assert limit == pytest.approx(median + min(2 * high, 4 * less))
        above.append(threshold.add(value))
        assert above[-1] == (value > limit)
    assert not any(above[:100])
    assert sum(above) < 10


def test_odd_lines_are_odd_until_they_are_one_in_twenty():
    threshold = LearnedThreshold()
    ordinary = [threshold.add(1.0 + place % 7 / 10) for place in range(1000)]
    assert not any(ordinary)
    assert [threshold.add(9.0) for _ in range(54)] == [True] * 53 + [False]
    threshold = LearnedThreshold()
    for place in range(110):  # more than one line in 100 is odd
        threshold.add(9.0 if place in (40, 80) else 1.0 + place % 7 / 10)
    assert threshold.value < 3.0
    threshold = LearnedThreshold()
    assert not any(threshold.add(2.0 + place % 2 * 1e-6) for place in range(300))
    assert threshold.value == pytest.approx(2.2)


def test_nan_teaches_nothing_and_a_fixed_threshold_is_not_taught():
    threshold = LearnedThreshold()
    assert not threshold.add(math.nan) and threshold.lines == 0
    fixed = FixedThreshold(2.0)
    assert [fixed.add(value) for value in (1.0, 3.0, 2.0, math.nan, 3.0)] == [False, True, False, False, True]


# ---- masks


MASKED = [
    ("digits", "port 40222, 10.0.0.1 ٣", "port 00000, 00.0.0.0 ٣"),
    ("hex", "at 7f3a00000010 0xAB 0xABCDEF12", "at 000000000000 0xAB 0000000000"),
    ("hex", "52:54:00:1a:2b:3c facade 12345", "00000000000000000 000000 12345"),
    ("hex", "0a1b2c3d-0001-4e5f-8aaa-123456789abc é", "000000000000000000000000000000000000 é"),
    ("digits,hex", "job 0a1b2c done in 12 ms", "job 000000 done in 00 ms"),
    ("", "a1", "a1"),
]


@pytest.mark.parametrize(("names", "text", "expected"), MASKED)
def test_masks_change_no_length(names, text, expected):
    assert masked(text, names.split(",") if names else ()) == expected
    assert len(text) == len(expected)


@pytest.mark.skipif(not shutil.which("perl") or not shutil.which("sed"), reason="no perl, or no sed")
def test_the_documented_commands_mask_alike():
    """Those of the module, with which a training text is masked."""
    from charlm.inference import masks

    sed, perl = (line.strip() for line in masks.__doc__.splitlines() if line.startswith("    "))
    text = "".join(f"{line}\n" for _, line, _ in MASKED)
    for command, name in ((sed, "digits"), (perl, "hex")):
        run = subprocess.run(
            ["sh", "-c", command], input=text, env={"LC_ALL": "C.UTF-8"}, capture_output=True, text=True
        )
        assert run.stdout.splitlines() == [masked(line, [name]) for _, line, _ in MASKED], run.stderr
    assert set(MASK_NAMES) == {"digits", "hex"}


@forms.each(
    "level, tokens, names, found",
    [
        ("char", "a05", "digits", "5"),
        ("char", "a05", "hex", None),
        ("char", "a0", "digits,hex", None),
        ("byte", None, "digits,hex", None),
        ("word", ("at", "0x00", "deface"), "digits", None),
        ("word", ("at", "0x00", "deface"), "hex", "deface"),
    ],
)
def test_a_vocabulary_shows_that_its_text_was_not_masked_alike(level, tokens, names, found):
    splitter = splitter_of(TextConfig(level=level))
    vocabulary = splitter.vocabulary if tokens is None else Vocabulary((EOS, UNK, *tokens))
    assert unmasked_token(Tokenizer(splitter, vocabulary), names.split(",")) == found


def test_pieces_show_digits_by_more_than_their_bytes():
    pieces = Vocabulary((EOS, UNK, "<0x31>", "\u2581a", "deface", "\u25812"))
    tokenizer = SimpleNamespace(level="subword", vocabulary=pieces)
    assert unmasked_token(tokenizer, ["digits", "hex"]) == "\u25812"
    assert unmasked_token(tokenizer, ["hex"]) is None


def test_a_masked_line_is_scored_as_its_mask_and_printed_as_it_was(model):
    lines = ["abc1", "abc2", "b0"]
    plain = {score.text: score.nats for score in Scorer(model).score(["abc0", "b0"])}
    found = rank(model, lines, masks=["digits"])
    assert {one.text: one.score.nats for one in found} == pytest.approx(
        {"abc1": plain["abc0"], "abc2": plain["abc0"], "b0": plain["b0"]}
    )
    assert [one.text for one in Measurer(model, masks=["digits"]).measure(lines)] == lines
