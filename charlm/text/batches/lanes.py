"""Mini-batches of ids, and the batches of lines: lanes of tokens side by side, cut into a few steps at a time."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from charlm.randomness import SHUFFLE, generator
from charlm.text.tokens.vocabulary import NOTHING

NO_TARGET = -1  # the target where nothing is predicted: the ragged end of a lane, or context that is only read
GROUP_TOKENS = 1 << 22  # about as many are in memory together, where a corpus is too large for all of it

Lanes = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs, targets and starts, [T, B]


@dataclass(frozen=True)
class Batch:
    """T steps of B sequences side by side.

    inputs [T, B] int32: x<t>; of a language model the token before y<t>, `NOTHING` before the first of a sequence
    targets [T, B] int32: y<t>, the token, tag or label to predict; `NO_TARGET` where nothing is predicted
    starts [T, B]: bool, or None; a new sequence begins here, so the state before it is zero. What follows the last
        sequence of a lane counts as one of its own
    sources [S, B] int32, source_starts [S, B]: of translation, what the encoder reads
    lanes: B; count: the number of targets; of music, of steps

    With characters, inputs are [T, 1 + K, B]: the word, and then its characters, see `Codec.read_words`.

    Music has a row for each of N keys. Its inputs are [T, N, B] uint8, 1 where the key sounds at the step before. Its
    targets are [T, N, B] int8, 1 where the key sounds at this step.
    """

    inputs: np.ndarray
    targets: np.ndarray
    starts: np.ndarray | None = None
    sources: np.ndarray | None = None
    source_starts: np.ndarray | None = None
    lanes: int = field(init=False)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        predicted = self.targets != NO_TARGET
        object.__setattr__(self, "lanes", int(self.inputs.shape[-1]))
        object.__setattr__(self, "count", int(np.count_nonzero(predicted if predicted.ndim == 2 else predicted[:, 0])))

    def of_lanes(self, lanes: slice) -> Batch:
        """Return the batch of some lanes, as views."""
        inputs, targets, starts, sources, source_starts = (
            None if array is None else array[..., lanes]
            for array in (self.inputs, self.targets, self.starts, self.sources, self.source_starts)
        )
        assert inputs is not None and targets is not None
        return Batch(inputs, targets, starts, sources, source_starts)


class Batches(ABC):
    """The batches of a corpus, epoch by epoch; each epoch is a function of the seed and of its number alone.

    batch_size: lanes, B; carries: whether a lane goes on in the next batch, so that the state is carried to it
    """

    batch_size: int
    carries: ClassVar[bool]

    @abstractmethod
    def steps(self, epoch: int = 0) -> int:
        """Return the number of batches of an epoch."""

    @abstractmethod
    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, without the first `skip`."""


class EncodedLines(NamedTuple):
    """Lines end to end.

    ids [n]: the tokens, each line ended by `<EOS>`; lengths [lines] int64
    first [lines] int32: x<1> of each line, a label or `NOTHING`, the zero vector
    """

    ids: np.ndarray
    lengths: np.ndarray
    first: np.ndarray


class LineSource(Protocol):
    """Lines in windows, of which a few are read at a time.

    sizes [3, windows]: the lines, the tokens and the longest line of each window
    at_hand: whether there is one window, in memory, so that all lines may be counted and shuffled together
    """

    @property
    def sizes(self) -> np.ndarray: ...

    @property
    def at_hand(self) -> bool: ...

    def lengths(self, number: int) -> np.ndarray:
        """Return the lengths [lines] of a window's lines, int64."""

    def window(self, number: int) -> EncodedLines:
        """Return the lines of a window."""


