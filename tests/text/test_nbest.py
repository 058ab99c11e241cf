"""N-best lists in files: Kaldi's and Moses' forms, ids and scores, and references."""

import re

import pytest

from charlm.errors import CorpusError
from charlm.text.columns import Row
from charlm.text.nbest import Hypothesis, KaldiLists, MosesLists, hypothesis, in_lists, read_references


def rows_of(source):
    return [(source.taken().others, text) for text in source]


def write(path, text):
    path.write_text(text)
    return str(path)


def test_kaldis_ids_are_no_words_and_its_costs_come_from_their_file(tmp_path):
    texts = write(tmp_path / "text", "utt-1-1 the cat\nutt-1-2\t the  mat \nutt-1-3\nutt-2-1  x\n")
    costs = write(tmp_path / "ac_cost", "utt-1-1 12.5\nutt-1-2 1e1\nutt-1-3 0\nutt-2-1 -3\n")
    source = KaldiLists([texts], costs)
    found = []
    for _ in source:
        row = source.taken()
        found.append(hypothesis(row, "id", "score", is_cost=True, is_numbered=True)[:3])
    assert found == [
        ("utt-1", -12.5, "the cat"),
        ("utt-1", -10.0, "the  mat "),
        ("utt-1", 0.0, ""),
        ("utt-2", 3.0, "x"),
    ]


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ("u-1 1\nu-3 2\n", "the id 'u-3' instead of 'u-2', .* line 2"),
        ("u-1 1\n", "no more lines for 'u-2', .* line 1"),
        ("", "no more lines for 'u-1', the file is empty"),
        ("u-1 1\nu-2 2\nu-3 3\n", "no more lines for 'u-3', .* line 2"),
    ],
    ids=["other", "short", "empty", "long"],
)
def test_costs_of_other_hypotheses_are_refused(tmp_path, costs, message):
    source = KaldiLists([write(tmp_path / "text", "u-1 a\nu-2 b\n")], write(tmp_path / "costs", costs))
    with pytest.raises(CorpusError, match=message):
        list(source)


def test_moses_lists_have_four_fields_or_more(tmp_path):
    path = write(
        tmp_path / "nbest",
        "0 ||| we must discuss  vision . ||| d: 0 -5.5 lm: -36.1 ||| -9.2298\n0 |||  ||| LM0= -1 ||| -2 ||| 0-0 1-1\n",
    )
    source = MosesLists([path])
    assert rows_of(source) == [
        ({"id": "0", "features": "d: 0 -5.5 lm: -36.1", "score": "-9.2298"}, "we must discuss  vision ."),
        ({"id": "0", "features": "LM0= -1", "score": "-2"}, ""),
    ]
    with pytest.raises(CorpusError, match=re.escape("3 fields instead of id ||| text ||| features ||| score")):
        list(MosesLists([write(tmp_path / "short", "0 ||| a ||| -1\n")]))


def of(**others):
    return hypothesis(Row("a\nb", others, "f line 2"), "id", "score", is_cost=False, is_numbered=False)


def test_ids_and_scores_of_any_form_are_read():
    assert of(id="u 1", score=" -1.5e1 ") == Hypothesis("u 1", -15.0, "a b", "f line 2")
    assert of(id=7, score=3)[:2] == ("7", 3.0)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        *((one, "not a number") for one in ("x", "1_0", True, [1], "1,5")),
        *((one, "not finite") for one in ("nan", "-inf", "1e999")),
        *((one, "too large") for one in ("1e101", 10**200, "-1e300")),
        *((one, "is missing") for one in ("", None)),
        (10**400, "not a number"),
    ],
)
def test_scores_that_are_not_numbers_are_refused(score, message):
    with pytest.raises(CorpusError, match=f"{message}, f line 2") as caught:
        of(id="u", score=score)
    assert "\n" not in caught.value.message


def test_empty_ids_and_ids_without_a_number_are_refused():
    for name in ("", None, "  "):
        with pytest.raises(CorpusError, match="the id is empty, f line 2"):
            of(id=name, score=1)
    with pytest.raises(CorpusError, match="the id 'utt' does not end with a number, f line 2"):
        hypothesis(Row("a", {"id": "utt", "score": 1}, "f line 2"), "id", "score", is_cost=False, is_numbered=True)


def test_a_header_that_is_taken_for_a_hypothesis_is_named():
    with pytest.raises(CorpusError) as caught:
        hypothesis(Row("a", {"id": "u", "score": "am"}, "f line 1"), "id", "score", is_cost=False, is_numbered=False)
    assert "--score NAME" in caught.value.hint


def test_lists_follow_each_other():
    given = [("a", 1.0, "x"), ("a", 2.0, "y"), ("b", 3.0, "z")]
    assert [[one.text for one in found] for found in in_lists(given)] == [["x", "y"], ["z"]]
    lists = in_lists([*given, Hypothesis("a", 0.0, "w", "f line 4")])
    assert [len(next(lists)), len(next(lists))] == [2, 1]
    with pytest.raises(CorpusError, match="'a' are not adjacent, f line 4"):
        next(lists)


def test_references_are_columns_or_kaldis_lines():
    assert read_references(["u 1\tthe cat", "u2 the  mat", "u3", "u4\t"]) == {
        "u 1": "the cat",
        "u2": "the  mat",
        "u3": "",
        "u4": "",
    }
    with pytest.raises(CorpusError, match="a second reference of 'u', line 2"):
        read_references(["u\ta", "u b"])
    for line in ("", "  ", "\ta"):
        with pytest.raises(CorpusError, match="no id, line 1"):
            read_references([line])
