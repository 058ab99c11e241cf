"""Measures of how odd a line is, by which lines are ranked and filtered. The higher, the odder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charlm.errors import UsageError

if TYPE_CHECKING:  # options of the command line are made from these names before NumPy is loaded
    from charlm.inference.scoring import Score


@dataclass(frozen=True)
class Measure:
    """One number for a line.

    name: as in --by
    key: of a record
    unit: for people
    of: the function of a line's score; NaN for a line without characters or tokens
    """

    name: str
    key: str
    unit: str
    of: Callable[[Score], float]


def _bits_per_char(score: Score) -> float:
    return score.bits_per_char


def _bits(score: Score) -> float:
    return score.nats / math.log(2.0)


def _perplexity(score: Score) -> float:
    return score.perplexity


MEASURES = {
    one.name: one
    for one in (
        Measure("bits-per-char", "bits_per_char", "bits/char", _bits_per_char),
        Measure("bits", "bits", "bits", _bits),
        Measure("perplexity", "perplexity", "perplexity", _perplexity),
    )
}
MEASURE_NAMES = tuple(MEASURES)
DEFAULT = "bits-per-char"


def measure_of(name: str) -> Measure:
    """Return a measure by its name; raise UsageError for an unknown one."""
    if name not in MEASURES:
        raise UsageError(f"unknown measure {name!r}", hint=f"choose one of: {', '.join(MEASURES)}")
    return MEASURES[name]