class LineBatches(Batches):
    """Lines that are sequences of their own, packed end to end: where a line begins, state and input are set to zero.

    No step is padding but the ragged ends of the lanes, each of which is a run of whole lines. Lines that are not at
    hand are packed in groups of windows. An epoch shuffles the windows, so that a group has lines from all over the
    corpus, and the lines of each group.

    lines: what to cut; seed: None keeps the order of windows and lines
    """

    carries = True

    def __init__(self, lines: LineSource, *, batch_size: int, seq_length: int, seed: int | None = None) -> None:
        self.lines, self.batch_size, self.seq_length, self.seed = lines, batch_size, seq_length, seed

    @lru_cache(maxsize=2)  # noqa: B019 - those of this epoch and of the first are asked for at every step
    def _groups(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        """Return the windows of each group, in order, and the number of its batches."""
        if self.lines.at_hand:
            lengths = self.lines.lengths(0)
            ends = np.cumsum(lengths[self._order(lengths.size, epoch, 0)])
            return [(np.zeros(1, np.int64), self._batches(int(np.diff(even_cuts(ends, self.batch_size)).max())))]
        lines, tokens, longest = self.lines.sizes
        order = shuffled(lines.size, self.seed, epoch)
        order = order[lines[order] > 0]
        ends = np.cumsum(tokens[order])
        total = int(ends[-1])
        middles = ends - tokens[order] // 2
        group_of = middles * max(1, round(total / GROUP_TOKENS)) // total
        groups = np.split(order, np.flatnonzero(np.diff(group_of)) + 1)
        # As many as a group may need in any order of its lines: counting them does not draw that order.
        most = [int(tokens[group].sum()) // self.batch_size + int(longest[group].max()) for group in groups]
        return list(zip(groups, map(self._batches, most), strict=True))

    def steps(self, epoch: int = 0) -> int:
        return sum(count for _, count in self._groups(epoch))

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        for number, (windows, count) in enumerate(self._groups(epoch)):
            if skip < count:
                packed = self._packed(windows, count, epoch, number)
                yield from cut(*packed, [len(packed[0]) * index // count for index in range(skip, count + 1)])
                # One group at a time is in memory.
                del packed
            skip = max(0, skip - count)

    def _batches(self, steps: int) -> int:
        return -(-steps // self.seq_length)

    def _order(self, count: int, epoch: int, number: int) -> np.ndarray:
        """Return the order of the lines of a group."""
        return shuffled(count, self.seed, epoch, *(() if self.lines.at_hand else (number,)))

    def _packed(self, windows: np.ndarray, count: int, epoch: int, number: int) -> Lanes:
        """Return inputs, targets and starts of a group's lanes, of at least `count` steps."""
        lines = map(self.lines.window, windows.tolist())
        ids, lengths, first = (np.concatenate(parts) for parts in zip(*lines, strict=True))
        order = self._order(lengths.size, epoch, number)
        ids = ids[runs((np.cumsum(lengths) - lengths)[order], lengths[order])]
        ends = np.cumsum(lengths[order])
        begins = ends - lengths[order]
        before = np.concatenate([np.array([NOTHING], np.int32), ids[:-1]])
        before[begins] = first[order]
        is_first = np.zeros(ids.size, bool)
        is_first[begins] = True
        cuts = even_cuts(ends, self.batch_size)
        inputs, targets, starts = blank(max(int(np.diff(cuts).max()), count), self.batch_size)
        for lane, (start, end) in enumerate(pairwise(cuts.tolist())):
            inputs[: end - start, lane] = before[start:end]
            targets[: end - start, lane] = ids[start:end]
            starts[: end - start, lane] = is_first[start:end]
        return inputs, targets, starts


def cut(inputs: np.ndarray, targets: np.ndarray, starts: np.ndarray, edges: Sequence[int]) -> Iterator[Batch]:
    """Yield the batches of lanes `[T, B]` that lie between the edges; the arrays become read-only."""
    arrays = (inputs, targets, starts)
    for array in arrays:
        array.flags.writeable = False
    for start, end in pairwise(edges):
        inputs, targets, starts = (array[start:end] for array in arrays)
        yield Batch(inputs, targets, starts if starts.any() else None)


def blank(steps: int, lanes: int) -> Lanes:
    """Return inputs, targets and starts `[steps, lanes]` in which nothing is read or predicted and nothing begins."""
    shape = (steps, lanes)
    return np.full(shape, NOTHING, np.int32), np.full(shape, NO_TARGET, np.int32), np.zeros(shape, bool)


def runs(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the indices of runs, one after the other: `begins[0]`, `begins[0] + 1`, ..., int64."""
    indices = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    indices += np.arange(indices.size)
    return indices


def filled(lengths: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place sequences end to end in lanes, the longest first, each into the lane that is shortest so far.

    This is a good rule for lanes of like length, Graham 1969.
    Returns the step and the lane [n] at which each sequence begins, and the length of each lane, int64.
    """
    ends = [(0, lane) for lane in range(lanes)]
    begins, lane_of, size = np.zeros(lengths.size, np.int64), np.zeros(lengths.size, np.int64), lengths.tolist()
    for i in np.argsort(-lengths, kind="stable").tolist():
        begins[i], lane_of[i] = begin, lane = ends[0]
        heapq.heapreplace(ends, (begin + size[i], lane))
    end_of = np.zeros(lanes, np.int64)
    for end, lane in ends:
        end_of[lane] = end
    return begins, lane_of, end_of


def mark_starts(starts: np.ndarray, begins: np.ndarray, lane_of: np.ndarray, ends: np.ndarray) -> None:
    """Set `starts [T, B]` where sequences begin, and where lanes end: what is left is not part of their last one.

    begins, lane_of [n]: of sequences that are not empty; ends [B]: the length of each lane
    """
    starts[begins, lane_of] = True
    (short,) = np.nonzero(ends < len(starts))
    starts[ends[short], short] = True


def shuffled(count: int, seed: int | None, epoch: int, *group: int) -> np.ndarray:
    """Return the order of an epoch's sequences, or of those of one group; without a seed they keep their order."""
    return np.arange(count) if seed is None else generator(seed, SHUFFLE, epoch, *group).permutation(count)


def even_cuts(ends: np.ndarray, parts: int) -> np.ndarray:
    """Cut sequences that end at `ends` into runs of about as many tokens each; return the edges [parts + 1]."""
    ideal = ends[-1] * np.arange(1, parts) / parts
    after = np.searchsorted(ends, ideal)
    before = np.where(after > 0, ends[after - 1], 0)
    cuts = np.where(ideal - before < ends[after] - ideal, before, ends[after])
    return np.concatenate([[0], cuts, ends[-1:]])
