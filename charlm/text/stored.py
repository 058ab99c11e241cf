"""A corpus on the disk in the unit that it is learned in: only the part at hand is in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from charlm.text.batches.lanes import Batches
from charlm.text.batches.stream import StreamBatches
from charlm.text.batches.windows import StoredLineBatches
from charlm.text.ids.encoder import Counts
from charlm.text.ids.held_out import HeldOutLines
from charlm.text.ids.store import Store

_COUNTED_TOGETHER = 1 << 20  # tokens


@dataclass(frozen=True)
class StoredStream:
    """Tokens of a store as one stream.

    start, stop: which ones; numbers: the id of each provisional id, None leaves them
    """

    store: Store
    start: int
    stop: int
    numbers: np.ndarray | None = None

    @classmethod
    def whole(cls, store: Store) -> StoredStream:
        """Give all tokens of a store."""
        return cls(store, 0, store.size)

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.stop - self.start

    @property
    def sequences(self) -> int:
        """The number of sequences: all of it is one."""
        return 1

    def __getitem__(self, where: slice) -> np.ndarray:
        """Give the ids of a slice, int32."""
        start, stop, _ = where.indices(self.size)
        return _numbered(self.store.slice(self.start + start, self.start + stop), self.numbers)

    def split(self, fraction: float, seed: int) -> tuple[StoredStream, StoredStream]:
        """Hold out a share of the tokens, the end."""
        del seed  # nothing is drawn
        cut = self.stop - round(self.size * fraction)
        return replace(self, stop=cut), replace(self, start=cut)

    def counts(self, known: int) -> np.ndarray:
        """Give how often each of the `known` provisional ids occurs, int64."""
        if self.size <= self.store.size // 2:
            return self._counts_of(known, (self.start, self.stop))
        others = self._counts_of(known, (0, self.start), (self.stop, self.store.size))
        counts: np.ndarray = self.store.counts - others
        return counts

    def _counts_of(self, known: int, *parts: tuple[int, int]) -> np.ndarray:
        counts = Counts()
        for start, stop in parts:
            for at in range(start, stop, _COUNTED_TOGETHER):
                counts.add(self.store.slice(at, min(at + _COUNTED_TOGETHER, stop)))
        return counts.of(known)

    def renumbered(self, numbers: np.ndarray) -> StoredStream:
        """Give the same tokens with an id for each provisional one."""
        return replace(self, numbers=numbers)

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the sizes of a batch to what the corpus can fill, as `Dataset.fit` does."""
        seq_length = max(1, min(seq_length, self.size))
        return max(1, min(batch_size, self.size // seq_length)), seq_length

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        """Cut the stream into batches; context: tokens that each lane reads before its own."""
        del seed  # a stream has one order
        return StreamBatches(self, batch_size=batch_size, seq_length=seq_length, context=context)


@dataclass(frozen=True)
class StoredLines:
    """Lines of a store, each a sequence of its own.

    rule, held: those that it holds out, or the others; sizes [3, windows]: how many lines of these end in each window,
    their tokens, and the longest; numbers: the id of each provisional id, None leaves them
    """

    store: Store
    rule: HeldOutLines
    held: bool
    sizes: np.ndarray
    numbers: np.ndarray | None = None

    @classmethod
    def whole(cls, store: Store) -> StoredLines:
        """Give all lines of a store."""
        return cls._sides(store, HeldOutLines(store.lines, 0.0, 0), None)[0]

    @classmethod
    def _sides(cls, store: Store, rule: HeldOutLines, numbers: np.ndarray | None) -> tuple[StoredLines, StoredLines]:
        sizes = np.zeros((2, 3, store.windows), np.int64)
        for window in range(store.windows):
            lengths = store.lengths(window)
            held = rule.mask(*store.line_starts[window : window + 2].tolist())
            for side in (0, 1):
                of_side = lengths[held == bool(side)]
                sizes[side, :, window] = of_side.size, of_side.sum(), of_side.max(initial=0)
        return cls(store, rule, False, sizes[0], numbers), cls(store, rule, True, sizes[1], numbers)

    @property
    def lines(self) -> int:
        """The number of lines."""
        return int(self.sizes[0].sum())

    @property
    def sequences(self) -> int:
        """The number of sequences, which no batch joins."""
        return self.lines

    @property
    def size(self) -> int:
        """The number of tokens."""
        return int(self.sizes[1].sum())

    def split(self, fraction: float, seed: int) -> tuple[StoredLines, StoredLines]:
        """Hold out a share of the lines of the store, drawn by the seed."""
        return self._sides(self.store, HeldOutLines(self.store.lines, fraction, seed), self.numbers)

    def counts(self, known: int) -> np.ndarray:
        """Give how often each of the `known` provisional ids occurs, int64."""
        fewer = self if self.lines <= self.store.lines // 2 else replace(self, held=not self.held)
        found = Counts()
        for window in range(self.store.windows):
            found.add(fewer._of_window(window)[0])
        counts = found.of(known)
        return counts if fewer is self else self.store.counts - counts

    def window(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the ids [n] int32 and the lengths [lines] int64 of those lines of these that end in a window."""
        ids, lengths = self._of_window(number)
        return _numbered(ids, self.numbers), lengths

    def _of_window(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.rule.mask(*self.store.line_starts[number : number + 2].tolist()) == self.held
        if not chosen.any():
            return np.empty(0, np.uint8), np.empty(0, np.int64)
        ids, lengths = self.store.window(number), self.store.lengths(number)
        return (ids if chosen.all() else ids[np.repeat(chosen, lengths)]), lengths[chosen]

    def renumbered(self, numbers: np.ndarray) -> StoredLines:
        """Give the same lines with an id for each provisional one."""
        return replace(self, numbers=numbers)

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the sizes of a batch to what the corpus can fill, as `Dataset.fit` does."""
        longest = int(self.sizes[2].max())
        batch_size = max(1, min(batch_size, self.lines, self.size // longest))
        return batch_size, max(1, min(seq_length, max(longest, self.size // batch_size)))

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        """Cut the lines into batches; seed: shuffles them anew each epoch, None does not."""
        del context  # a line is a sequence of its own
        return StoredLineBatches(self, batch_size=batch_size, seq_length=seq_length, seed=seed)


def _numbered(ids: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
    return ids.astype(np.int32) if numbers is None else numbers.take(ids)
