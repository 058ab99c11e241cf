"""Dropout of whole words: of rows of the embedding."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Backend
from charlm.nn.dropout import factors, key_at
from charlm.nn.embedding import Embedding
from charlm.nn.layer import State
from charlm.nn.workspace import Workspace


class DroppedEmbedding(Embedding):
    """x<t> = E[v] m_v / (1 - rate) for the token v; m_v is 0 with probability `rate`, else 1.

    Source: Gal and Ghahramani 2016, Merity et al. 2018. A batch drops a token everywhere or nowhere. An output layer
    that shares E keeps all of its rows.

    place: as of `Dropout`
    """

    def __init__(
        self, ops: Backend, vocabulary_size: int, size: int, *, rms: float = 1.0, rate: float, place: int
    ) -> None:
        super().__init__(ops, vocabulary_size, size, rms=rms)
        self.rate, self.place = rate, place

    def forward(
        self, x: Array, state: State, ws: Workspace, *, starts: np.ndarray | None = None, noise: int | None = None
    ) -> tuple[Array, State]:
        y, after = super().forward(x, state, ws)
        of_steps = None
        if noise is not None:
            of_tokens = factors((self.n_in, 1, 1), self.rate, key_at(noise, self.place), ws)
            of_steps = ws.steps("factors", (len(x), 1, x.shape[1]))
            self.ops.lookup(of_tokens[:, :, 0], x, out=of_steps)
            np.multiply(y, of_steps, out=y)
        ws.keep("factors", of_steps)
        return y, after

    def backward(self, dy: Array, d_state: State, ws: Workspace) -> tuple[Array, State]:
        """dE[v] = sum of dL/dx<t> m_v / (1 - rate) over all t at which v was read."""
        if (of_steps := ws.kept("factors")) is not None:
            masked = ws.steps("x", dy.shape)
            np.multiply(dy, of_steps, out=masked)
            dy = masked
        return super().backward(dy, d_state, ws)
