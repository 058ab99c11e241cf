"""CoNLL files as they are: columns by number and by name, what is skipped, and IOB1 as IOB2."""

import pytest

from charlm.config import TextConfig
from charlm.errors import CorpusError, UsageError
from charlm.session import text_defaults
from charlm.text.iob import are_entities, are_iob, as_iob2
from charlm.text.tag_lines import ConllLines, read_sentences, sentences

CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP I-ORG
rejects VBZ B-VP O

# # B-NP O
$ $ B-NP O
# # I-NP O
"""
UNER = "# newdoc\n# text = In Tampa Bay\n1\tIn\tO\t-\t-\n2\tTampa\tB-LOC\t-\tx\n3\tBay\tI-LOC\t-\tx\n\n4\t#\tO\t-\t-\n"
CONLL_U = """# text = du vin
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\t_\t_\t3\tcase\t_\t_
2\tle\tle\tDET\t_\t_\t3\tdet\t_\t_
2.1\tbon\tbon\tADJ\t_\t_\t_\t_\t_\t_
3\tvin\tvin\tNOUN\t_\t_\t0\troot\t_\t_
"""
PLUS = "# global.columns = FORM NE\nI-5\tB-X\n1-2\tO\n"


@pytest.mark.parametrize(
    ("text", "token", "tag", "expected"),
    [
        (CONLL_2003, "1", "4", [(["EU", "rejects"], ["I-ORG", "O"]), (["$", "#"], ["O", "O"])]),
        (UNER, "2", "3", [(["In", "Tampa", "Bay"], ["O", "B-LOC", "I-LOC"]), (["#"], ["O"])]),
        (CONLL_U, "FORM", "UPOS", [(["de", "le", "vin"], ["ADP", "DET", "NOUN"])]),
        (CONLL_U, "2", "4", [(["de", "le", "vin"], ["ADP", "DET", "NOUN"])]),
        (PLUS, "FORM", "NE", [(["I-5", "1-2"], ["B-X", "O"])]),
        ("a  X\nb\t \tY", "1", "2", [(["a", "b"], ["X", " "])]),
    ],
)
def test_columns_are_read_and_the_rest_is_skipped(text, token, tag, expected):
    assert list(sentences(text.split("\n"), ConllLines(token, tag))) == expected


@pytest.mark.parametrize(
    ("line", "token", "message"),
    [
        ("a b", "3", "2 columns, but --token-column is 3, line 2"),
        ("a", "FORM", "unknown column FORM, given by --token-column, line 2"),
        ("a\t", "2", "the token is empty, line 2"),
        ("a", "1", "1 column, but --tag-column is 2, line 2"),
    ],
)
def test_a_missing_column_is_named_with_its_line(line, token, message):
    with pytest.raises(CorpusError) as refusal:
        list(sentences(["", line], ConllLines(token, "2")))
    assert refusal.value.message == message and refusal.value.hint


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"token_column": "1"}, "--tag-column is missing"),
        ({"tag_column": "UPOS"}, "--token-column is missing"),
        ({"token_column": "0", "tag_column": "2"}, "--token-column is '0'"),
        ({"token_column": "1", "tag_column": ""}, "--tag-column is ''"),
        ({"token_column": 1, "tag_column": "2"}, "--token-column is 1"),
        ({"tag_scheme": "iob1"}, "--tag-scheme is 'iob1'"),
    ],
)
def test_columns_of_a_configuration_are_checked(columns, message):
    with pytest.raises(UsageError) as refusal:
        TextConfig(**columns)
    assert refusal.value.message == message and refusal.value.hint


def test_older_files_read_tags_as_they_are_written():
    assert TextConfig.from_dict({"level": "word"}).tag_scheme == "none"
    text = TextConfig(**text_defaults("tag"), token_column="FORM", tag_column="4")
    assert text.tag_scheme == "iob2" and TextConfig.from_dict(text.stored()) == text


IOB1 = ["a\tI-X", "b\tI-X", "c\tB-X", "", "d\tI-Y", "e\tI-X", "f\tO"]


def test_iob1_is_read_as_iob2():
    text = TextConfig(**text_defaults("tag"))
    expected = [["B-X", "I-X", "B-X"], ["B-Y", "B-X", "O"]]
    assert [tags for _, tags in read_sentences(IOB1, text, None)] == expected
    assert [tags for _, tags in read_sentences(IOB1, text, {"B-X", "I-X", "B-Y", "O"})] == expected
    written = [["I-X", "I-X", "B-X"], ["I-Y", "I-X", "O"]]
    plain = TextConfig(**{**text_defaults("tag"), "tag_scheme": "none"})
    assert [tags for _, tags in read_sentences(IOB1, plain, None)] == written
    # Tags of another kind stay as they are.
    assert [tags for _, tags in read_sentences([*IOB1, "g\tN"], text, None)] == [*written[:1], ["I-Y", "I-X", "O", "N"]]
    assert as_iob2(as_iob2(written[1])) == expected[1]


def test_which_tags_are_of_entities():
    assert are_entities(["B-X", "O"]) and are_iob(["I-X"]) and not are_entities(["I-X", "O"])
    assert not any(map(are_iob, (["O"], ["B-", "O"], ["B-X", "N"], [])))
