"""Word vectors of other programs, as they write them, in the first weights of a model."""

import numpy as np
import pytest

from charlm import train
from charlm.errors import CorpusError, UsageError
from charlm.task import task_of
from charlm.text.vectors import read_vectors, vector_size
from charlm.training.pretrained import size_of_vectors, start_from_vectors
from tests.task_models import parameter, task_model

ROWS = ["the 1 2.5 -3e-1", "cat 4 5 6", ". . . 7 8 9", "cat 0 0 0"]
FORMS = {  # word2vec's text form, fastText's with a blank at each end of line, and GloVe's without a first line
    "word2vec": ["4 3", *ROWS],
    "fasttext": ["4 3", *(f"{row} " for row in ROWS)],
    "glove": ROWS,
}


@pytest.mark.parametrize("form", FORMS)
def test_three_forms_are_read(form):
    lines = FORMS[form]
    assert vector_size(lines) == 3
    found = read_vectors(lines, {"the", "cat", ". . .", "missing"})
    assert {word: vector.tolist() for word, vector in found.items()} == {
        "the": [1, 2.5, pytest.approx(-0.3)],
        "cat": [4, 5, 6],
        ". . .": [7, 8, 9],
    }


@pytest.mark.parametrize(
    ("lines", "place"),
    [(["a 1 2", "b 1"], 2), (["a 1 2", "b 1 x"], 2), (["1 2", "b 1 nan"], 2), (["a"], 1), ([""], 1), ([], 1)],
)
def test_a_malformed_vector_is_named_with_its_line(lines, place):
    with pytest.raises(CorpusError, match=f"malformed vector, line {place}") as refusal:
        vector_size(lines)
        read_vectors(lines, {"a", "b"})
    assert refusal.value.hint


def test_sizes_that_do_not_fit_are_refused():
    assert size_of_vectors(ROWS, task_of("tag"), {"embedding_size": 3}) == size_of_vectors(ROWS, task_of("lm"), {}) == 3
    with pytest.raises(UsageError, match="--embedding-size 4 with vectors of 3 numbers"):
        size_of_vectors(ROWS, task_of("tag"), {"embedding_size": 4})
    with pytest.raises(UsageError, match="--task music with --vectors"):
        size_of_vectors(ROWS, task_of("music"), {})


@pytest.mark.parametrize(
    ("kind", "table"), [("tag", "input.E"), ("cloze", "towers.from_left.input.E"), ("translate", "encoder.input.E")]
)
def test_words_are_found_as_they_are_spelled_or_in_lower_case(kind, table):
    lm = task_model(kind, embedding_size=3)
    before = parameter(lm, table).copy()
    tokens = lm.tokenizer.vocabulary.tokens
    assert start_from_vectors(lm, ["The 9 9 9", *ROWS, "<unk> 1 1 1"]) == (2, len(tokens) - 2)
    after = parameter(lm, table)
    np.testing.assert_allclose(after[tokens.index("the")], [1, 2.5, -0.3], rtol=1e-6)
    np.testing.assert_array_equal(after[tokens.index("cat")], [4, 5, 6])
    changed = {token for token, differs in zip(tokens, (before != after).any(axis=1), strict=True) if differs}
    assert changed == {"the", "cat"}


def test_a_capital_takes_the_vector_of_the_small_letter(tmp_path):
    (tmp_path / "vectors").write_text("the 1 2 3\nThe 4 5 6\n")
    lines = ["The\tD", "dog\tN", "", "THE\tD"] * 3
    network = {"task": "tag", "hidden_size": 3, "num_layers": 1}
    model = train(lines, vectors=tmp_path / "vectors", max_steps=1, learning_rate=1e-12, **network)
    table, ids = parameter(model, "input.E"), model.tokenizer.vocabulary.ids
    np.testing.assert_allclose(table[ids["THE"]], [1, 2, 3], atol=1e-6)
    np.testing.assert_allclose(table[ids["The"]], [4, 5, 6], atol=1e-6)
