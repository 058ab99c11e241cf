"""Probabilities of n-gram models: those of KenLM, token by token, and those of a class of tokens, which are sums."""

import math

import numpy as np
import pytest

from charlm.errors import ModelFileError
from charlm.inference.ngrams import NGramModel
from charlm.text import UNK_ID, make_splitter
from tests.benchmarks import kneser_ney
from tests.text.test_arpa import ODD

WORDS = make_splitter("word", "whitespace", False)
LINES = ["the cat sees the cat", "", "dog the", "cat cat dog bird", "the sees sees", "bird the cat the", "<unk> the"]
# log10 P of kenlm 0.3.0, `Model.full_scores`, of ODD and of ODD with <unk>. Where it has -inf, charlm has -100.
KENLM = [
    [-0.2, -0.05, -1.65, -0.15, -0.15, -0.7],
    [-1.4],
    [-100.5, -0.675, -1.15],
    [-1.6, -1.1, -100.0, -99.875, -0.9],
    [-0.2, -1.85, -1.8, -1.2],
    [-100.5, -0.8, -0.35, -1.2, -1.15],
    [-100.5, -0.8, -1.15],
]
WITH_UNK = {3: [-1.6, -1.1, -100.0, -2.375, -0.95], 5: [-3.0, -0.85, -0.35, -1.2, -1.15], 6: [-3.0, -0.85, -1.15]}


def model_of(folder, text, splitter=WORDS):
    (folder / "model.arpa").write_text(text)
    return NGramModel(str(folder / "model.arpa"), splitter)


def log10p(model, lines):
    return [(figures / -math.log(10.0)).tolist() for _, _, _, figures in model.measured(lines)]


def trained(folder, lines, order=3, splitter=WORDS):
    """Return a Kneser-Ney model of lines, whose probabilities sum to 1."""
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines))
    kneser_ney.write(folder / "train.txt", order, folder / "trained.arpa")
    return NGramModel(str(folder / "trained.arpa"), splitter)


def test_token_by_token_as_kenlm(tmp_path):
    found = log10p(model_of(tmp_path, ODD), LINES)
    for line, of_line in zip(found, KENLM, strict=True):
        assert line == pytest.approx(of_line, abs=1e-5)
    with_unk = ODD.replace("ngram 1=6", "ngram 1=7").replace("-0.8\tthe", "-2.5\t<unk>\t-0.05\n-0.8\tthe")
    found = log10p(model_of(tmp_path, with_unk), LINES)
    for number, line in enumerate(found):
        assert line == pytest.approx(WITH_UNK.get(number, KENLM[number]), abs=1e-5)


def test_random_files_as_kenlm(tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="needs KenLM's Python module, which is built from its source")
    rng = np.random.default_rng(1)
    lines = [" ".join(rng.choice(list("abcdefgh"), rng.integers(0, 12))) for _ in range(400)]
    for order in (2, 3, 5):
        model = trained(tmp_path, lines[:300], order)
        theirs = kenlm.Model(str(tmp_path / "trained.arpa"))
        for line, found in zip(lines, log10p(model, lines), strict=True):
            assert found == pytest.approx([one for one, _, _ in theirs.full_scores(line)], abs=1e-5)


def test_one_line_is_independent_of_those_beside_it(tmp_path):
    model = model_of(tmp_path, ODD)
    assert log10p(model, LINES) == [log10p(model, [line])[0] for line in LINES]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one(tmp_path, order):
    model = trained(tmp_path, ["a b a c", "b b a", "", "a c c b a"], order)
    tokens = (*"abc", "unknown")
    for context in ("", "a", "a b a", "c unknown b"):
        before = len(context.split())
        of_tokens = [10 ** log10p(model, [f"{context} {token}"])[0][before] for token in tokens]
        assert sum(of_tokens) + 10 ** log10p(model, [context])[0][before] == pytest.approx(1.0, abs=1e-6)


def test_the_probability_of_a_class_is_the_sum_over_its_tokens(tmp_path):
    model = trained(tmp_path, ["a b a c", "b b a d", "", "d a c c b a", "b d d a"])
    ids = model.tokenizer.vocabulary.ids
    weights = np.zeros(len(ids))
    weights[[ids["c"], ids["d"], UNK_ID]] = 1.0, 1.0, 0.25
    with_class = model.with_class(weights)
    for context in ("", "a", "d", "a b a", "b d", "unknown d c"):
        before = len(context.split())
        of_tokens = [10 ** log10p(model, [f"{context} {token}"])[0][before] for token in ("c", "d", "unknown")]
        for token in ("c", "d", "unknown"):
            ((_, _, _, figures),) = with_class.measured([f"{context} {token}"])
            assert np.exp(-figures[before, 1]) == pytest.approx(np.dot(of_tokens, [1.0, 1.0, 0.25]), abs=1e-6)
    ((_, _, _, figures),) = with_class.measured(["a b a"])
    assert np.array_equal(figures[:, 0], figures[:, 1])
    assert figures[:, 0].tolist() == next(model.measured(["a b a"]))[3].tolist()


def test_bytes_have_the_probabilities_of_the_characters(tmp_path):
    """The ids of bytes are those of the splitter, and not those of the file."""
    lines = ["a b a \u2581 c", "b b a", "", "a c \u2581 c b"]
    of_bytes, of_characters = (
        trained(tmp_path, lines, splitter=make_splitter(level, "punct", False)) for level in ("byte", "char")
    )
    texts = ["ab c", "", "zcab", "c ca"]
    assert log10p(of_bytes, texts) == log10p(of_characters, texts)
    of_letter, e_acute = (log10p(of_bytes, [text])[0] for text in ("z", "\u00e9"))
    # One unknown byte and two.
    assert (len(of_letter), len(e_acute)) == (2, 3)
    assert e_acute[0] == of_letter[0]


def test_an_ngram_that_occurs_twice_is_named(tmp_path):
    twice = ODD.replace("ngram 2=5", "ngram 2=6").replace("-0.35\tthe cat", "-0.3\tthe cat\n-0.35\tthe cat")
    with pytest.raises(ModelFileError, match="the n-gram 'the cat' occurs twice"):
        model_of(tmp_path, twice)
