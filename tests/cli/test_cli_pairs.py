"""`charlm evaluate --pairs`: accuracies recomputed from what `charlm score` prints."""

import json
import math
import statistics

import pytest

from tests.inference.test_pairs import blimp
from tests.task_models import saved


def test_accuracies_are_those_of_charlm_score(charlm, trained):
    records = blimp(60, seed=4, words="Ratoni")
    text = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    found = charlm("evaluate", trained.char, "--pairs", "--format", "jsonl", stdin=text).succeeded().records
    sentences = [record[key] for record in records for key in ("sentence_good", "sentence_bad")]
    scored = charlm("score", trained.char, "--format", "jsonl", stdin="\n".join(sentences).encode()).succeeded().records
    logs = [record["log10p"] for record in scored]
    credits = {}
    for record, good, bad in zip(records, logs[::2], logs[1::2], strict=True):
        credit = 0.5 if abs(good - bad) < 1e-6 else float(good > bad)
        credits.setdefault(record["UID"], []).append(credit)
    credits["all"] = [one for part in credits.values() for one in part]
    assert [record["set"] for record in found] == list(credits)
    for record in found:
        of_set = credits[record["set"]]
        assert (record["pairs"], record["ties"]) == (len(of_set), of_set.count(0.5))
        assert record["accuracy"] == pytest.approx(statistics.mean(of_set))
        assert record["standard_error"] == pytest.approx(statistics.stdev(of_set) / math.sqrt(len(of_set)))
    table = charlm("evaluate", trained.char, "--pairs", stdin=text).succeeded().text.splitlines()
    assert [line.split() for line in table] == [
        ["set", "pairs", "ties", "accuracy", "s.e."],
        *(
            [r["set"], str(r["pairs"]), str(r["ties"]), f"{r['accuracy']:.4f}", f"{r['standard_error']:.4f}"]
            for r in found
        ),
    ]
    assert len(set(map(len, table))) == 1


def test_a_single_pair_has_no_standard_error(charlm, trained):
    given = b"Rato\tRatoniqqqqq\n"
    assert charlm("evaluate", trained.char, "--pairs", stdin=given).succeeded().text.split()[5:] == [
        "all",
        "1",
        "0",
        "1.0000",
        "-",
    ]
    tsv = charlm("evaluate", trained.char, "--pairs", "--format", "tsv", stdin=given).succeeded().text
    assert tsv == "set\tpairs\tties\taccuracy\tstandard_error\nall\t1\t0\t1.0000\t-\n"
    (record,) = charlm("evaluate", trained.char, "--pairs", "--format", "jsonl", stdin=given).succeeded().records
    assert record["standard_error"] is None


def test_what_has_no_pairs_is_refused(charlm, trained, tmp_path):
    charlm("evaluate", trained.char, "--pairs", stdin=b"").failed(3, "no pairs")
    charlm("evaluate", trained.char, "--pairs", stdin=b"a\tb\na\n").failed(3, "standard input line 2")
    charlm("evaluate", trained.char, "--pairs", "--input-format", "tsv").failed(2, "--input-format with --pairs")
    charlm("evaluate", saved(tmp_path).tag, "--pairs", stdin=b"a\tb\n").failed(2, "--pairs")
