"""Check the corpora of the tasks other than language modelling: their format, and what they ask of a model.

Nothing is taken from the grammars: what they promise is worked out again from the files.
"""

# Lists of words read better in one string.
# ruff: noqa: SIM905

import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
SIZES = {  # records for training, records held out
    "kitchen_tags": (2_000, 300),
    "persons": (2_000, 300),
    "reviews": (2_500, 400),
    "places": (3_000, 500),
    "phrases": (4_000, 300),
    "tunes": (252, 42),
}
LABELS = {
    "reviews": {"good", "bad"},
    "places": {"elf", "robot", "village", "star", "potion"},
    "tunes": {"waltz", "march", "lullaby"},
}
TAGS = {"kitchen_tags": set("ADJ ADP ADV AUX CONJ DET NOUN NUM PART PRON PUNCT VERB".split()), "persons": {"0", "1"}}
FILES = [name + suffix for name in SIZES for suffix in ("", "_heldout")]
BAR = {"waltz": 3, "march": 4, "lullaby": 6}
Sentence = tuple[tuple[str, str], ...]
Rows = list[tuple[str, str]]


def text_of(name: str) -> str:
    """Return the text of a file, which must end with one newline."""
    text = (CORPORA / f"{name}.tsv").read_bytes().decode("utf-8")
    assert text.endswith("\n") and not text.endswith("\n\n") and "\r" not in text
    return text[:-1]


def row_of(line: str) -> tuple[str, str]:
    """Return the two columns of a line, neither of them empty or with white space at its ends."""
    first, second = line.split("\t")
    assert first and second and first == first.strip() and second == second.strip(), line
    return first, second


@cache
def sentences(name: str) -> list[Sentence]:
    """Return the sentences of a file with a token and a tag in each line."""
    return [tuple(row_of(line) for line in block.split("\n")) for block in text_of(name).split("\n\n")]


@cache
def rows(name: str) -> Rows:
    """Return the lines of a file with two columns."""
    return [row_of(line) for line in text_of(name).split("\n")]


def records(name: str) -> list[str]:
    """Return what the model reads of each record, or of a tune what it writes."""
    if name.startswith(tuple(TAGS)):
        return [" ".join(word for word, _ in sentence) for sentence in sentences(name)]
    return [first if name.startswith("phrases") else second for first, second in rows(name)]


def words_of(text: str) -> list[str]:
    """Split a text into words and marks."""
    return re.findall(r"\w+(?:'\w+)*|[^\w\s]", text)


def likeliest_tags(name: str) -> dict[str, str]:
    """Return for each word of a training file the tag that it has most often."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word, tag in (pair for sentence in sentences(name) for pair in sentence):
        counts[word][tag] += 1
    return {word: count.most_common(1)[0][0] for word, count in counts.items()}


def accuracy_of_counts(name: str, features: Callable[[str], Iterable[str]]) -> float:
    """Return how often naive Bayes finds the label of a held-out text from a bag of features."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, text in rows(name):
        counts[label].update(features(text))
    known = len({feature for count in counts.values() for feature in count})

    def score(label: str, text: str) -> float:
        total = counts[label].total() + known
        return sum(math.log((counts[label][feature] + 1) / total) for feature in features(text))

    heldout = rows(f"{name}_heldout")
    return sum(label == max(counts, key=lambda one: score(one, text)) for label, text in heldout) / len(heldout)


