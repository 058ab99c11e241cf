"""What looks wrong with a corpus of columns is said, and nothing is said of one that is right."""

import re
from pathlib import Path

import pytest

from charlm.config import TextConfig
from charlm.text import read_lines
from charlm.text.doubts import watched
from charlm.text.tasks import corpus_reader

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared" / "corpora"
TEXT = TextConfig(level="word", split="whitespace")
GOOD = [f"{label}\tthe {noun} was {label}" for noun in ("soup", "cook", "room", "fish") for label in ("good", "bad")]
NAMES = [f"{label}\t{name}{n}" for n in range(11) for label, name in (("elf", "Lal"), ("orc", "Zog"))]
TAGS = [line for n in range(6) for line in ("the\tDET", f"cat{n}\tNOUN", "sees\tVERB", "")]
READERS = [("classify", False), ("lm", True)]


def doubts(lines, task="classify", *, conditioned=False):
    reader = corpus_reader(task, TEXT, conditioned=conditioned)
    return reader.doubts(reader.read(lines))


def swapped(lines):
    return ["\t".join(reversed(line.split("\t"))) for line in lines]


@pytest.mark.parametrize(("task", "conditioned"), READERS)
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (swapped(GOOD + NAMES), "30 labels for 30 texts, and 4 different texts: the columns look swapped"),
        (swapped(GOOD * 9), "8 labels for 72 texts, and 2 different texts: the columns look swapped"),
        ([f"{n}\ttext {n}" for n in range(12)], "12 labels for 12 texts: most occur once"),
        (["label\ttext", *GOOD], "a header, 'label' TAB 'text'"),
        (["Sentiment\treview", *GOOD * 3], "a header, 'Sentiment' TAB 'review'"),
        (["kind\tname", *NAMES], "a header, 'kind' TAB 'name'"),
        (["CLASS\tx y z", *GOOD], "a header"),
        ([*GOOD, "Good\tx"], "the labels 'Good' and 'good' differ only in spaces, case or Unicode form"),
        ([*GOOD, "good \tx"], "the labels 'good' and 'good ' differ"),
        ([*GOOD, "go od\tx", "BAD\ty"], r"'BAD' and 'bad' differ .* \(and 1 further groups\)"),
    ],
)
def test_what_looks_wrong_with_labels_is_said_once(lines, words, task, conditioned):
    (doubt,) = doubts(lines, task, conditioned=conditioned)
    assert re.search(words, doubt), doubt


@pytest.mark.parametrize(
    ("task", "lines", "words"),
    [
        ("tag", ["token\ttag", *TAGS], "a header, 'token' TAB 'tag'"),
        ("tag", ["form\tupos", *[line for line in TAGS * 2 if line]], "a header, 'form' TAB 'upos'"),
        ("tag", [line and "\t".join(reversed(line.split("\t"))) for line in TAGS], "8 tags for 18 tokens, and 3"),
        ("tag", [*TAGS, "cat\tnoun"], "the tags 'NOUN' and 'noun' differ"),
        ("translate", ["source\ttarget", "a b\tc d"], "a header"),
        ("translate", ["English\tSpanish", "a b\tc d"], "a header"),
    ],
)
def test_so_for_tags_and_translations(task, lines, words):
    (doubt,) = doubts(lines, task)
    assert words in doubt


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        ("classify", GOOD),
        ("classify", NAMES),
        ("classify", ["mixed\tthe soup was good and bad", *GOOD]),  # a rare label, at the beginning
        ("classify", [*NAMES, "troll\tBrog"]),
        ("classify", GOOD[:2]),
        ("classify", [f"{n % 3}\t{n % 5}" for n in range(40)]),
        ("tag", TAGS),
        ("tag", ["#\tSYM", "# a comment", *TAGS]),
        ("translate", ["cat\tgato", "dog\tperro"]),
        ("translate", ["source\tfuente", "text\ttexto"]),
    ],
)
def test_nothing_is_said_of_what_is_right(task, lines):
    assert doubts(lines, task) == []


def test_genres_are_labels():
    pieces = [f"waltz\t60 {60 + n}" for n in range(6)] + ["Waltz\t60"]
    (doubt,) = doubts(pieces, "music", conditioned=True)
    assert "the genres 'Waltz' and 'waltz' differ" in doubt
    assert doubts(["60 61", "62"], "music") == []


CORPORA = [
    *((PROJECT / "corpora" / f"{name}.tsv", "tag", False) for name in ("kitchen_tags", "persons")),
    *((PROJECT / "corpora" / f"{name}_heldout.tsv", "classify", False) for name in ("places", "reviews")),
    (PROJECT / "corpora" / "phrases.tsv", "translate", False),
    (PROJECT / "corpora" / "tunes.tsv", "music", True),
    (SHARED / "names" / "surnames.tsv", "classify", False),
    (SHARED / "upos" / "upos_dev.tsv", "tag", False),
    (SHARED / "unicode" / "emoji_names.tsv", "translate", False),
]


@pytest.mark.parametrize(("path", "task", "conditioned"), CORPORA, ids=lambda value: getattr(value, "stem", None))
def test_there_is_no_false_alarm(path, task, conditioned):
    if not path.exists():
        pytest.skip(f"{path} is not here")
    assert doubts(read_lines([str(path)]), task, conditioned=conditioned) == []


# ---- input with answers in it

RECORDS = {
    "classify": (["good\ta", "bad\tb"], ["good a", "a\tb", "fine\ta"]),
    "tag": (["the\tN", "cat\tV"], ["the cat", "the\tcat", "a\tb\tN", "the"]),
    "translate": (["a\tb", "c d\te f"], ["a b", "a\tb\tc", "a\t"]),
}
LABELS = {"classify": ("bad", "good"), "tag": ("N", "V"), "translate": ()}


def reader_of(task):
    return corpus_reader(task, TEXT, conditioned=False)


def warnings_of(task, lines):
    said = []
    assert list(watched(iter(lines), reader_of(task), LABELS[task], said.append)) == lines
    return said


@pytest.mark.parametrize("task", RECORDS)
@pytest.mark.parametrize("count", [1, 3, 99, 100, 101, 250])
def test_a_corpus_given_as_input_is_told_once(task, count):
    records, plain = RECORDS[task]
    assert len(warnings_of(task, (records * count)[:count])) == 1
    assert len(warnings_of(task, ["", *(records * count)[:count], " "])) == 1
    for line in plain:
        assert warnings_of(task, [line] * count) == []
    assert warnings_of(task, (records + plain) * count) == []


def test_a_header_or_a_stray_line_does_not_hide_it():
    assert len(warnings_of("classify", ["label\ttext", *RECORDS["classify"][0] * 10])) == 1


def test_it_is_said_before_the_end_of_a_long_input():
    said = []
    lines = watched(iter(["good\ta"] * 1000), reader_of("classify"), LABELS["classify"], said.append)
    for _ in range(102):
        next(lines)
    assert len(said) == 1


@pytest.mark.parametrize("task", RECORDS)
def test_nothing_is_said_of_nothing(task):
    assert warnings_of(task, []) == warnings_of(task, ["", " "]) == []
