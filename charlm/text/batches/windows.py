"""Batches of lines of which only a few windows are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np

from charlm.randomness import SHUFFLE, generator
from charlm.text.batches.lanes import NO_TARGET, Batch, Batches, LineBatches, shuffled
from charlm.text.tokens.vocabulary import NOTHING

GROUP_TOKENS = 1 << 22  # that are in memory together, about; lines are shuffled among them


class Windowed(Protocol):
    """Lines in windows.

    sizes [3, windows]: the lines, the tokens and the longest line of each
    """

    @property
    def sizes(self) -> np.ndarray:
        """See above."""

    def window(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the ids [n] int32 of a window's lines, each ended by `<EOS>`, and their lengths [lines] int64."""


class StoredLineBatches(Batches):
    """Lines that are sequences of their own: groups of windows, one after the other, each packed as `LineBatches` does.

    An epoch shuffles the windows, so that a group has lines from all over the corpus, and the lines of each group.

    lines: what to cut; seed: None keeps the order of windows and lines
    """

    carries = True

    def __init__(self, lines: Windowed, *, batch_size: int, seq_length: int, seed: int | None = None) -> None:
        self.lines, self.seed = lines, seed
        self.batch_size, self.seq_length = batch_size, seq_length

    @lru_cache(maxsize=2)  # noqa: B019 - those of this epoch and of the first are asked for at every step
    def _groups(self, epoch: int) -> tuple[list[np.ndarray], list[int]]:
        """Give the windows of each group, in order, and the number of its batches."""
        lines, tokens, longest = self.lines.sizes
        order = shuffled(lines.size, self.seed, epoch)
        order = order[lines[order] > 0]
        ends = np.cumsum(tokens[order])
        total = int(ends[-1])
        middles = ends - tokens[order] // 2
        group_of = middles * max(1, round(total / GROUP_TOKENS)) // total
        groups = np.split(order, np.flatnonzero(np.diff(group_of)) + 1)
        # As many as the group may need in any order of its lines, so that none has to be drawn to be counted.
        most = [int(tokens[group].sum()) // self.batch_size + int(longest[group].max()) for group in groups]
        return groups, [-(-steps // self.seq_length) for steps in most]

    def steps(self, epoch: int = 0) -> int:
        return sum(self._groups(epoch)[1])

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        groups, steps = self._groups(epoch)
        for number, (windows, count) in enumerate(zip(groups, steps, strict=True)):
            if skip < count:
                yield from self._group(windows, count, epoch, number).epoch(0, skip=skip)
            skip = max(0, skip - count)

    def _group(self, windows: np.ndarray, steps: int, epoch: int, number: int) -> _Group:
        found = [self.lines.window(window) for window in windows.tolist()]
        ids, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.arange(lengths.size)
        if self.seed is not None:
            order = generator(self.seed, SHUFFLE, epoch, number).permutation(lengths.size)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return _Group(ids, offsets, order, steps, self.batch_size, self.seq_length)


class _Group(LineBatches):
    """Lines in an order and a number of batches that are given."""

    def __init__(
        self, ids: np.ndarray, offsets: np.ndarray, order: np.ndarray, steps: int, batch_size: int, seq_length: int
    ) -> None:
        super().__init__(ids, offsets, batch_size=batch_size, seq_length=seq_length)
        self._order, self._steps = order, steps

    def order(self, epoch: int) -> np.ndarray:
        return self._order

    def steps(self, epoch: int = 0) -> int:
        return self._steps

    def lanes(self, epoch: int) -> Batch:
        whole = super().lanes(epoch)
        missing = self._steps - len(whole.inputs)
        if missing <= 0:  # as it is, but where batches are of one step
            return whole
        assert whole.starts is not None
        below = ((0, missing), (0, 0))
        return Batch(
            np.pad(whole.inputs, below, constant_values=NOTHING),
            np.pad(whole.targets, below, constant_values=NO_TARGET),
            np.pad(whole.starts, below),
        )