@pytest.mark.thinned(3)
@pytest.mark.slow
def test_script_writes_the_same_bytes_again(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(CORPORA / "task_corpora.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=600)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.tsv" for name in FILES)
    for name in FILES:
        assert (tmp_path / f"{name}.tsv").read_bytes() == (CORPORA / f"{name}.tsv").read_bytes(), name


@pytest.mark.parametrize("name", SIZES)
def test_files_are_small_and_no_record_occurs_twice(name: str) -> None:
    training, heldout = records(name), records(f"{name}_heldout")
    assert (len(training), len(heldout)) == SIZES[name]
    assert len({*training, *heldout}) == sum(SIZES[name])
    assert (CORPORA / f"{name}.tsv").stat().st_size < 250_000


@pytest.mark.parametrize("name", TAGS)
def test_every_token_has_a_tag_and_every_file_every_tag(name: str) -> None:
    for file in (name, f"{name}_heldout"):
        pairs = [pair for sentence in sentences(file) for pair in sentence]
        assert {tag for _, tag in pairs} == TAGS[name]
        assert [word for word, _ in pairs if not re.fullmatch(r"[A-Za-z]+|[.,?]", word)] == []
        assert all(3 <= len(sentence) <= 15 and sentence[-1][0] in ".?" for sentence in sentences(file))


@pytest.mark.parametrize("name", LABELS)
def test_every_file_has_every_label_as_often(name: str) -> None:
    for file in (name, f"{name}_heldout"):
        counts = Counter(label for label, _ in rows(file))
        assert set(counts) == LABELS[name] and len(set(counts.values())) == 1


@pytest.mark.parametrize("name", ["kitchen_tags", "reviews"])
def test_held_out_texts_use_only_words_of_the_training(name: str) -> None:
    known = {word for text in records(name) for word in words_of(text)}
    assert {word for text in records(f"{name}_heldout") for word in words_of(text)} <= known


def test_what_follows_a_word_decides_its_tag() -> None:
    prefixes: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sentence in sentences("kitchen_tags"):
        words = tuple(word for word, _ in sentence)
        for i, (_, tag) in enumerate(sentence):
            prefixes[words[: i + 1]][tag] += 1
    pairs = sum(
        math.comb(count.total(), 2) - sum(math.comb(n, 2) for n in count.values()) for count in prefixes.values()
    )
    assert pairs > 1_000, "pairs of sentences that are equal up to a token, which has another tag"
    # So no rule that has not read on gets all, not even one that knows these very sentences.
    best = sum(max(count.values()) for count in prefixes.values()) / sum(c.total() for c in prefixes.values())
    assert best < 0.95
    undecided = {prefix[-1] for prefix, count in prefixes.items() if min(count.values()) >= 5 and len(count) > 1}
    assert undecided >= set("can that old young lights to after before inside have light oil dry".split())
    # In "the old fish near the pond ." and "the old fish near the pond sleeps .", five words further on.
    assert {
        sentence[2][1] for sentence in sentences("kitchen_tags") if sentence[2][0] == "fish" and sentence[3][1] == "ADP"
    } == {"NOUN", "VERB"}


def test_what_precedes_a_word_decides_its_tag_too() -> None:
    followed: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sentence in sentences("kitchen_tags"):
        words = tuple(word for word, _ in sentence)
        for i, (_, tag) in enumerate(sentence):
            followed[words[i:]][tag] += 1
    undecided = {words for words, count in followed.items() if min(count.values()) >= 5 and len(count) > 1}
    assert undecided >= {("cook", "."), ("drink", "."), ("drinks", "."), ("light", ".")}


def test_words_have_several_tags_but_sentences_one_reading() -> None:
    tags: defaultdict[str, set[str]] = defaultdict(set)
    for word, tag in (pair for sentence in sentences("kitchen_tags") for pair in sentence):
        tags[word].add(tag)
    assert tags["can"] == {"AUX", "NOUN", "VERB"} and tags["that"] == {"CONJ", "DET", "PRON"}
    assert tags["light"] == {"ADJ", "NOUN", "VERB"} and tags["cook"] == tags["water"] == {"NOUN", "VERB"}
    assert sum(len(several) > 1 for several in tags.values()) >= 30
    likeliest = likeliest_tags("kitchen_tags")
    pairs = [pair for sentence in sentences("kitchen_tags_heldout") for pair in sentence]
    assert 0.8 < sum(likeliest[word] == tag for word, tag in pairs) / len(pairs) < 0.92


def test_held_out_names_are_often_new_and_nothing_else_is() -> None:
    known = {word for sentence in sentences("persons") for word, _ in sentence}
    new = [(word, tag) for sentence in sentences("persons_heldout") for word, tag in sentence if word not in known]
    assert len(new) >= 100 and {tag for _, tag in new} == {"1"}
    assert sum(any(word in dict(new) for word, _ in sentence) for sentence in sentences("persons_heldout")) >= 100
    # What training has once is a name or a town, so that new words alone are no sign of a person.
    counts = Counter(pair for sentence in sentences("persons") for pair in sentence)
    assert min(sum(n == 1 for (_, tag), n in counts.items() if tag == one) for one in "01") >= 20


def test_a_list_of_names_does_not_find_them() -> None:
    likeliest = likeliest_tags("persons")
    for guess in "01":  # for words that are not in the list
        found = Counter(
            (likeliest.get(word, guess), tag) for sentence in sentences("persons_heldout") for word, tag in sentence
        )
        f1 = 2 * found["1", "1"] / (2 * found["1", "1"] + found["1", "0"] + found["0", "1"])
        assert f1 < 0.8
    first = Counter(sentence[0] for sentence in sentences("persons"))
    for word in "Rose Will May Mark Bill Basil Olive Hope Grace Ginger Pearl Joy Dawn".split():
        assert first[word, "0"] >= 5 and first[word, "1"] >= 5, word
    tags: defaultdict[str, set[str]] = defaultdict(set)
    for word, tag in (pair for sentence in sentences("persons") for pair in sentence):
        tags[word].add(tag)
    both = {word for word, several in tags.items() if len(several) == 2}
    assert both >= {"Baker", "King", "Young", "Cook"} and len(both) > 100, "towns that are surnames too among them"


def test_reviews_need_more_than_their_words() -> None:
    assert 0.5 <= accuracy_of_counts("reviews", words_of) < 0.65
    assert accuracy_of_counts("reviews", lambda text: map(" ".join, pairwise(words_of(text)))) < 0.8
    assert [text for _, text in rows("reviews") if not re.fullmatch(r"[a-z]+(,? [a-z]+)+", text)] == []
    assert [text for _, text in rows("reviews") if re.search(r"\ba [aeiou]|\ban [^aeiou]", text)] == []
    good, bad = ({text for label, text in rows("reviews") if label == one} for one in ("good", "bad"))
    for words in ("not", "nobody", "although", "but everything else was", "never", "expected", "far from"):
        assert min(sum(words in text for text in texts) for texts in (good, bad)) >= 25, words


def test_reviews_say_what_their_label_says() -> None:
    adjectives: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, text in rows("reviews"):
        if plain := re.fullmatch(r"the \w+ was (?:very |really )?(\w+)", text):
            adjectives[plain[1]][label] += 1
    assert all(len(count) == 1 for count in adjectives.values()) and len(adjectives) >= 30
    meant = {word: next(iter(count)) for word, count in adjectives.items()}
    denials = r"the \w+ was (?:not|never|anything but|far from) (\w+)(?: at all)?"
    denied = [(label, found[1]) for label, text in rows("reviews_heldout") if (found := re.fullmatch(denials, text))]
    denied = [(label, meant[word]) for label, word in denied if word in meant]
    assert len(denied) >= 10 and all(label != plainly for label, plainly in denied)


def test_places_differ_in_their_letters() -> None:
    assert accuracy_of_counts("places", lambda name: map("".join, pairwise(f"^{name}$"))) > 0.95
    assert accuracy_of_counts("places", str) > 0.9
    known = {letter for _, name in rows("places") for letter in name}
    assert {letter for _, name in rows("places_heldout") for letter in name} <= known
    assert all(4 <= len(name) <= 24 for _, name in rows("places"))


def test_phrases_use_only_words_of_the_training_and_have_one_translation() -> None:
    for side in (0, 1):
        known = {word for row in rows("phrases") for word in words_of(row[side])}
        assert {word for row in rows("phrases_heldout") for word in words_of(row[side])} <= known
        for row in rows("phrases"):
            assert 2 + (side == 0) <= len(re.findall(r"[\w']+", row[side])) <= 12, row
            assert row[side] == row[side].lower() and "  " not in row[side]
    assert [english for english, _ in rows("phrases") if re.search(r"\ba [aeiou]|\ban [^aeiou]", english)] == []
    assert len({english for english, _ in rows("phrases")}) == len(rows("phrases"))


def test_phrases_are_no_translation_word_by_word() -> None:
    lengths = Counter(len(words_of(spanish)) - len(words_of(english)) for english, spanish in rows("phrases"))
    assert lengths[0] < 0.5 * lengths.total() and min(lengths[-2], lengths[2]) > 50
    for english, spanish in [*rows("phrases"), *rows("phrases_heldout")]:
        assert (english[-1] == "?") == (spanish[0] == "¿") == (spanish[-1] == "?"), spanish
        assert not re.search(r"\b(a|de) el\b", spanish), spanish
    shares = {
        pattern: sum(bool(re.search(pattern, spanish)) for _, spanish in rows("phrases"))
        for pattern in (r"^¿", r"\bno\b", r"\bal\b", r"\bdel\b", r"\bgustan?\b", r"\bhay\b", r"\besta agua\b")
    }
    assert min(shares.values()) >= 10, shares


def test_spanish_determiners_and_adjectives_agree_with_their_nouns() -> None:
    feminine = set("cocinera niña mujer gallina taza sartén manzana cebolla sopa agua leche cocina mesa silla".split())
    masculine = set("panadero niño gato ratón plato vaso limón huevo pan queso jardín estante".split())
    plurals = {"ón": "ones", "ín": "ines", "én": "enes"}
    forms = {}
    for noun in feminine | masculine:
        plural = noun + "s" if noun[-1] in "aeo" else noun[:-2] + plurals.get(noun[-2:], noun[-2:] + "es")
        forms |= {noun: (noun in feminine, False), plural: (noun in feminine, True)}
    determiners = {"el": (False, False), "la": (True, False), "los": (False, True), "las": (True, True)}
    determiners |= {"un" + end: (end[:1] == "a", end[-1:] == "s") for end in ("", "a", "os", "as")}
    determiners |= {"est" + end: (end[0] == "a", end[-1] == "s") for end in ("e", "a", "os", "as")}
    determiners |= {"al": (False, False), "del": (False, False)}
    checked = Counter[str]()
    for _, spanish in [*rows("phrases"), *rows("phrases_heldout")]:
        for first, second in pairwise(re.findall(r"\w+", spanish)):
            if first in determiners and second in forms and (second != "agua" or first == "esta"):
                assert determiners[first] == forms[second], spanish
                checked["determiner"] += 1
            stem = re.fullmatch(r"(viej|roj|negr|pequeñ|limpi|rot|barat|frí|cansad)(o|a)(s?)", second)
            if first in forms and stem and not spanish.startswith("¿"):
                assert forms[first] == (stem[2] == "a", stem[3] == "s"), spanish
                checked["adjective"] += 1
            elif first in {"es", "está"} and stem:
                assert not stem[3], spanish
    assert min(checked["determiner"], checked["adjective"]) > 500


def test_tunes_are_steps_of_ascending_keys() -> None:
    for name in ("tunes", "tunes_heldout"):
        for genre, piece in rows(name):
            steps = piece.split(" ")
            assert 24 <= len(steps) <= 64 and len(steps) % BAR[genre] == 0
            assert steps[-1] == "-"
            for step in steps:
                assert re.fullmatch(r"-|\d+(,\d+)*", step), piece
                keys = [] if step == "-" else [*map(int, step.split(","))]
                assert keys == sorted(set(keys)) and all(36 <= key <= 96 for key in keys), piece


def test_genres_differ_in_rhythm_and_register() -> None:
    lowest: defaultdict[str, list[int]] = defaultdict(list)
    sounding: defaultdict[str, list[list[int]]] = defaultdict(lambda: [[] for _ in range(6)])
    for genre, piece in rows("tunes"):
        for i, step in enumerate(piece.split(" ")[: -BAR[genre]]):
            keys = [] if step == "-" else [*map(int, step.split(","))]
            sounding[genre][i % BAR[genre]].append(len(keys))
            lowest[genre] += keys[:1] if i % BAR[genre] == 0 else []
    mean = {genre: [sum(counts) / len(counts) for counts in places[: BAR[genre]]] for genre, places in sounding.items()}
    assert mean["waltz"][0] == 2 and min(mean["waltz"][1:]) > 2.5, "a bass note, then chords, below the melody"
    assert mean["march"][1] < 1 and mean["march"][0] == 2, "rests after the bass"
    assert set(mean["lullaby"]) == {2}, "one note of the chord at a time"
    middle = {genre: sorted(keys)[len(keys) // 2] for genre, keys in lowest.items()}
    assert middle["march"] < middle["waltz"] < middle["lullaby"]
