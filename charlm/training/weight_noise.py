"""Noise on all weights while a batch is read and learned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from charlm.backends import Array, Backend
from charlm.nn.parameters import Parameters
from charlm.randomness import WEIGHT_NOISE, generator

_CHUNK = 1 << 16  # elements drawn by one generator: the same ones for any number of threads and on every device


@contextlib.contextmanager
def noisy(parameters: Parameters, ops: Backend, clean: Array, scale: float, seed: int, step: int) -> Iterator[None]:
    """Use w' = w + scale n as the weights inside the block, n ~ N(0, 1), drawn anew for each step.

    A gradient that is computed inside the block is dL/dw at w'. Since dw'/dw = 1, it is that of w too, and the
    optimizer's step moves w. Source: Jim, Giles and Horne 1996; Graves 2013, with scale 0.075.

    clean [n]: overwritten with w, which the weights are again after the block, bit by bit
    seed, step: of the training; they alone decide what is drawn
    """
    values = parameters.values

    def of_chunk(first: int) -> None:
        w = values[first : first + _CHUNK]
        clean[first : first + _CHUNK] = w
        n = generator(seed, WEIGHT_NOISE, step, first).standard_normal(w.size, dtype=w.dtype.type)
        n *= scale
        w += ops.array(n)

    def of_block(block: slice) -> None:
        values[block] = clean[block]

    ops.workers.each(of_chunk, range(0, values.size, _CHUNK))
    try:
        yield
    finally:
        ops.workers.each(of_block, ops.blocks(values.size))
