"""A heat map of sentences: how surprising each word is."""

from __future__ import annotations

import math

from charlm.inference.scoring import Scorer
from tests.pictures.drawing import Cell, table
from tests.pictures.runs import kitchen

SENTENCES = [
    "the apple and pear salad",
    "the apple and pair salad",
    "the waiter bought a pair of boots",
    "the waiter bought a pear of boots",
    "the old cook baked a plum tart for the guests",
    "the old tart baked a plum cook for the guests",
]
DARKEST = 16.0  # bits of the strongest colour


def drawn() -> str:
    """Return sentences with the surprisal of each word."""
    scores = list(Scorer(kitchen(), per_token=True).score(SENTENCES))
    rows = [[_cell(token.token, token.nats / math.log(2)) for token in score.token_scores] for score in scores]
    described = "; ".join(" ".join(f"{cell.token} {cell.below}" for cell in row) for row in rows)
    note = "bits: -log2 P(word | the words before it); one bit is a choice between two equally likely words"
    return table("Surprisal of each word, by a word model of the kitchen", described, rows, note, gap=14)


def _cell(token: str, bits: float) -> Cell:
    return Cell(token, "hot", min(1.0, bits / DARKEST), f"{bits:.1f}")
