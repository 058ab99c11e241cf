"""What an unknown word looks like: its capitals, digits and ending, which say much of what kind of word it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_ENDING = 3  # letters
_FEWEST = 2  # words that a shape needs to be one


def shapes_of(word: str) -> tuple[str, str]:
    """Give a word's shapes, the more telling one first: with its ending, and without.

    Written so that no word is one: `<UNK Aa-ing>`, `<UNK Aa>`.
    """
    if any(character.isdigit() for character in word):
        case = "0"
    elif word[:1].isupper():
        case = "AA" if word.isupper() and len(word) > 1 else "Aa"
    else:
        case = "a" if word[:1].isalpha() else "."
    return f"<UNK {case}-{word[-_ENDING:].lower()}>", f"<UNK {case}>"


def common_shapes(rare: Iterable[str]) -> list[str]:
    """Give the shapes that at least two of some different words have, in alphabetical order.

    rare: the words of a corpus that its vocabulary leaves out: each is learned as its shape, and what is not known when
    the model is used is read as its own.
    """
    found = Counter(shape for word in rare for shape in shapes_of(word))
    return sorted(shape for shape, count in found.items() if count >= _FEWEST)
