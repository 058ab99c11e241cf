"""Minimal pairs: read in both formats, and their accuracy as plain Python computes it from scores."""

import json
import math
import statistics

import numpy as np
import pytest

from charlm.errors import CorpusError, UsageError
from charlm.inference.pairs import Pair, PairAccuracy, pair_accuracies, read_pairs, score_pairs
from charlm.inference.scoring import Scorer
from tests.task_models import task_model


def blimp(count, seed=0, words="abc"):
    """Return records as those of BLiMP; about one pair in ten is of two equal sentences."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(count):
        good, bad = ("".join(rng.choice(list(words), rng.integers(1, 9))) for _ in range(2))
        record = {"sentence_good": good, "sentence_bad": good if rng.random() < 0.1 else bad, "field": "syntax"}
        record |= {"linguistics_term": "islands", "UID": f"set_{rng.integers(3)}", "pairID": str(number)}
        records.append(record)
    return records


@pytest.mark.parametrize(("kind", "words"), [("lm", "abc"), ("cloze-char", "abc ")])
def test_accuracies_are_those_of_the_scores(kind, words):
    lm, records = task_model(kind), blimp(120, words=words)
    lines = map(json.dumps, records)
    found = pair_accuracies(score_pairs(lm, read_pairs(lines), batch_size=16))
    sentences = [record[key] for record in records for key in ("sentence_good", "sentence_bad")]
    nats = [score.nats for score in Scorer(lm).score(sentences)]
    credits = {}
    for record, good, bad in zip(records, nats[::2], nats[1::2], strict=True):
        is_tie = record["sentence_good"] == record["sentence_bad"]
        credit = 0.5 if is_tie else float(good < bad)
        credits.setdefault(record["UID"], []).append(credit)
    credits["all"] = [one for part in credits.values() for one in part]
    assert [one.set for one in found] == list(credits)
    for one in found:
        of_set = credits[one.set]
        assert (one.pairs, one.ties) == (len(of_set), of_set.count(0.5))
        assert one.accuracy == pytest.approx(statistics.mean(of_set))
        assert one.standard_error == pytest.approx(statistics.stdev(of_set) / math.sqrt(len(of_set)))
    assert found[-1].ties > 3 and 0.2 < found[-1].accuracy < 0.8


def test_both_formats_are_read():
    records = [{"sentence_good": "a b", "sentence_bad": "b\ta", "UID": "", "linguistics_term": "order"}]
    records += [
        {"sentence_good": "{", "sentence_bad": "", "field": "syntax"},
        {"sentence_good": "", "sentence_bad": ""},
    ]
    assert list(read_pairs(map(json.dumps, records))) == [
        Pair("a b", "b\ta", "order"),
        Pair("{", "", "syntax"),
        Pair("", ""),
    ]
    assert list(read_pairs(["{a\t}", "a b\tc"])) == [Pair("{a", "}"), Pair("a b", "c")]


GOOD = '{"sentence_good": "a", "sentence_bad": "b"}'


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["a\tb", "a"], "1 column"),
        (["a\tb\tc"], "3 columns"),
        ([GOOD, "a\tb"], "not a JSON object"),
        ([GOOD, "[]"], "not a JSON object"),
        (['{"sentence_good": "a"}'], "sentence_bad is missing"),
        (['{"sentence_good": 1, "sentence_bad": "a"}'], "sentence_good is missing or not a string"),
        (['{"sentence_good": "a\\nb", "sentence_bad": "a"}'], "contains a newline"),
        (["[" * 100_000], "1 column"),
    ],
)
def test_a_malformed_line_is_an_error_with_its_place(lines, place):
    with pytest.raises(CorpusError, match=place) as caught:
        list(read_pairs(lines))
    assert f"line {len(lines)}" in caught.value.message and caught.value.hint


def test_sentences_with_the_same_tokens_are_equally_likely():
    """Two unknown characters are one token to the model."""
    (scored,) = score_pairs(task_model("lm"), [Pair("a?b", "a!b")])
    assert scored.credit == 0.5
    assert pair_accuracies([scored]) == [PairAccuracy("all", 1, 1, 0.5, None)]


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(CorpusError, match="no pairs"):
        pair_accuracies([])
    for kind in ("conditioned", "tag"):
        with pytest.raises(UsageError):
            next(score_pairs(task_model(kind), [Pair("a", "b")]))
