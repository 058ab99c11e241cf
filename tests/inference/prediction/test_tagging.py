"""Tags: each the likeliest under the network alone, whatever lines are beside it, in both formats."""

import itertools

import numpy as np
import pytest

from charlm.errors import CorpusError, UsageError
from charlm.inference.prediction import predict, tag, tag_columns
from charlm.inference.prediction.tagging import tag_tokens
from charlm.nn.workspace import Workspace
from tests.task_models import KINDS, WORDS, choices_at, ids_of, outputs, random_lines, task_model

LINES = random_lines([*WORDS, "what"], 90, 11)
MANY = ("tag", "yes-no")


def by_hand(lm, tokens):
    """Return the likeliest tag of each token, read alone, and its probability."""
    ids = lm.tokenizer.encode_tokens(tokens).tolist()
    tags, probs = [], []
    for place in range(len(ids)):
        p = choices_at(lm, ids, place)
        tags.append(lm.labels[int(p.argmax())])
        probs.append(p.max())
    return tags, probs


@pytest.mark.parametrize("kind", MANY)
def test_each_tag_is_the_likeliest_and_has_its_probability(kind):
    lm = task_model(kind, seed=3)
    seen = set()
    for line, found in zip(LINES[:25], tag(lm, LINES[:25]), strict=True):
        tags, probs = by_hand(lm, line.split())
        assert (found.text, found.prediction) == (line, tags)
        np.testing.assert_allclose(found.prob, probs, rtol=1e-9)
        assert found.others == {"tokens": line.split()}
        seen |= set(tags)
    assert seen == set(KINDS[kind][1])  # the weights are such that every tag occurs


@pytest.mark.parametrize("bidirectional", [True, False])
def test_tags_of_a_word_depend_on_what_comes_later_only_where_both_sides_are_read(bidirectional):
    lm = task_model("tag", bidirectional=bidirectional)
    probs = [next(tag(lm, [line])).prob[0] for line in ("the cat", "the dog", "the sees it .")]
    assert (len(set(probs)) == 3) == bidirectional


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize(("batch_size", "window"), [(1, None), (3, None), (64, 1), (5, 7), (64, 1000)])
def test_neighbours_do_not_matter_and_the_order_is_kept(kind, batch_size, window):
    lm = task_model(kind)
    assert "" in LINES
    alone = [next(tag(lm, [line])) for line in LINES]
    together = list(tag(lm, LINES, batch_size=batch_size, window=window))
    assert [one.text for one in together] == LINES
    assert [one.prediction for one in together] == [one.prediction for one in alone]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.prob, other.prob, rtol=1e-9)


@pytest.mark.parametrize("kind", MANY)
def test_empty_lines_have_no_tags(kind):
    for lines in ([""], ["", ""], ["", "the cat", " "]):
        found = list(tag(task_model(kind), lines))
        assert [len(one.prediction) for one in found] == [len(line.split()) for line in lines]
        assert [one.text for one in found] == lines
        assert found[-1].prob == []
    assert list(tag(task_model(kind), [])) == []


@pytest.mark.parametrize(("logit", "expected"), [(2.0, "1"), (-2.0, "0")])
def test_a_yes_or_no_is_whichever_is_likelier(logit, expected):
    lm = task_model("yes-no")
    outputs(lm, [logit])
    (found,) = tag(lm, ["the cat"])
    assert found.prediction == [expected] * 2
    np.testing.assert_allclose(found.prob, 1 / (1 + np.exp(-2.0)), rtol=1e-12)


def test_words_that_are_unknown_are_tagged_too():
    lm = task_model("tag")
    (found,) = tag(lm, ["zebra the"])
    tags, probs = by_hand(lm, ["<unk>", "the"])
    assert found.prediction == tags and found.others["tokens"] == ["zebra", "the"]
    np.testing.assert_allclose(found.prob, probs, rtol=1e-9)
    assert ids_of(lm, "zebra the") == [1, 2]


@pytest.mark.parametrize("predicted", [tag, tag_columns])
def test_the_buffers_are_made_once_for_all_windows(monkeypatch, predicted):
    lm, made = task_model("tag"), []
    monkeypatch.setattr(lm.model, "workspace", lambda: made.append(Workspace(lm.model.ops, "float64")) or made[-1])
    lines = ["the cat"] * 9 if predicted is tag else ["the", ""] * 9
    assert len(list(predicted(lm, lines, window=2))) == len(lines)
    assert len(made) == 1


def test_no_more_lines_are_read_than_the_window_has():
    lines = iter(LINES)
    next(tag(task_model("tag"), lines, window=3))
    assert list(lines) == LINES[3:]


# ---- a token a line


def rows_of(lm, lines, **options):
    return list(tag_columns(lm, lines, **options))


