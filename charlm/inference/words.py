"""Scores of written words: what white space sets apart in a line, its punctuation included."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from charlm.inference.scoring import Score
from charlm.text import EOS, Splitter
from charlm.text.tokens.parts import written_spans
from charlm.text.tokens.splitter import WhitespaceSplitter

_WRITTEN = re.compile(r"\S+")
# The same as in this splitter: its tokens may contain other white space, such as U+00A0.
_BETWEEN_ASCII_SPACE = re.compile(r"[^ \t\n\v\f\r]+")


@dataclass(frozen=True)
class WrittenWord:
    """A written word of a line, and its tokens.

    word: as it is written in the line; `<EOS>` for the end of the line
    start, end: its tokens are those from `start` to before `end` of the line's tokens
    at: where it begins in the line
    """

    word: str
    start: int
    end: int
    at: int = 0


@dataclass(frozen=True)
class WordScore:
    """The probability of a written word.

    nats: -ln P, summed over its tokens
    tokens, oov: number of its tokens, and of those out of vocabulary
    """

    word: str
    nats: float
    tokens: int
    oov: int


def written_words(line: str, splitter: Splitter, *, has_eos: bool = True) -> list[WrittenWord]:
    """Return the written words of a line, which together have all of its tokens.

    White space that is a token, as for a character model, belongs to the word before it: it is what ends that word.
    White space at the start of the line belongs to the first word. `<EOS>` stands at the end as a word of its own. A
    line of white space only has no other word, and its tokens belong to `<EOS>`, or without that to the word "". A
    token of white space and letters, as a piece may be, belongs to the word of its letters.

    splitter: the rule by which the line was split into tokens
    has_eos: whether the end of the line is a token
    """
    if splitter.has_spaced_tokens:
        return _words_of_spaced(line, splitter, has_eos=has_eos)
    pattern = _BETWEEN_ASCII_SPACE if isinstance(splitter, WhitespaceSplitter) else _WRITTEN
    found = list(pattern.finditer(line))
    starts = [0, *(match.start() for match in found[1:]), len(line)] if found else [0]
    words, count = [], 0
    for match, start, end in zip(found, starts, starts[1:], strict=False):
        # No token spans white space, so the parts of a line are split as the line is.
        tokens = len(splitter.split(line[start:end]))
        words.append(WrittenWord(match[0], count, count + tokens, match.start()))
        count += tokens
    if not found and (spaces := len(splitter.split(line))):
        if not has_eos:
            return [WrittenWord("", 0, spaces)]
        return [WrittenWord(EOS, 0, spaces + 1)]
    return [*words, WrittenWord(EOS, count, count + 1, len(line))] if has_eos else words


def _words_of_spaced(line: str, splitter: Splitter, *, has_eos: bool) -> list[WrittenWord]:
    """Return the written words of a line whose tokens may contain white space beside letters."""
    begins = token_begins(line, splitter)
    found = list(_WRITTEN.finditer(line))
    if not found:
        if not has_eos:
            return [WrittenWord("", 0, len(begins))] if begins else []
        return [WrittenWord(EOS, 0, len(begins) + 1, 0 if begins else len(line))]
    starts = [0, *(bisect_left(begins, match.start()) for match in found[1:]), len(begins)]
    words = [WrittenWord(match[0], *at, match.start()) for match, at in zip(found, pairwise(starts), strict=True)]
    return [*words, WrittenWord(EOS, len(begins), len(begins) + 1, len(line))] if has_eos else words


def token_begins(line: str, splitter: Splitter) -> list[int]:
    """Return the place in a line of the first character of each token that is not white space, or of its white space.

    Places do not fall. Bytes of one character have its place.
    """
    places, last = [], 0
    for start, end in written_spans(line, splitter):
        part = line[start:end]
        last = max(last, start + (len(part) - len(part.lstrip()) if part.strip() else 0))
        places.append(last)
    return places


def word_scores(score: Score, splitter: Splitter) -> list[WordScore]:
    """Return the score of each written word of a line; they sum to the score of the line.

    score: of a `Scorer` with `per_token`
    splitter: that of the model's tokenizer
    """
    tokens = score.token_scores
    words = written_words(score.text, splitter, has_eos=score.has_eos)
    assert len(tokens) == (words[-1].end if words else 0)
    return [
        WordScore(
            one.word,
            math.fsum(token.nats for token in tokens[one.start : one.end]),
            one.end - one.start,
            sum(token.oov for token in tokens[one.start : one.end]),
        )
        for one in words
    ]
