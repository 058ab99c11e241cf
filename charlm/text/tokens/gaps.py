"""The gaps of a line that are to be filled."""

from __future__ import annotations

import re
import unicodedata

from charlm.text.tokens.splitter import Level

GAP = "___"
MOST_SIDE_BY_SIDE = 8  # characters to be filled in one run of underscores; a longer run is a horizontal rule

_UNDERSCORES = re.compile(f"{GAP}_*")


def find_gaps(text: str, level: Level) -> list[tuple[int, int]]:
    """Return the start and the end of each gap of a line, in order.

    At word level a run of three or more underscores is one gap, unless a letter, a digit or a combining mark touches
    it. At character level each `___` is a gap of one character. A run of more than `MOST_SIDE_BY_SIDE` of them, or of a
    length that is not a multiple of three, is text.
    """
    gaps: list[tuple[int, int]] = []
    for run in _UNDERSCORES.finditer(text):
        start, end = run.span()
        if level == "char":
            count, rest = divmod(end - start, len(GAP))
            if not rest and count <= MOST_SIDE_BY_SIDE:
                gaps += [(at, at + len(GAP)) for at in range(start, end, len(GAP))]
        elif not any(map(_is_in_word, text[start - 1 : start] + text[end : end + 1])):
            gaps.append((start, end))
    return gaps


def _is_in_word(character: str) -> bool:
    # A decomposed letter ends with a mark, and counts as a letter like a composed one.
    return character.isalnum() or unicodedata.category(character).startswith("M")
