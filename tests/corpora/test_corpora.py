"""Check the corpora that charlm ships: the names of dinosaurs, and the kitchen grammar with its test sets.

What the grammar promises is worked out again from the files; of the grammar itself, the tests take only which
words are of which kind.
"""

# Lists of words read better in one string.
# ruff: noqa: SIM905

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
KITCHEN_FILES = ["kitchen.txt", "kitchen_heldout.txt", "kitchen_homophones.tsv", "kitchen_agreement.tsv"]
NBEST_FILES = [f"kitchen_nbest{part}{kind}.tsv" for part in ("", "_test") for kind in ("", "_refs")]
PROGRAMS = {
    "kitchen_grammar": KITCHEN_FILES,
    "kitchen_nbest": NBEST_FILES,
    "log_lines": ["log.txt", "log_new.txt"],
}
SINGULAR_VERBS, PLURAL_VERBS = {"was", "is"}, {"were", "are"}
Lines = list[str]
Rows = list[tuple[list[str], list[str], str]]
DISHES = set("salad cake tart pie crumble pudding flan soup stew curry broth omelette jam".split())

specification = importlib.util.spec_from_file_location("kitchen_grammar", CORPORA / "kitchen_grammar.py")
assert specification is not None and specification.loader is not None
grammar = importlib.util.module_from_spec(specification)
specification.loader.exec_module(grammar)

SINGULAR_NOUNS = {noun for kind in grammar.SINGULAR for noun in grammar.LEXICON[kind]}
PLURAL_NOUNS = {noun for kind in grammar.SINGULAR for noun in grammar.LEXICON[kind + "S"]}


def lines_of(name: str) -> list[str]:
    """Return the lines of a corpus, which must end with a newline."""
    text = (CORPORA / name).read_bytes().decode("ascii")
    assert text.endswith("\n") and "\r" not in text
    return text[:-1].split("\n")


def rows_of(name: str, header: str) -> Rows:
    """Return the rows of a test set as the right words, the wrong words and the third column."""
    first, *lines = lines_of(name)
    assert first == header
    cells = [line.split("\t") for line in lines]
    assert all(len(row) == 3 for row in cells)
    return [(right.split(" "), wrong.split(" "), label) for right, wrong, label in cells]


@pytest.fixture(scope="module")
def training() -> list[str]:
    """Return the lines of the training corpus."""
    return lines_of("kitchen.txt")


@pytest.fixture(scope="module")
def homophones() -> Rows:
    """Return the homophone tests."""
    return rows_of("kitchen_homophones.tsv", "right\twrong\tpair")


@pytest.fixture(scope="module")
def agreement() -> Rows:
    """Return the agreement tests."""
    return rows_of("kitchen_agreement.tsv", "right\twrong\tdistance")


