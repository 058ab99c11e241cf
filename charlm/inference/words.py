"""Scores of written words: what white space sets apart in a line, its punctuation included."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from charlm.inference.scoring import Score
from charlm.text import EOS, Splitter
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
    line of white space only has no other word, and its tokens belong to `<EOS>`, or without that to the word "".

    splitter: the rule by which the line was split into tokens
    has_eos: whether the end of the line is a token
    """
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
