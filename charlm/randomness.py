"""Randomness as a function of a seed and a purpose, so that no generator state has to be stored."""

from __future__ import annotations

import numpy as np

# Purposes: the first number of a stream.
INITIALISE, SHUFFLE, DROPOUT, SAMPLE, WEIGHT_NOISE = range(5)


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Return the generator of a purpose, e.g. `generator(seed, SHUFFLE, epoch)`; same arguments, same draws."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)))


def key(seed: int, *stream: int) -> int:
    """Return a 64-bit key for a hash, e.g. `key(seed, DROPOUT, step)`."""
    return int(np.random.SeedSequence(seed, spawn_key=stream).generate_state(1, np.uint64)[0])
