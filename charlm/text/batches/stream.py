"""Batches of one stream, of which only a few steps are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from charlm.text.batches.lanes import Batch, Batches, Lanes, blank, cut

_READ_AHEAD = 1 << 18  # tokens, in all lanes together
_FEWEST = 8  # batches read together: with many lanes, each call takes long


class StreamBatches(Batches):
    """One sequence cut into equal lanes side by side; from batch to batch the state is carried on.

    An epoch's batches differ in length by one step at most, so that none is much shorter than the others.

    size: tokens; read(start, stop): returns the ids of some tokens; it is called for a few batches at a time
    context: tokens before its own that each lane reads first and does not predict, so that a measurement hardly
        depends on where the text is cut
    """

    carries = True

    def __init__(
        self, size: int, read: Callable[[int, int], np.ndarray], *, batch_size: int, seq_length: int, context: int = 0
    ) -> None:
        self.batch_size, self.seq_length, self._read = batch_size, seq_length, read
        edges = size * np.arange(batch_size + 1) // batch_size
        self._begins, self._ends = edges[:-1], edges[1:]
        self._reads = np.maximum(self._begins - context, 0)
        self._length = int((self._ends - self._reads).max())

    def steps(self, epoch: int = 0) -> int:
        return -(-self._length // self.seq_length)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        count = self.steps()
        together = max(_FEWEST, _READ_AHEAD // (self.batch_size * self.seq_length))
        for first in range(skip, count, together):
            edges = [self._length * index // count for index in range(first, min(first + together, count) + 1)]
            yield from cut(*self._rows(edges[0], edges[-1]), [edge - edges[0] for edge in edges])

    def _rows(self, start: int, end: int) -> Lanes:
        """Return inputs, targets and starts of the steps `start:end` of all lanes; only the first of all has starts."""
        inputs, targets, starts = blank(end - start, self.batch_size)
        starts[:1] = start == 0
        lanes = zip(self._reads.tolist(), self._begins.tolist(), self._ends.tolist(), strict=True)
        for lane, (read, begin, stop) in enumerate(lanes):
            at, until = read + start, min(read + end, stop)
            if at < until:
                found = self._read(max(at - 1, 0), until)
                steps, before = until - at, min(at, 1)
                unpredicted = max(begin - at, 0)
                inputs[1 - before : steps, lane] = found[:-1]
                targets[unpredicted:steps, lane] = found[before + unpredicted :]
        return inputs, targets, starts


class StretchBatches(StreamBatches):
    """An even sample of one sequence: each lane reads a stretch, and predicts the end of it.

    size, read: as above
    stretches: their number, the lanes of a batch
    own, context: tokens of a stretch that are predicted, and those before them that are only read
    """

    def __init__(
        self,
        size: int,
        read: Callable[[int, int], np.ndarray],
        *,
        stretches: int,
        own: int,
        context: int,
        seq_length: int,
    ) -> None:
        super().__init__(size, read, batch_size=stretches, seq_length=seq_length)
        length = context + own
        self._reads = (size - length) * np.arange(stretches) // max(1, stretches - 1)
        self._begins, self._ends = self._reads + context, self._reads + length
        self._length = length
