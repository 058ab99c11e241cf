"""Write n-best lists of the held-out kitchen sentences, the same bytes from the same seed everywhere.

    python corpora/kitchen_nbest.py [OUT_DIR]

They are what a recogniser without a language model could print: for each sentence the likeliest hypotheses by sound.

- ``kitchen_nbest.tsv``: 60 lists to tune weights with; ``kitchen_nbest_test.tsv``: 60 lists to measure with. A line
  is ``utterance TAB rank TAB score TAB text``, without a header; the score is a log-likelihood, the best first.
- ``kitchen_nbest_refs.tsv`` and ``kitchen_nbest_test_refs.tsv``: what was said, ``utterance TAB text``.

The sound of a word is its letters. A word is taken for one of those nearest to it in letters; homophones are nearest.
A short word may be missed, or heard in front of another word. Each word costs what its letters differ, and noise. So
many wrong words sound as good as the right one. A list holds the best sums, and always what was said.
"""

import argparse
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from random import Random

from kitchen_grammar import PAIRS, choose, heldout_lines, training_lines

SEED = 20270
LISTS = 60
LONGEST_LIST = 12
CHOICES = 6  # for each word
SHORT = ("a", "and", "in", "is", "of", "the", "to", "was")
PER_LETTER, PER_WORD, MISSED = 1.2, 2.0, 3.6  # costs of a differing letter, of a word, of a missed short one
NOISE = 0.8
Choice = tuple[float, str]


@cache
def distance(word: str, other: str) -> float:
    """Return how different two words sound: the letters that differ, and half a letter for homophones."""
    if (word, other) in PAIRS or (other, word) in PAIRS:
        return 0.5
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, start=1):
        diagonal, row[0] = row[0], i
        for j, its in enumerate(other, start=1):
            diagonal, row[j] = row[j], min(diagonal + (letter != its), row[j] + 1, row[j - 1] + 1)
    return float(row[-1])


def choices(random: Random, word: str, words: Iterable[str]) -> list[Choice]:
    """Return what a word may be taken for, with scores: the nearest words, two words, or nothing."""
    nearest = sorted(words, key=lambda other: (distance(word, other), other))[:CHOICES]
    costs = [(PER_WORD + PER_LETTER * distance(word, other), other) for other in nearest]
    costs.append((2 * PER_WORD + 1.5 * PER_LETTER, f"{choose(random, SHORT)} {word}"))
    if word in SHORT:
        costs.append((MISSED, ""))
    return [(random.gauss(0.0, NOISE) - cost, other) for cost, other in costs]


def nbest(random: Random, sentence: str, words: Iterable[str]) -> list[Choice]:
    """Return the best hypotheses for a sentence, the sentence itself among them, the best first."""
    beam: list[Choice] = [(0.0, "")]
    said = 0.0
    for word in sentence.split():
        found = choices(random, word, words)
        said += next(score for score, other in found if other == word)
        beam = sorted(
            {
                text: (score, text)
                for score, text in sorted(
                    (round(a + b, 6), f"{text} {other}".strip()) for a, text in beam for b, other in found
                )
            }.values(),
            reverse=True,
        )[:LONGEST_LIST]
    if all(text != sentence for _, text in beam):
        beam[-1] = (min(said, beam[-1][0]), sentence)
    return beam


def tables(name: str, sentences: Iterable[str], random: Random) -> Iterator[tuple[str, list[str]]]:
    """Yield the names and the lines of a table of lists and of its references."""
    words = sorted({word for line in training_lines() for word in line.split()})
    lists, references = [], []
    for number, sentence in enumerate(sentences, start=1):
        utterance = f"{name}-{number:02}"
        references.append(f"{utterance}\t{sentence}")
        for rank, (score, text) in enumerate(nbest(random, sentence, words), start=1):
            lists.append(f"{utterance}\t{rank}\t{score:.2f}\t{text}")
    yield "", lists
    yield "_refs", references


def main() -> None:
    """Write the four files into the folder named on the command line, or beside this one."""
    parser = argparse.ArgumentParser(description="Write n-best lists of the kitchen corpus.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, metavar="OUT_DIR")
    folder = parser.parse_args().folder
    random = Random(SEED)
    heldout = list(heldout_lines())
    random.shuffle(heldout)
    for part, start in (("", 0), ("_test", LISTS)):
        name = "test" if part else "dev"
        for suffix, lines in tables(name, heldout[start : start + LISTS], random):
            path = folder / f"kitchen_nbest{part}{suffix}.tsv"
            path.write_bytes("".join(line + "\n" for line in lines).encode("ascii"))


if __name__ == "__main__":
    main()
