"""Sequences of ids into batches: lanes of tokens side by side, cut into pieces of a few steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from charlm.randomness import SHUFFLE, generator
from charlm.text.tokens.vocabulary import NOTHING

NO_TARGET = -1  # the target where nothing is asked: the ragged end of a lane, or context that is only read


@dataclass(frozen=True)
class Batch:
    """T steps of B sequences side by side.

    inputs [T, B] int32: x<t>; of a language model the token before y<t>, `NOTHING` before the first of a sequence
    targets [T, B] int32: y<t>, the token, tag or label to predict; `NO_TARGET` where none is
    starts [T, B] bool, or None: a new sequence begins here, so the state before it is zero. What follows the last
        sequence of a lane counts as one of its own
    sources [S, B] int32, source_starts [S, B]: of translation, what the encoder reads

    Of music, inputs [T, N, B] uint8 say for each of N keys whether it sounds at the step before, and targets
    [T, N, B] int8 whether it does at this one.
    """

    inputs: np.ndarray
    targets: np.ndarray
    starts: np.ndarray | None = None
    sources: np.ndarray | None = None
    source_starts: np.ndarray | None = None

    def unchanging(self) -> Batch:
        """Have its arrays, and what is cut out of them, refuse to be written to; give the batch itself."""
        for array in vars(self).values():
            if array is not None:
                array.flags.writeable = False
        return self

    @property
    def lanes(self) -> int:
        """The sequences side by side, B."""
        return int(self.inputs.shape[-1])

    @property
    def count(self) -> int:
        """The number of targets; of music, of steps."""
        asked = self.targets != NO_TARGET
        return int(np.count_nonzero(asked if asked.ndim == 2 else asked[:, 0]))


class Batches(ABC):
    """The batches of a corpus, epoch by epoch; each epoch is a function of the seed and of its number alone.

    batch_size: lanes, B; carries: whether a lane goes on in the next batch, so that the state is to be handed on
    """

    batch_size: int
    carries: ClassVar[bool]

    @abstractmethod
    def steps(self, epoch: int = 0) -> int:
        """Give the number of batches of an epoch."""

    @abstractmethod
    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, without the first `skip`; the state is to be carried from one to the next."""


class LaneBatches(Batches):
    """Lanes as long as the epoch, cut into batches of at most `seq_length` steps, T.

    An epoch's batches differ in length by one step at most, so that none is much shorter than the others.
    """

    carries = True

    def __init__(self, batch_size: int, seq_length: int) -> None:
        self.batch_size, self.seq_length = batch_size, seq_length

    @abstractmethod
    def lane_length(self, epoch: int) -> int:
        """Give the steps of the epoch, the length of its longest lane."""

    @abstractmethod
    def lanes(self, epoch: int) -> Batch:
        """Give the whole epoch as one batch."""

    def steps(self, epoch: int = 0) -> int:
        return -(-self.lane_length(epoch) // self.seq_length)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        whole = self.lanes(epoch).unchanging()
        count = self.steps(epoch)
        edges = [len(whole.inputs) * index // count for index in range(count + 1)]
        for start, end in zip(edges[skip:-1], edges[skip + 1 :], strict=True):
            starts = None if whole.starts is None or not whole.starts[start:end].any() else whole.starts[start:end]
            yield Batch(whole.inputs[start:end], whole.targets[start:end], starts)


class LineBatches(LaneBatches):
    """Lines that are sequences of their own, packed end to end: where a line begins, state and input are set to zero.

    No step goes to padding but the ragged ends of the lanes, each of which is a run of whole lines.

    ids [N] int32, offsets [lines + 1]: as `Tokenizer.encode_lines` gives them
    first [lines] int32: x<1> of each line, where it is conditioned on something; None: the zero vector
    seed: shuffles the lines anew each epoch; None keeps their order
    """

    def __init__(
        self,
        ids: np.ndarray,
        offsets: np.ndarray,
        *,
        batch_size: int,
        seq_length: int,
        first: np.ndarray | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, seq_length)
        self.ids, self.offsets, self.seed = ids, offsets, seed
        self.first = np.full(offsets.size - 1, NOTHING, np.int32) if first is None else first

    def order(self, epoch: int) -> np.ndarray:
        """Give the lines in the order of an epoch."""
        return shuffled(self.offsets.size - 1, self.seed, epoch)

    @lru_cache(maxsize=2)  # noqa: B019 - the layouts of this epoch and of the first are asked for at every step
    def _packed(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the order of the lines, the end of each in the packed text, and where the lanes begin and end there."""
        order = self.order(epoch)
        ends = np.cumsum(np.diff(self.offsets)[order])
        return order, ends, even_cuts(ends, self.batch_size)

    def lane_length(self, epoch: int) -> int:
        return int(np.diff(self._packed(epoch)[2]).max())

    def lanes(self, epoch: int) -> Batch:
        order, ends, cuts = self._packed(epoch)
        lengths = np.diff(self.offsets)[order]
        begins = ends - lengths
        packed = self.ids[np.repeat(self.offsets[order] - begins, lengths) + np.arange(ends[-1])]
        before = np.concatenate([[NOTHING], packed[:-1]])
        before[begins] = self.first[order]
        is_first = np.zeros(packed.size, bool)
        is_first[begins] = True
        return _side_by_side(before, packed, is_first, cuts[:-1], cuts[1:], cuts[:-1])


def shuffled(count: int, seed: int | None, epoch: int) -> np.ndarray:
    """Give the order of an epoch's sequences; as they are, where there is no seed."""
    return np.arange(count) if seed is None else generator(seed, SHUFFLE, epoch).permutation(count)


def even_cuts(ends: np.ndarray, parts: int) -> np.ndarray:
    """Cut sequences that end at `ends` into runs of about as many tokens each; give where the runs begin and end."""
    ideal = ends[-1] * np.arange(1, parts) / parts
    after = np.searchsorted(ends, ideal)
    before = np.where(after > 0, ends[after - 1], 0)
    cuts = np.where(ideal - before < ends[after] - ideal, before, ends[after])
    return np.concatenate([[0], cuts, ends[-1:]])


def _side_by_side(
    before: np.ndarray, tokens: np.ndarray, first: np.ndarray, reads: np.ndarray, ends: np.ndarray, begins: np.ndarray
) -> Batch:
    """Lay runs `reads[b]:ends[b]` of a text side by side; what lies before `begins[b]` is read and not asked for."""
    shape = (int((ends - reads).max()), reads.size)
    batch = Batch(np.full(shape, NOTHING, np.int32), np.full(shape, NO_TARGET, np.int32), np.zeros(shape, bool))
    assert batch.starts is not None
    for lane, (read, begin, end) in enumerate(zip(reads.tolist(), begins.tolist(), ends.tolist(), strict=True)):
        batch.inputs[: end - read, lane] = before[read:end]
        batch.targets[begin - read : end - read, lane] = tokens[begin:end]
        batch.starts[: end - read, lane] = first[read:end]
    return batch
