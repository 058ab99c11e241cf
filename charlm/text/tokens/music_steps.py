"""Pieces of music as text: a step is the set of keys that sound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

REST = "-"  # a step at which nothing sounds
PIANO = range(21, 109)  # the keys that every model knows, as MIDI numbers
HIGHEST_KEY = 127

_STEP = re.compile(r"-|\d{1,3}(?:,\d{1,3})*")


def parse_steps(text: str) -> Iterator[tuple[int, ...]]:
    """Yield the steps of a piece, each the MIDI numbers of its keys.

    text: steps separated by white space; the keys of a step are joined by commas, and `-` is a rest
    Raises ValueError, which names the step, for a malformed step.
    """
    for number, found in enumerate(re.finditer(r"\S+", text), start=1):
        step = found[0]
        try:
            yield _parsed(step)
        except ValueError:
            raise ValueError(
                f"step {number} is {step[:40]!r}, not MIDI numbers of 0 to {HIGHEST_KEY} joined by commas"
            ) from None


@lru_cache(maxsize=4096)
def _parsed(step: str) -> tuple[int, ...]:
    """Return the keys of a step; equal steps are one object, so that a long piece of few of them is small."""
    if step == REST:
        return ()
    if not _STEP.fullmatch(step):
        raise ValueError
    keys = tuple(map(int, step.split(",")))
    if max(keys) > HIGHEST_KEY:
        raise ValueError
    return keys


def format_step(keys: Sequence[int]) -> str:
    """Return the text of a step, as `parse_steps` reads it."""
    return ",".join(map(str, sorted(keys))) or REST
