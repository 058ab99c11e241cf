"""Batches of one stream, of which only a few steps are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np

from charlm.text.batches.lanes import NO_TARGET, Batch, LaneBatches
from charlm.text.tokens.vocabulary import NOTHING

_READ_AHEAD = 1 << 18  # tokens, in all lanes together


class Tokens(Protocol):
    """Ids one after the other, in memory or not."""

    @property
    def size(self) -> int:
        """How many there are."""

    def __getitem__(self, where: slice, /) -> np.ndarray:
        """Give the ids of a slice, int32."""


class StreamBatches(LaneBatches):
    """One sequence cut into equal lanes side by side; from batch to batch the state is carried on.

    ids [N]: int32, read a few batches at a time
    context: tokens before its own that each lane reads first, without being asked for them, so that a measurement
        hardly depends on where the text is cut
    """

    def __init__(self, ids: np.ndarray | Tokens, *, batch_size: int, seq_length: int, context: int = 0) -> None:
        super().__init__(batch_size, seq_length)
        self.ids: Tokens = ids
        edges = ids.size * np.arange(batch_size + 1) // batch_size
        self._begins, self._ends = edges[:-1], edges[1:]
        self._reads = np.maximum(self._begins - context, 0)
        self._length = int((self._ends - self._reads).max())

    def lane_length(self, epoch: int) -> int:
        return self._length

    def lanes(self, epoch: int) -> Batch:
        return self._rows(0, self._length)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        count = self.steps(epoch)
        together = max(1, _READ_AHEAD // (self.batch_size * self.seq_length))
        for first in range(skip, count, together):
            edges = [self._length * index // count for index in range(first, min(first + together, count) + 1)]
            rows = self._rows(edges[0], edges[-1]).unchanging()
            for start, end in pairwise(edge - edges[0] for edge in edges):
                starts = None if first or start or rows.starts is None else rows.starts[:end]
                yield Batch(rows.inputs[start:end], rows.targets[start:end], starts)

    def _rows(self, start: int, end: int) -> Batch:
        """Give the steps `start:end` of all lanes; only the first of all has starts."""
        shape = (end - start, self.batch_size)
        rows = Batch(np.full(shape, NOTHING, np.int32), np.full(shape, NO_TARGET, np.int32), np.zeros(shape, bool))
        assert rows.starts is not None
        rows.starts[:1] = start == 0
        lanes = zip(self._reads.tolist(), self._begins.tolist(), self._ends.tolist(), strict=True)
        for lane, (read, begin, stop) in enumerate(lanes):
            at, until = read + start, min(read + end, stop)
            if at < until:
                found = self.ids[max(at - 1, 0) : until]
                there, before = until - at, min(at, 1)
                asked = max(begin - at, 0)
                rows.inputs[1 - before : there, lane] = found[:-1]
                rows.targets[asked:there, lane] = found[before + asked :]
        return rows
