"""Randomness that is a function of the seed and of what it is for: there is no generator state to keep or to lose."""

from __future__ import annotations

import numpy as np

INITIALISE, SHUFFLE, DROPOUT, SAMPLE = range(4)  # what randomness is for: the first number of a stream


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Make the generator of one purpose, e.g. `generator(seed, SHUFFLE, epoch)`; the same numbers, the same draws."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)))


def key(seed: int, *stream: int) -> int:
    """Draw a 64-bit key for a hash, e.g. `key(seed, DROPOUT, step)`."""
    return int(np.random.SeedSequence(seed, spawn_key=stream).generate_state(1, np.uint64)[0])