def combinations(line: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of content words that follow each other in a line."""
    return pairwise(word for word in line.split() if word in grammar.CONTENT_WORDS)


def numbers(words: list[str]) -> list[bool]:
    """Tell of each noun in a list of words whether it is plural."""
    return [word in PLURAL_NOUNS for word in words if word in SINGULAR_NOUNS | PLURAL_NOUNS]


def subject_and_verb(words: list[str]) -> tuple[int, int] | None:
    """Return the indices of the subject (the first noun) and the one verb with a number, if any."""
    verbs = [i for i, word in enumerate(words) if word in SINGULAR_VERBS | PLURAL_VERBS]
    nouns = [i for i, word in enumerate(words) if word in SINGULAR_NOUNS | PLURAL_NOUNS]
    if len(verbs) != 1 or not nouns or nouns[0] > verbs[0]:
        return None
    return nouns[0], verbs[0]


def coarse_kind(word: str) -> str:
    """Return the kind of a content word, all adjectives and all dishes being one kind, or the word itself."""
    kinds = [kind for kind, members in grammar.LEXICON.items() if word in members]
    if any(kind.endswith("_ADJ") for kind in kinds):
        return "ADJECTIVE"
    return "DISH" if word in DISHES else (kinds[0] if kinds else word)


KIND_OF = {word: coarse_kind(word) for word in grammar.CONTENT_WORDS}


def frame(words: list[str], spelling: str) -> tuple[str, ...]:
    """Return a sentence with one spelling blanked out and every other content word replaced by its kind."""
    return tuple("_" if word == spelling else KIND_OF.get(word, word) for word in words)


def share(values: list[bool]) -> float:
    """Return the share of true values."""
    return sum(values) / len(values)


def test_dinosaurs_are_a_sorted_list_of_names() -> None:
    names = lines_of("dinosaurs.txt")
    assert len(names) >= 760
    assert names == sorted(set(names))
    assert [name for name in names if not re.fullmatch(r"[A-Z][a-z]+", name)] == []
    assert {"Triceratops", "Tyrannosaurus", "Mei", "Zuul"} <= set(names)
    assert share([name.endswith("saurus") for name in names]) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("program", "files"), PROGRAMS.items())
def test_grammar_writes_the_same_bytes_again(tmp_path: Path, program: str, files: list[str]) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(CORPORA / f"{program}.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=600)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    for name in files:
        assert (tmp_path / name).read_bytes() == (CORPORA / name).read_bytes(), name


def test_nbest_lists_are_of_held_out_sentences_and_have_what_was_said() -> None:
    heldout = set(lines_of("kitchen_heldout.txt"))
    for part in ("", "_test"):
        references = dict(line.split("\t") for line in lines_of(f"kitchen_nbest{part}_refs.tsv"))
        lists: dict[str, list[list[str]]] = defaultdict(list)
        for line in lines_of(f"kitchen_nbest{part}.tsv"):
            name, *row = line.split("\t")
            lists[name].append(row)
        assert list(lists) == list(references) and len(lists) == 60
        assert heldout >= set(references.values())
        heldout -= set(references.values())  # no sentence is in both parts
        for name, rows in lists.items():
            scores = [float(score) for _, score, _ in rows]
            assert [rank for rank, *_ in rows] == [str(number) for number in range(1, 13)]
            assert scores == sorted(scores, reverse=True)
            texts = [text for *_, text in rows]
            assert len(set(texts)) == len(texts) and references[name] in texts


def test_training_corpus_has_the_size_a_small_model_learns(training: list[str]) -> None:
    counts = Counter(word for line in training for word in line.split(" "))
    assert len(training) == 24_000
    assert 300 <= len(counts) <= 450
    assert 9 <= counts.total() / len(training) <= 11
    assert len(set(training)) > 15_000
    assert [line for line in training if not re.fullmatch(r"[a-z]+( [a-z]+)+", line)] == []
    assert min(counts.values()) >= 20
    assert [line for line in training if re.search(r"\ba [aeiou]|\ban [^aeiou]", line)] == []


def test_held_out_sentences_use_only_words_of_the_training_corpus(
    training: Lines, homophones: Rows, agreement: Rows
) -> None:
    known = {word for line in training for word in line.split()}
    tested = {word for right, wrong, _ in homophones + agreement for word in right + wrong}
    assert tested | {word for line in lines_of("kitchen_heldout.txt") for word in line.split()} <= known


def test_held_out_sentences_hold_a_combination_absent_from_training(
    training: Lines, homophones: Rows, agreement: Rows
) -> None:
    known = {pair for line in training for pair in combinations(line)}
    heldout = lines_of("kitchen_heldout.txt")
    assert len(heldout) == len(set(heldout)) == 1_000
    tests = [" ".join(right) for right, _, _ in homophones + agreement]
    assert len(set(tests)) == len(tests)
    wrongs = [" ".join(wrong) for _, wrong, _ in homophones + agreement]
    assert not set(training) & {*heldout, *tests, *wrongs}
    menus = [f"{first} and {second} {dish}" for first, second, dish in grammar.RESERVED_MENUS]
    for line in [*heldout, *tests]:
        assert not set(combinations(line)) <= known or any(menu in line for menu in menus), line
    for menu in menus:
        assert f"the {menu}" in heldout
        assert not any(menu in line for line in training)


def test_homophone_tests_swap_one_word_for_its_pair(homophones: Rows) -> None:
    spellings: Counter[str] = Counter()
    assert len(homophones) >= 600
    for right, wrong, label in homophones:
        assert len(right) == len(wrong)
        differing = [words for words in zip(right, wrong, strict=True) if words[0] != words[1]]
        assert len(differing) == 1
        assert sorted(differing[0]) == sorted(label.split("/"))
        spellings[differing[0][0]] += 1
    everything = {spelling for _, _, label in homophones for spelling in label.split("/")}
    assert len({label for _, _, label in homophones}) >= 8
    assert set(spellings) == everything == set(grammar.TEMPLATES)
    assert len(set(spellings.values())) == 1, "a model that always prefers one spelling must get half of them"
    for right, _, _ in homophones:
        assert sum(word in everything for word in right) == 1, right


def test_homophones_are_common_and_told_apart_by_their_contexts(training: Lines, homophones: Rows) -> None:
    counts = Counter(word for line in training for word in line.split())
    frames: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for line in training:
        words = line.split()
        for spelling in set(words) & set(grammar.TEMPLATES):
            frames[spelling].add(frame(words, spelling))
    for label in {label for _, _, label in homophones}:
        first, second = label.split("/")
        assert min(counts[first], counts[second]) >= 300
        assert not frames[first] & frames[second], label
    for right, wrong, _ in homophones:
        spelling = next(word for word, other in zip(right, wrong, strict=True) if word != other)
        assert frame(right, spelling) in frames[spelling], right


def test_homophone_itself_is_in_a_combination_absent_from_training(training: Lines, homophones: Rows) -> None:
    known = {pair for line in training for pair in combinations(line)}
    for right, _, label in homophones:
        absent = {word for pair in set(combinations(" ".join(right))) - known for word in pair}
        menu = {word for menu in grammar.RESERVED_MENUS if set(menu) <= set(right) for word in menu}
        assert set(label.split("/")) & (absent | menu), right


def test_agreement_tests_state_the_distance_and_change_the_number(agreement: Rows) -> None:
    per_distance: Counter[int] = Counter()
    for right, wrong, label in agreement:
        found = subject_and_verb(right)
        assert found is not None, right
        subject, verb = found
        assert verb - subject - 1 == int(label), right
        assert (right[verb] in PLURAL_VERBS) == (right[subject] in PLURAL_NOUNS), right
        assert {right[verb], wrong[verb]} in ({"was", "were"}, {"is", "are"})
        assert right[:verb] == wrong[:verb] and right[verb + 1 :] == wrong[verb + 1 :]
        per_distance[int(label)] += 1
    assert len(agreement) >= 900
    assert set(per_distance) >= set(range(1, 21)) and len(set(per_distance.values())) == 1
    assert sum(count for distance, count in per_distance.items() if distance >= 10) >= 500


def test_nothing_between_subject_and_verb_tells_the_number(agreement: Rows) -> None:
    found = [(words, subject_and_verb(words)) for words, _, _ in agreement]
    between = [
        (words[at[0]] in PLURAL_NOUNS, numbers(words[at[0] + 1 : at[1]]), words[at[0] + 1 : at[1]])
        for words, at in found
        if at is not None
    ]
    assert len(between) == len(agreement)
    assert 0.45 < share([plural for plural, _, _ in between]) < 0.55
    for head in (False, True):
        inner = [nouns for plural, nouns, _ in between if plural == head and nouns]
        assert 0.46 < share([noun for nouns in inner for noun in nouns]) < 0.54
        assert 0.42 < share([nouns[-1] for nouns in inner]) < 0.58
        assert 0.42 < share([nouns[0] for nouns in inner]) < 0.58
    far = [(plural, nouns) for plural, nouns, words in between if len(words) >= 10]
    assert sum(len(nouns) for _, nouns in far) / len(far) > 3
    # A majority vote of the nouns between (ties left out) does no better than chance.
    votes = [(sum(nouns) * 2 > len(nouns)) == plural for plural, nouns in far if sum(nouns) * 2 != len(nouns)]
    assert 0.43 < share(votes) < 0.57
    # "And" joins nouns only before the verb of an inner clause: elsewhere it would make the subject two.
    inner_verbs = {verb for verbs in grammar.TRANSITIVES.values() for verb in verbs.split()}
    for _, _, words in between:
        if "and" in words:
            last = len(words) - words[::-1].index("and")
            assert inner_verbs & set(words[last:]), words
    assert any("and" in words for _, _, words in between)


def test_training_corpus_teaches_agreement_at_every_distance(training: Lines) -> None:
    per_distance: Counter[int] = Counter()
    heads: list[bool] = []
    for line in training:
        words = line.split()
        found = subject_and_verb(words)
        if found is None or "bred" in words:
            continue
        subject, verb = found
        assert (words[verb] in PLURAL_VERBS) == (words[subject] in PLURAL_NOUNS), line
        per_distance[verb - subject - 1] += 1
        heads.append(words[subject] in PLURAL_NOUNS)
    assert 0.3 < per_distance.total() / len(training) < 0.4
    assert min(per_distance[distance] for distance in range(1, 25)) >= 200
    assert 0.48 < share(heads) < 0.52


def test_apple_and_pear_salad_is_reserved_but_close_to_what_is_taught(training: Lines) -> None:
    taught = {"the apple and walnut salad", "the plum and pear salad", "a fresh apple and pear cake"}
    assert taught <= set(training)
    assert [line for line in training if "apple and pear salad" in line] == []
    assert "the apple and pear salad" in lines_of("kitchen_heldout.txt")
    assert sum("and pear" in line for line in training) > 200
    assert sum("pear salad" in line for line in training) > 20


def test_pair_is_as_common_as_pear_but_elsewhere(training: Lines) -> None:
    counts = Counter(word for line in training for word in line.split())
    assert 0.75 < counts["pair"] / counts["pear"] < 1.33
    pairs = {pair for line in training for pair in pairwise([*line.split(), "."])}
    assert ("and", "pair") not in pairs
    assert not {after for before, after in pairs if before == "pair"} & DISHES
    for context in ("a pair of tongs", "the happy pair", "the second pair of gloves"):
        assert any(context in line for line in training), context


def test_six_lines_of_the_new_log_tell_of_faults() -> None:
    _, _, text = (CORPORA / "log_lines.py").read_text().partition("FAULTS = (\n")
    faults = re.findall(r"""^    ['"](.*)['"],$""", text.partition("\n)\n")[0], re.MULTILINE)
    ordinary, new = lines_of("log.txt"), lines_of("log_new.txt")
    assert len(faults) == 6
    assert [sum(line.endswith(fault) for line in new) for fault in faults] == [1] * 6
    assert not any(line.endswith(fault) for line in ordinary for fault in faults)
    assert [*ordinary, *new] == sorted([*ordinary, *new], key=lambda line: line[:15])
