"""Where the tokens of a line stand in it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from charlm.text.tokens.splitter import Splitter

# Vowels and final consonants of Hangul, which compose with the letter before, as combining marks do.
_JAMO = range(0x1160, 0x1200)


@dataclass(frozen=True)
class WrittenPart:
    """A part of a line: the text of a token, or what stands between tokens.

    text: as it is written in the line
    start, end: its tokens are those from `start` to before `end` of the line's tokens: none for white space between
        words, several where one character is several tokens, as "½" may be in the form NFKC
    """

    text: str
    start: int
    end: int


def written_parts(line: str, splitter: Splitter) -> list[WrittenPart]:
    """Return the parts of a line, whose texts together are the line and whose tokens are all of its tokens.

    splitter: the rule by which the line is split into tokens
    """
    parts: list[WrittenPart] = []
    at = number = 0
    for number, (start, end) in enumerate(written_spans(line, splitter), start=1):
        if parts and end <= at:
            parts[-1] = replace(parts[-1], end=number)
            continue
        if start > at:
            parts.append(WrittenPart(line[at:start], number - 1, number - 1))
        # A token may begin within a character: "¼0" is "1", "⁄" and "40" in the form NFKC.
        parts.append(WrittenPart(line[max(start, at) : end], number - 1, number))
        at = end
    if at < len(line):
        parts.append(WrittenPart(line[at:], number, number))
    return parts


def written_spans(line: str, splitter: Splitter) -> list[tuple[int, int]]:
    """Return the start and the end of each token in a line; tokens of the same characters have the same ones."""
    spans, spelled = splitter.spans(line), splitter.spelled(line)
    if line.isascii() or spelled == line:
        return spans
    of_characters = _spans_of_characters(line, splitter, len(spelled))
    return [(of_characters[start][0], of_characters[end - 1][1]) for start, end in spans]


def _spans_of_characters(line: str, splitter: Splitter, count: int) -> list[tuple[int, int]]:
    """Return the start and the end in a line of each of the `count` characters that it is spelled with.

    The line is cut into letters with their marks, which are spelled apart from each other.
    """
    begins = [at for at, character in enumerate(line) if at == 0 or not _continues(character)]
    spans: list[tuple[int, int]] = []
    for begin, end in zip(begins, [*begins[1:], len(line)], strict=True):
        spelled = len(splitter.spelled(line[begin:end]))
        last = end - 1
        spans += [(min(begin + at, last), min(begin + at + 1, end)) for at in range(spelled)]
        if spelled and spans[-1][1] < end:  # a letter and its marks became one character
            spans[-1] = (spans[-1][0], end)
    # A rule that looks beyond a letter moves the rest by a character or two: the parts still make up the line.
    spans += [(len(line) - 1, len(line))] * (count - len(spans))
    return spans[:count]


def _continues(character: str) -> bool:
    """Return whether a character may be spelled together with the one before."""
    return unicodedata.category(character).startswith("M") or ord(character) in _JAMO
