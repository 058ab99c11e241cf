"""A unit over a text: it remembers the number of the subject until the verb."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from charlm.inference.activations import ReadLine, Recorder, Unit, values_of
from tests.pictures.drawing import LETTER, WIDTH, Cell, table
from tests.pictures.runs import agreement, lines_of

SHOWN = 4  # sentences of each number
DISTANCE = 9  # words from the subject to the verb of the sentences that are shown
GAP = 5
PLURAL = re.compile(r" (were|are)\b")


def drawn() -> str:
    """Return sentences in the colours of the unit that tells singular from plural best."""
    rows = [line.split("\t") for line in lines_of("kitchen_agreement.tsv")[1:]]
    sentences = [(right, int(distance), bool(PLURAL.search(right))) for right, _, distance in rows]
    recorder = Recorder(agreement("gru"))
    units = [Unit(0, number, recorder.main) for number in range(recorder.units)]
    lines = list(values_of(recorder, (right for right, _, _ in sentences), units))
    before_verb = np.stack([_before_verb(line) for line in lines])
    are_plural = np.array([is_plural for _, _, is_plural in sentences])
    plural, singular = before_verb[are_plural], before_verb[~are_plural]
    apart = np.abs(plural.mean(axis=0) - singular.mean(axis=0)) / (plural.std(axis=0) + singular.std(axis=0))
    best = int(apart.argmax())
    border = (plural[:, best].mean() + singular[:, best].mean()) / 2
    right = ((before_verb[:, best] > border) == (are_plural if plural[:, best].mean() > border else ~are_plural)).mean()
    shown = [
        [
            _cells(line, best)
            for line, (text, distance, is_plural) in zip(lines, sentences, strict=True)
            if (distance, is_plural) == (DISTANCE, number) and LETTER * len(text) + GAP * len(line.tokens) < WIDTH - 60
        ][:SHOWN]
        for number in (False, True)
    ]
    figure = f"before the verb, its value tells singular from plural in {100 * right:.1f} % of {len(lines):,} sentences"
    return table(
        f"Unit {best} of a gru: the number of the subject, until the verb has come",
        f"Four sentences with a singular subject, then four with a plural one. {figure.capitalize()}.",
        [*shown[0], *shown[1]],
        f"blue: above 0, red: below 0; {figure}",
        gap=GAP,
    )


def _before_verb(line: ReadLine[np.ndarray]) -> np.ndarray:
    """Return the values [units] after the word before the verb."""
    values = np.concatenate(line.selected)
    return values[next(at for at, word in enumerate(line.tokens) if word in ("was", "were", "is", "are")) - 1]


def _cells(line: ReadLine[np.ndarray], unit: int) -> Sequence[Cell]:
    values = np.concatenate(line.selected)[:, unit].tolist()
    return [
        Cell(word, "plus" if value > 0 else "minus", abs(value))
        for word, value in zip(line.tokens, values, strict=True)
    ]
