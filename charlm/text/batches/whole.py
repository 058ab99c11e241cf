"""Batches of whole sequences: no batch cuts one, so that a network can read each from both sides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from charlm.text.batches.lanes import (
    NO_TARGET,
    Batch,
    Batches,
    blank,
    even_cuts,
    filled,
    mark_starts,
    runs,
    shuffled,
)
from charlm.text.batches.spellings import rows_of
from charlm.text.tokens.vocabulary import NOTHING

MOST_TOKENS = 1 << 17  # of sequences side by side, with their padding; a longer one is alone
_PAIRS_SORTED = 50  # batches of pairs that are drawn together and sorted by length, so that little is padding


class GroupBatches(Batches):
    """Batches of which each has some whole sequences."""

    carries = False

    @abstractmethod
    def groups(self, epoch: int) -> list[np.ndarray]:
        """Return the numbers of the sequences of each batch."""

    @abstractmethod
    def batch(self, group: np.ndarray) -> Batch:
        """Return the batch of some sequences."""

    def steps(self, epoch: int = 0) -> int:
        return len(self.groups(epoch))

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        yield from map(self.batch, self.groups(epoch)[skip:])


@dataclass(eq=False)
class WholeBatches(GroupBatches):
    """Sequences of their own, several end to end in each lane, none of them cut.

    A batch holds about `batch_size * seq_length` tokens. Its lanes are filled as `filled` does it.

    ids, targets [N] int32; offsets [sequences + 1]: sequence i is `ids[offsets[i]:offsets[i + 1]]`
    seed: shuffles the sequences anew each epoch; None keeps their order
    table: if given, ids are the numbers of its rows, which are what the network reads, see `Codec.read_words`
    """

    ids: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray
    batch_size: int
    seq_length: int
    seed: int | None = None
    table: np.ndarray | None = None

    @lru_cache(maxsize=2)  # noqa: B019 - the groups of this epoch and of the first are asked for at every step
    def groups(self, epoch: int) -> list[np.ndarray]:
        order = shuffled(self.offsets.size - 1, self.seed, epoch)
        ends = np.cumsum(np.diff(self.offsets)[order])
        cuts = even_cuts(ends, max(1, round(int(ends[-1]) / (self.batch_size * self.seq_length))))
        inner = cuts[(cuts > 0) & (cuts < ends[-1])]  # no batch is without tokens
        return np.split(order, np.unique(np.searchsorted(ends, inner, side="right")))

    def batch(self, group: np.ndarray) -> Batch:
        return self._packed(group)[0]

    def placed(self) -> Iterator[tuple[Batch, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield the batches of epoch 0, each with its sequences and their places.

        Yields the batch, the numbers of its sequences [n], and the step and the lane [n] at which each begins.
        """
        for group in self.groups(0):
            yield self._packed(group)

    def _packed(self, group: np.ndarray) -> tuple[Batch, np.ndarray, np.ndarray, np.ndarray]:
        lengths = np.diff(self.offsets)[group]
        longest = int(lengths.max())
        lanes = max(1, min(self.batch_size, group.size, round(int(lengths.sum()) / max(longest, self.seq_length))))
        begins, lane_of, ends = filled(lengths, lanes)
        inputs, targets, starts = blank(max(1, int(ends.max())), lanes)
        at = (runs(begins, lengths), np.repeat(lane_of, lengths))
        source = runs(self.offsets[group], lengths)
        inputs[at], targets[at] = self.ids[source], self.targets[source]
        mark_starts(starts, begins[lengths > 0], lane_of[lengths > 0], ends)
        if self.table is not None:
            inputs = rows_of(self.table, inputs)
        return Batch(inputs, targets, starts), group, begins, lane_of


@dataclass(eq=False)
class PairBatches(GroupBatches):
    """Pairs of sequences of different lengths, one pair a lane; those of a batch are of like length.

    The source is read whole before the target begins; the target is predicted token by token, as by a language model.

    sources, targets: ids [N] and offsets [pairs + 1] of each side, every sequence ended by `<EOS>`
    seed: draws the pairs anew each epoch; None draws the same ones
    """

    sources: tuple[np.ndarray, np.ndarray]
    targets: tuple[np.ndarray, np.ndarray]
    batch_size: int
    seed: int | None = None

    @lru_cache(maxsize=2)  # noqa: B019 - as above
    def groups(self, epoch: int) -> list[np.ndarray]:
        count = self.sources[1].size - 1
        order = shuffled(count, self.seed, epoch)
        source, target = (np.diff(offsets) for _, offsets in (self.sources, self.targets))
        groups: list[np.ndarray] = []
        for start in range(0, count, _PAIRS_SORTED * self.batch_size):
            window = order[start : start + _PAIRS_SORTED * self.batch_size]
            window = window[np.lexsort((source[window], target[window]))]
            for group in np.split(window, range(self.batch_size, window.size, self.batch_size)):
                groups += _within_bounds(group, np.maximum(source, target))
        return [groups[i] for i in shuffled(len(groups), self.seed, epoch).tolist()]

    def batch(self, group: np.ndarray) -> Batch:
        sources, source_starts = padded(*self.sources, group, NOTHING)
        targets, _ = padded(*self.targets, group, NO_TARGET)
        inputs = np.full_like(targets, NOTHING)
        inputs[1:] = np.where(targets[1:] == NO_TARGET, NOTHING, targets[:-1])
        # No starts: the decoder begins with the encoder's state, and nothing follows the padding.
        return Batch(inputs, targets, None, sources, source_starts)


def _within_bounds(group: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Cut a batch in halves by length, until each part has at most `MOST_TOKENS` tokens or one sequence."""
    if group.size == 1 or group.size * int(lengths[group].max()) <= MOST_TOKENS:
        return [group]
    group = group[np.argsort(lengths[group], kind="stable")]
    return [part for half in np.array_split(group, 2) for part in _within_bounds(half, lengths)]


def groups_of_like_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield the numbers of sequences of like length, to be placed side by side.

    A group has at most `batch_size` sequences and, padded, at most `MOST_TOKENS` tokens; a longer sequence is alone.
    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(group) == batch_size or (group and (len(group) + 1) * lengths[i] > MOST_TOKENS):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def padded(ids: np.ndarray, offsets: np.ndarray, group: np.ndarray, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Place sequences side by side, `[T, B]`, the shorter ones padded at their ends.

    Returns the columns, and where a sequence or its padding begins.
    """
    lengths = np.diff(offsets)[group]
    shape = (int(lengths.max()), group.size)
    columns, starts = np.full(shape, padding, np.int32), np.zeros(shape, bool)
    steps = np.arange(shape[0])[:, None]
    inside = steps < lengths
    columns[inside] = ids[(offsets[group] + steps)[inside]]
    starts[0] = True
    starts[steps == lengths] = True
    return columns, starts
