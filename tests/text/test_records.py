"""The records of corpora with columns: what is read, and that a mistake is told with its file and line."""

import gzip

import pytest

from charlm.config import TextConfig
from charlm.errors import CorpusError
from charlm.text.lines.reading import numbered, read_lines
from charlm.text.records import columns, pairs
from charlm.text.tag_lines import TagLines, sentences
from charlm.text.tasks import corpus_reader

GOOD = {
    "conditioned": b"en\tone\nde\teins\n",
    "classify": b"en\tone\nde\teins\n",
    "translate": b"one\teins\ntwo\tzwei\n",
    "tag": b"a\tX\nb\tY\n\n",
    "music": b"60,64 -\n62\n",
    "genre": b"jazz\t60,64 -\nfolk\t62\n",
}
LABELS = {"conditioned": ["en", "de"], "classify": ["en", "de"], "tag": ["X", "Y"], "genre": ["jazz", "folk"]}


def reader(name):
    task = {"conditioned": "lm", "genre": "music"}.get(name, name)
    return corpus_reader(task, TextConfig(level="word"), conditioned=name in ("conditioned", "genre"))


def refusal_of(read):
    """Run what is to be refused, in one line and a hint."""
    with pytest.raises(CorpusError) as refusal:
        read()
    assert refusal.value.exit_code == 3 and refusal.value.hint
    assert len(refusal.value.message.splitlines()) == 1
    return refusal.value.message


WRONG = [  # task, the line that is wrong, what the message has to say
    ("conditioned", b"no tab", "1 column instead of label TAB text"),
    ("conditioned", b"", "1 column"),
    ("conditioned", b"en\ta\tb", "3 columns instead of label TAB text"),
    ("conditioned", b"\ttext", "label is empty"),
    ("conditioned", b"en\t", "text is empty"),
    ("classify", b"no tab", "1 column"),
    ("classify", b"en\ta\t", "3 columns"),
    ("classify", b"\t", "label is empty"),
    ("translate", b"one", "1 column instead of source TAB target"),
    ("translate", b"one\t", "target is empty"),
    ("translate", b"\teins", "source is empty"),
    ("translate", b"one\teins\tun", "3 columns"),
    ("tag", b"a b", "1 column instead of token TAB tag"),
    ("tag", b"a\tX\tY", "3 columns"),
    ("tag", b"a\t", "tag is empty"),
    ("tag", b"\tX", "token is empty"),
    ("music", b"60 60,,64", "step 2 is '60,,64'"),
    ("music", b"200", "step 1 is '200'"),
    ("music", b"60 62 x", "step 3 is 'x'"),
    ("music", b"", "without steps"),
    ("music", b"  ", "without steps"),
    ("genre", b"jazz\t60 x", "step 2 is 'x'"),
    ("genre", b"60 62", "1 column instead of genre TAB piece"),
    ("genre", b"jazz\t", "piece is empty"),
    ("genre", b"jazz\t ", "without steps"),
    ("genre", b"\t60", "genre is empty"),
]


@pytest.mark.parametrize(("name", "line", "what"), WRONG)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_mistake_is_told_with_its_file_and_its_line_there(tmp_path, name, line, what, end):
    """In the second file lines are counted anew."""
    good = GOOD[name].replace(b"\n", end)
    (tmp_path / "good.txt").write_bytes(good * 3)
    (tmp_path / "bad.txt").write_bytes(good + line + end + good)
    number = good.count(b"\n") + 1
    paths = [str(tmp_path / "good.txt"), str(tmp_path / "bad.txt")]
    message = refusal_of(lambda: reader(name).read(read_lines(paths)))
    assert what in message
    assert message.endswith(f"{paths[1]} line {number}") and "good" not in message
    assert len(reader(name).read(read_lines(paths[:1]))) == 3 * good.count(end) - (6 if name == "tag" else 0)


@pytest.mark.parametrize("name", LABELS)
def test_a_label_that_training_did_not_have_is_told_in_the_same_way(tmp_path, name):
    path = tmp_path / "more.txt.gz"
    path.write_bytes(gzip.compress(GOOD[name], mtime=0))
    known = LABELS[name]
    assert reader(name).read(read_lines([str(path)]), known) == reader(name).read(read_lines([str(path)]))
    message = refusal_of(lambda: reader(name).read(read_lines([str(path)] * 2), known[:1]))
    what = {"tag": "tag", "genre": "genre"}.get(name, "label")
    assert f"the {what} {known[1]!r} was never seen" in message and message.endswith(f"{path} line 2")
    refusal_of(lambda: reader(name).read(read_lines([str(path)]), []))


def test_the_last_line_of_a_sentence_is_where_a_mistake_is():
    """Not where the sentence began."""
    message = refusal_of(lambda: list(sentences(["a\tX", "b\tX", "", "c\tX", "d"], TagLines())))
    assert message.endswith("line 5")


def test_nothing_is_read_ahead():
    """The good records come before the complaint."""
    found = pairs(["a\tb", "c\td", "bad"], "source TAB target")
    assert [next(found), next(found)] == [("a", "b"), ("c", "d")]
    assert refusal_of(lambda: next(found)).endswith("line 3")


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ["a\tX", "b\tY", "", "c\tX"],
        ["a\tX", "b\tY", "", "c\tX", ""],
        ["", "", "a\tX", "b\tY", "", "", "", "c\tX", "", ""],
    ],
)
def test_sentences_lie_between_blank_lines_however_many(lines):
    assert list(sentences(lines, TagLines())) == [(["a", "b"], ["X", "Y"]), (["c"], ["X"])]


@pytest.mark.parametrize("lines", [[], [""], ["", "", ""]])
def test_of_blank_lines_there_is_no_sentence(lines):
    assert list(sentences(lines, TagLines())) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_sentence_may_end_with_its_file_and_goes_on_in_the_next(tmp_path, end):
    """Several files are one text: only a blank line ends a sentence."""
    (tmp_path / "one").write_bytes(b"\xef\xbb\xbfa\tX" + end + end + b"b\tY")
    (tmp_path / "two").write_bytes(b"c\tX" + end)
    found = list(sentences(read_lines([str(tmp_path / "one"), str(tmp_path / "two")]), TagLines()))
    assert found == [(["a"], ["X"]), (["b", "c"], ["Y", "X"])]


def test_columns_keep_their_spaces():
    """White space at the ends may be what a model is about; only the tab sets apart."""
    assert columns(" a b \t c ", "label TAB text", "line 1") == (" a b ", " c ")
    assert list(pairs([" a \tb c"], "label TAB text")) == [(" a ", "b c")]


def test_lines_of_a_file_have_places_and_others_their_numbers(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1\n2\n")
    paths = [str(tmp_path / name) for name in "ab"]
    assert list(numbered(read_lines(paths))) == [(n, f"{path} line {n}") for path in paths for n in "12"]
    assert list(numbered(["x", "y"])) == [("x", "line 1"), ("y", "line 2")]


def test_a_name_that_would_break_the_line_is_shown_harmless(tmp_path):
    path = tmp_path / "a\nb\x1b.txt"
    path.write_bytes(b"no tab\n")
    message = refusal_of(lambda: list(pairs(read_lines([str(path)]), "label TAB text")))
    assert message.isprintable()
