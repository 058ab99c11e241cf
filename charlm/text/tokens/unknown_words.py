"""Shapes of unknown words: their capitals, digits and endings, which often reveal the part of speech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_ENDING = 3  # letters
_FEWEST = 2  # words that a shape needs to be one


def shapes_of(word: str) -> tuple[str, str]:
    """Return the shapes of a word, with its ending and without: `<UNK Aa-ing>` and `<UNK Aa>`.

    The space makes sure that no word is spelled like a shape.
    """
    if any(character.isdigit() for character in word):
        case = "0"
    elif word[:1].isupper():
        case = "AA" if word.isupper() and len(word) > 1 else "Aa"
    else:
        case = "a" if word[:1].isalpha() else "."
    return f"<UNK {case}-{word[-_ENDING:].lower()}>", f"<UNK {case}>"


def common_shapes(rare: Iterable[str]) -> list[str]:
    """Return the shapes that at least two different words have, in alphabetical order.

    rare: the words of the training part that are out of vocabulary; the model learns each of them as its shape
    """
    found = Counter(shape for word in rare for shape in shapes_of(word))
    return sorted(shape for shape, count in found.items() if count >= _FEWEST)
