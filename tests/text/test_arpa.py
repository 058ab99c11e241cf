"""ARPA files: what is read from them, and the line of what is wrong with them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from charlm.errors import ModelFileError
from charlm.text import EOS, UNK, make_splitter
from charlm.text.arpa import is_arpa, read_arpa
from tests import forms

WORDS, CHARACTERS = (make_splitter(level, "whitespace", False) for level in ("word", "char"))
# Words without a back-off weight, a probability of 0, a weight above 1, and no <unk>.
ODD = """written by hand

\\data\\
ngram 1=6
ngram 2=5
ngram 3=3

\\1-grams:
-0.8\tthe\t-0.25
-99\t<s>\t-0.5
-1.1\tcat
-0.9\t</s>
-inf\tdog\t0.125
-1.5\tsees\t-0.3

\\2-grams:
-0.2\t<s> the\t-0.1
-0.35\tthe cat\t-0.4
-1.25\tcat sees
-0.6\tsees the\t0.2
-0.45\tcat </s>

\\3-grams:
-0.05\t<s> the cat
-0.7\tthe cat </s>
-0.15\tcat sees the

\\end\\
"""
UNIGRAMS = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-1\t</s>\n-1\t{}\n\n\\end\\\n"


def read(folder: Path, text: str, splitter=WORDS):
    path = folder / "model.arpa"
    path.write_text(text)
    return read_arpa(str(path), splitter)


def test_all_numbers_are_read(tmp_path):
    arpa = read(tmp_path, ODD)
    assert arpa.vocabulary.tokens == (EOS, UNK, "the", "cat", "dog", "sees")
    unigrams, bigrams, trigrams = arpa.ngrams
    # <s> is behind the vocabulary; <unk>, which is not in the file, is the last one.
    assert unigrams.words[:, 0].tolist() == [2, 6, 3, 0, 4, 5, 1]
    assert unigrams.log10p == pytest.approx([-0.8, -99, -1.1, -0.9, -100, -1.5, -100])
    assert unigrams.backoff == pytest.approx([-0.25, -0.5, 0, 0, 0.125, -0.3, 0])
    assert bigrams.words.tolist() == [[6, 2], [2, 3], [3, 5], [5, 2], [3, 0]]
    assert bigrams.backoff == pytest.approx([-0.1, -0.4, 0, 0.2, 0])
    assert trigrams.words.tolist() == [[6, 2, 3], [2, 3, 0], [3, 5, 2]]
    assert trigrams.log10p == pytest.approx([-0.05, -0.7, -0.15])
    assert not trigrams.backoff.any()


def test_gzip_and_line_ends_of_windows_change_nothing(tmp_path):
    whole = read(tmp_path, ODD)
    (tmp_path / "odd.arpa.gz").write_bytes(gzip.compress(ODD.replace("\n", "\r\n").encode()))
    packed = read_arpa(str(tmp_path / "odd.arpa.gz"), WORDS)
    assert packed.vocabulary == whole.vocabulary
    for one, other in zip(packed.ngrams, whole.ngrams, strict=True):
        assert all(np.array_equal(*arrays) for arrays in zip(vars(one).values(), vars(other).values(), strict=True))


def test_a_low_line_among_characters_is_a_space(tmp_path):
    assert read(tmp_path, UNIGRAMS.format("\u2581"), CHARACTERS).vocabulary.tokens == (EOS, UNK, " ")
    assert read(tmp_path, UNIGRAMS.format("\u2581")).vocabulary.tokens == (EOS, UNK, "\u2581")


def test_both_spellings_of_the_unknown_word_are_one(tmp_path):
    for spelling in ("<unk>", "<UNK>"):
        assert read(tmp_path, UNIGRAMS.format(spelling)).ngrams[0].words[:, 0].tolist() == [2, 0, 1]


def test_names_of_arpa_files():
    assert [is_arpa(name) for name in ("a.arpa", "b/a.arpa.gz", "a.arpa.safetensors", "arpa")] == [
        True,
        True,
        False,
        False,
    ]


@forms.each(
    "old, new, line, words",
    [
        ("\\data\\", "data", 28, "no line \\data\\"),
        ("ngram 2=5", "ngram 3=5", 5, "malformed header, 'ngram 3=5'"),
        ("ngram 1=6", "ngram 1=5", 14, "'-1.5\\tsees\\t-0.3' instead of \\2-grams:"),
        ("ngram 1=6", "ngram 1=7", 15, "malformed 1-gram, ''"),
        ("\\2-grams:", "\\4-grams:", 16, "instead of \\2-grams:"),
        ("-0.35\tthe cat", "-0.35\tthe", 18, "malformed 2-gram, '-0.35\\tthe\\t-0.4'"),
        ("-0.35\tthe cat", "-0,35\tthe cat", 18, "malformed logarithm"),
        ("-0.35\tthe cat", "0.35\tthe cat", 18, "log10 of a probability above 0"),
        ("-0.35\tthe cat", "nan\tthe cat", 18, "log10 of a probability above 0"),
        ("the cat\t-0.4", "the cat\tinf", 18, "the back-off weight is NaN or infinite"),
        ("cat sees\n", "cat bird\n", 19, "'bird' is not among the 1-grams"),
        ("\tdog\t", "\tcat\t", 13, "the 1-gram 'cat' occurs twice"),
        ("</s>\n-inf", "end\n-inf", 14, "</s> is missing"),
        ("\n\\end\\\n", "", 26, "the file ends before \\end\\"),
        ("-0.15\tcat sees the\n\n\\end\\\n", "", 25, "the file ends in its 3-grams"),
        (ODD[ODD.index("\nngram 1") :], "\n", 3, "the file ends in its header"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, old, new, line, words):
    assert old in ODD
    with pytest.raises(ModelFileError) as caught:
        read(tmp_path, ODD.replace(old, new, 1))
    assert words in caught.value.message and caught.value.hint
    assert caught.value.message.endswith(f"model.arpa line {line}")


@pytest.mark.parametrize(
    ("splitter", "token"),
    [
        (CHARACTERS, "ab"),
        (make_splitter("word", "punct", False), "it's,"),
        (make_splitter("word", "punct", True), "The"),
    ],
)
def test_tokens_of_another_splitter_are_refused(tmp_path, splitter, token):
    with pytest.raises(ModelFileError, match="is not a token of the model"):
        read(tmp_path, UNIGRAMS.format(token), splitter)


def test_a_missing_and_a_damaged_file(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        read_arpa(str(tmp_path / "none.arpa"), WORDS)
    (tmp_path / "cut.arpa.gz").write_bytes(gzip.compress(ODD.encode())[:-30])
    with pytest.raises(ModelFileError, match="broken gzip file"):
        read_arpa(str(tmp_path / "cut.arpa.gz"), WORDS)
