"""Word vectors in the text form of word2vec, GloVe and fastText: a line is a word and its numbers, set apart by blanks.

word2vec and fastText have a first line with the number of words and the size of a vector; GloVe has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from charlm.errors import CorpusError
from charlm.text.lines.reading import numbered

_HEADER = 2  # fields of the first line


def vector_size(lines: Iterable[str]) -> int:
    """Return how many numbers each vector has; raise CorpusError if the first line has neither a size nor a vector."""
    line, place = next(numbered(lines), ("", "line 1"))
    fields = line.split()
    is_header = len(fields) == _HEADER and all(field.isdecimal() for field in fields)
    size = int(fields[1]) if is_header else len(fields) - 1
    if size < 1:
        raise _malformed(place)
    return size


def read_vectors(lines: Iterable[str], words: Collection[str]) -> dict[str, np.ndarray]:
    """Return the vectors of some words, `[size]` float32, by word; the first one of a word that occurs twice.

    Raises CorpusError with the place of a line with other than `size` finite numbers.
    """
    found: dict[str, np.ndarray] = {}
    for word, numbers, place in _rows(lines):
        if word in words and word not in found:
            found[word] = _vector(numbers, place)
    return found


def _rows(lines: Iterable[str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield each word with the fields of its vector and its place."""
    size = 0
    for line, place in numbered(lines):
        fields = line.rstrip().split(" ")
        if not size:
            size = vector_size([line])
            if len(fields) == _HEADER and all(field.isdecimal() for field in fields):
                continue
        # A word may contain blanks.
        word, numbers = " ".join(fields[:-size]), fields[-size:]
        if not word:
            raise _malformed(place)
        yield word, numbers, place


def _vector(numbers: list[str], place: str) -> np.ndarray:
    try:
        vector = np.array(numbers, np.float32)
    except ValueError:
        raise _malformed(place) from None
    if not np.isfinite(vector).all():
        raise _malformed(place)
    return vector


def _malformed(place: str) -> CorpusError:
    return CorpusError(
        f"malformed vector, {place}", hint="give word2vec's, GloVe's or fastText's text form: a word and its numbers"
    )