@pytest.mark.parametrize("kind", MANY)
def test_columns_are_the_tags_of_their_sentences(kind):
    lm = task_model(kind)
    sentences = [["the", "cat"], ["it"], ["sees", "what", "it"]]
    lines = [line for sentence in sentences for line in [*sentence, ""]]
    rows = rows_of(lm, lines)
    assert [row == "" for row in rows] == [not line for line in lines]
    expected = [
        (token, *rest)
        for sentence, (tags, probs) in zip(sentences, tag_tokens(lm, sentences), strict=True)
        for token, *rest in zip(sentence, tags, probs, strict=True)
    ]
    assert [row[:2] for row in rows if row] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in rows if row], [row[2] for row in expected], rtol=1e-9)


LAYOUTS = [
    ["the", "cat"],
    ["the", "cat", ""],
    ["", "the", "", "", "", "cat", ""],
    ["", "", "the"],
    ["the", "", "", ""],
    [""],
    [],
]


@pytest.mark.parametrize("lines", LAYOUTS)
@pytest.mark.parametrize("window", [None, 1])
def test_every_line_has_its_own_whatever_blank_ones_there_are(lines, window):
    rows = rows_of(task_model("tag"), lines, window=window)
    assert [row[0] if row else "" for row in rows] == lines


def test_a_blank_line_keeps_sentences_apart():
    lm = task_model("tag")
    together, apart = rows_of(lm, ["the", "cat"]), rows_of(lm, ["the", "", "cat"])
    assert together[0][2] != apart[0][2] and together[1][2] != apart[2][2]
    for row, token in ((apart[0], "the"), (apart[2], "cat")):
        (alone,) = rows_of(lm, [token])
        assert row == pytest.approx(alone)


def test_the_tag_is_not_read_and_tokens_that_a_tab_ends_are_not_split():
    lm = task_model("tag")
    plain, more = rows_of(lm, ["the", "what", "cat "]), rows_of(lm, ["the\tN", "a b\tV", "cat\t"])
    assert [row[1:] for row in plain] == [row[1:] for row in more]
    assert [row[0] for row in plain] == ["the", "what", "cat"]
    assert [row[0] for row in more] == ["the", "a b", "cat"]


@pytest.mark.parametrize("blank", ["", " ", "\t", " \t ", "\u3000", "\xa0 "])
def test_white_space_alone_ends_a_sentence(blank):
    lm = task_model("tag")
    assert rows_of(lm, ["the", blank, "cat"]) == rows_of(lm, ["the", "", "cat"])


@pytest.mark.parametrize("comment", ["# sent_id = 1", "# text = the\tcat", "#  "])
def test_comments_come_out_as_they_are_and_are_not_read(comment):
    lm = task_model("tag")
    plain, more = (
        rows_of(lm, ["the", "cat", "", "it"]),
        rows_of(lm, [comment, "the", comment, "cat", "", "it", comment]),
    )
    assert more[0] == more[2] == more[-1] == comment
    assert [row for row in more if row != comment] == plain


def test_a_hash_is_a_token():
    rows = rows_of(task_model("tag"), ["#", "#cat", "#\tN"])
    assert [row[0] for row in rows] == ["#", "#cat", "#"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("the DET", "2 columns instead of a token"),
        ("1\tthe\tthe\tDET", "4 columns instead of a token"),
        ("the  DET x", "3 columns"),
        ("the\tN\t0.9", "3 columns"),
        ("\tN", "the token is empty"),
        ("#text = a", "3 columns"),
    ],
)
@pytest.mark.parametrize("window", [None, 1])
def test_other_columns_are_a_mistake_with_its_place_and_what_is_before_is_answered(line, words, window):
    rows, lm = [], task_model("tag")
    with pytest.raises(CorpusError, match=f"{words}.*line 4"):
        for row in tag_columns(lm, ["the", "", "cat", line, "it"], window=window):
            rows.append(row)
    assert rows == rows_of(lm, ["the", "", "cat"])


def test_what_is_written_can_be_evaluated():
    """Tokens and tags that came out are a corpus of tags again, on which the model is always right."""
    from charlm.inference.figures import figures

    lm = task_model("tag")
    lines = list(itertools.chain.from_iterable([*line.split(), ""] for line in LINES if line))
    corpus = [row if isinstance(row, str) else f"{row[0]}\t{row[1]}" for row in rows_of(lm, lines)]
    found = figures(lm, corpus)
    assert found["accuracy"] == found["macro_f1"] == 1.0
    assert (found["tokens"], found["sentences"]) == (sum(map(bool, lines)), sum(map(bool, LINES)))


@pytest.mark.parametrize("kind", ["lm", "conditioned", "cloze", "music", "genre"])
def test_models_of_other_tasks_predict_nothing(kind):
    with pytest.raises(UsageError, match=f"predict .* {task_model(kind).task}"):
        predict(task_model(kind), ["a"])
