"""Scores of the parts of a line as it is written: of each token, with what stands between tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charlm.inference.scoring import Score
from charlm.text import Splitter
from charlm.text.tokens.parts import written_parts


@dataclass(frozen=True)
class PartScore:
    """The surprisal of a part of a line.

    text: as it is written
    bits: -log2 P, summed over its tokens
    tokens, oov: number of its tokens, 0 for white space between words; and of those out of vocabulary
    """

    text: str
    bits: float
    tokens: int
    oov: int


def part_scores(score: Score, splitter: Splitter) -> tuple[list[PartScore], PartScore | None]:
    """Return the scores of the parts of a line, whose texts together are the line, and that of `<EOS>` if it is scored.

    score: of a `Scorer` with `per_token`
    splitter: that of the model's tokenizer
    """
    tokens = score.token_scores

    def part(text: str, start: int, end: int) -> PartScore:
        of_part = tokens[start:end]
        bits = math.fsum(token.nats for token in of_part) / math.log(2.0)
        return PartScore(text, bits, len(of_part), sum(token.oov for token in of_part))

    parts = [part(one.text, one.start, one.end) for one in written_parts(score.text, splitter)]
    return parts, part("", len(tokens) - 1, len(tokens)) if score.has_eos else None
