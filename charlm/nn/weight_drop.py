"""Dropout of recurrent weights, with one mask for all steps of a batch."""

from __future__ import annotations

import copy
from typing import Any

from charlm.backends import Array
from charlm.nn.cells import Cell
from charlm.nn.dropout import key_at
from charlm.nn.workspace import Workspace


class WeightDrop:
    """z = W_a' a<t-1> + W_x x<t> + b with W_a' = W_a M / (1 - rate), M_ij = 0 with probability `rate`, else 1.

    Source: DropConnect, Wan et al. 2013; on recurrent weights, Merity et al. 2018. The weights are masked before the
    time loop, which takes W_a' in place of W_a. So dW_a = dW_a' M / (1 - rate).

    place: as of `Dropout`
    """

    def __init__(self, rate: float, place: int) -> None:
        self.rate, self.place = rate, place

    def dropped(self, cell: Cell, ws: Workspace, noise: int) -> Cell:
        """Return the cell with W_a' in place of W_a, the workspace's until its next `dropped` or `drop_grad`."""
        W_a = self._masked(cell.W_a, cell, ws, noise)
        twin: Cell = ws.once("dropped", lambda: copy.copy(cell))
        twin.W_a = W_a
        return twin

    def drop_grad(self, cell: Cell, ws: Workspace, noise: int) -> None:
        """Turn dW_a', which the bound gradient contains, into dW_a, after all products of a backward pass."""
        grad = cell.g["W"][:, : cell.hidden]
        grad[...] = self._masked(grad, cell, ws, noise)

    def _masked(self, weights: Array, cell: Cell, ws: Workspace, noise: int) -> Array:
        """Return weights [G·H, H] times the mask, in a buffer whose address does not change."""
        out: Any = ws.steps("W_a", (cell.rows, cell.hidden, 1))
        cell.ops.dropout(weights[:, :, None], rate=self.rate, key=key_at(noise, self.place), out=out)
        return out[:, :, 0]
