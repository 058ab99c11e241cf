"""The characters of words as numbers, for a network that reads a word by its spelling too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from charlm.text.tokens.vocabulary import NOTHING

LONGEST = 64  # characters; of a longer word the first and the last half of as many are read
UNKNOWN = 0  # the number of all characters that are not in the list

_FEWEST = 2  # words that a character needs to be in the list: the others teach what an unknown character is


def common_characters(words: Iterable[str]) -> tuple[str, ...]:
    """Return the characters that at least two different words have, in order of falling count, then of code points.

    words: those of the training part, each once
    """
    found = Counter(character for word in words for character in set(word))
    common = (character for character, count in found.items() if count >= _FEWEST)
    return tuple(sorted(common, key=lambda character: (-found[character], character)))


def spelled(words: Iterable[str], characters: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return the characters of words as numbers, `[n, K]`, `NOTHING` after the last one of each word.

    characters: the list; its first one has the number 1, and one that is not in the list has `UNKNOWN`
    """
    numbers = {character: number for number, character in enumerate(characters, UNKNOWN + 1)}
    rows = [[numbers.get(character, UNKNOWN) for character in _shortened(word)] for word in words]
    table = np.full((len(rows), max(map(len, rows), default=0)), NOTHING, np.int32)
    for row, of_word in zip(table, rows, strict=True):
        row[: len(of_word)] = of_word
    return table


def _shortened(word: str) -> str:
    return word if len(word) <= LONGEST else word[: LONGEST // 2] + word[-LONGEST // 2 :]
