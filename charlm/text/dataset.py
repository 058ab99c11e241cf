"""Corpora as ids, cut into batches for a network.

| corpus | a sequence is | a lane of a batch is |
|---|---|---|
| `Dataset`, lines | a line | a run of whole lines, end to end |
| `Dataset`, stream | the whole text | an equal part of it |
| `Pieces` | a piece of music | a run of whole pieces, end to end |
| `Sequences` | a text or a sentence | some of them, end to end; no batch cuts one |
| `Pairs` | a source and a target | one pair, padded |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from charlm.text.batches.lanes import Batches, EncodedLines, LineBatches
from charlm.text.batches.pieces import PieceBatches
from charlm.text.batches.stream import StreamBatches
from charlm.text.batches.whole import PairBatches, WholeBatches
from charlm.text.ids.encoder import Counts
from charlm.text.ids.held_out import HeldOutLines
from charlm.text.ids.store import MemoryStore, Store
from charlm.text.tokens.vocabulary import NOTHING

_COUNTED_TOGETHER = 1 << 20  # tokens of a stream


class Encoded(ABC):
    """A corpus as numbers, whatever the task."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of tokens to predict, or of steps of music."""

    @property
    @abstractmethod
    def sequences(self) -> int:
        """The number of sequences: lines, sentences, pairs, pieces; a stream is one."""

    @property
    def shortest_lane(self) -> int | None:
        """The steps that each lane of an epoch should have; 0: those of a batch; None: each lane is one sequence."""
        return 0

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Return the sizes of a batch, shrunk to what the corpus can fill.

        No lane is then idle, or much longer than the others.
        """
        if self.shortest_lane is None:
            return min(batch_size, self.sequences), seq_length
        lane = self.shortest_lane or max(1, min(seq_length, self.size))
        batch_size = max(1, min(batch_size, self.size // lane))
        return batch_size, max(1, min(seq_length, max(lane, self.size // batch_size)))

    @abstractmethod
    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        """Cut the corpus into batches.

        seed: shuffles the sequences anew each epoch; None keeps their order
        context: tokens that each lane of a stream reads before its own; other corpora need none
        """


@dataclass(frozen=True)
class Dataset(Encoded):
    """Lines or one stream: a whole corpus, or its part on one side of a split. Ids are read when they are used.

    store: the whole corpus, in memory or on the disk; unit: `line` or `stream`
    held_lines, held_tokens: the lines, or the number of tokens at the end, that the split holds out
    held: whether this is the held-out part
    numbers: the id of each id in the store, int32; None leaves them as they are
    """

    store: Store
    unit: str
    held_lines: HeldOutLines | None = None
    held_tokens: int = 0
    held: bool = False
    numbers: np.ndarray | None = None

    @classmethod
    def of(cls, ids: np.ndarray, offsets: np.ndarray, unit: str, first: np.ndarray | None = None) -> Dataset:
        """Return a corpus in memory; ids, offsets and first are those of `MemoryStore`."""
        return cls(MemoryStore(ids, offsets, first), unit)

    @property
    def at_hand(self) -> bool:
        """Whether all of it is one window, in memory."""
        return self.store.at_hand

    @cached_property
    def sizes(self) -> np.ndarray:
        """The lines, the tokens and the longest line of each window of the store, `[3, windows]` int64."""
        windows = map(self.lengths, range(self.store.windows))
        sizes = [(lengths.size, lengths.sum(), lengths.max(initial=0)) for lengths in windows]
        return np.array(sizes, np.int64).reshape(-1, 3).T

    @property
    def size(self) -> int:
        return int(self.sizes[1].sum()) if self.unit == "line" else len(range(*self._run()))

    @property
    def sequences(self) -> int:
        return int(self.sizes[0].sum()) if self.unit == "line" else 1

    @property
    def shortest_lane(self) -> int:
        return int(self.sizes[2].max()) if self.unit == "line" else 0

    @property
    def ids(self) -> np.ndarray:
        """All ids in their order [size] int32, read into memory."""
        return np.concatenate([np.empty(0, np.int32), *self.parts()])

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Hold out a part of the store: lines drawn by the seed (lists are often sorted), of a stream its end.

        fraction: share of the lines, or of the stream's tokens; 0 holds out nothing
        Returns the part to learn from and the held-out part.
        """
        if self.unit == "line":
            learned = replace(self, held_lines=HeldOutLines(self.store.lines, fraction, seed))
        else:
            learned = replace(self, held_tokens=round(self.store.size * fraction))
        return learned, replace(learned, held=True)

    def counts(self, known: int) -> np.ndarray:
        """Return how often each id of the store below `known` occurs, int64; no others occur."""
        # The held-out part is usually the smaller one.
        found = Counts()
        for ids in replace(self, held=True, numbers=None).parts():
            found.add(ids)
        held = found.of(known)
        return held if self.held else self.store.counts(known) - held

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        if self.unit == "line":
            return LineBatches(self, batch_size=batch_size, seq_length=seq_length, seed=seed)
        return StreamBatches(self.size, self.read, batch_size=batch_size, seq_length=seq_length, context=context)

    def lengths(self, number: int) -> np.ndarray:
        """Return the lengths of those lines that end in a window of the store, int64."""
        lengths: np.ndarray = self.store.lengths(number)[self._chosen(number)]
        return lengths

    def window(self, number: int) -> EncodedLines:
        """Return those lines that end in a window of the store."""
        chosen = self._chosen(number)
        if not chosen.any():
            return EncodedLines(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int32))
        ids, lengths = self.store.window(number), self.store.lengths(number)
        if not chosen.all():
            ids, lengths = ids[np.repeat(chosen, lengths)], lengths[chosen]
        first = np.full(lengths.size, NOTHING, np.int32) if self.store.first is None else self.store.first[chosen]
        return EncodedLines(self._numbered(ids), lengths, first)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the ids of a slice of the stream."""
        begin, _ = self._run()
        return self._numbered(self.store.slice(begin + start, begin + stop))

    def _run(self) -> tuple[int, int]:
        """Return where the part begins and ends in the stream."""
        cut = self.store.size - self.held_tokens
        return (cut, self.store.size) if self.held else (0, cut)

    def _chosen(self, number: int) -> np.ndarray:
        """Return whether each line that ends in a window is in this part, bool."""
        start, stop = self.store.line_starts[number : number + 2].tolist()
        held = np.zeros(stop - start, bool) if self.held_lines is None else self.held_lines.mask(start, stop)
        chosen: np.ndarray = held == self.held
        return chosen

    def parts(self) -> Iterator[np.ndarray]:
        """Yield all ids, some at a time."""
        if self.unit == "line":
            yield from (self.window(number).ids for number in range(self.store.windows))
        else:
            for at in range(0, self.size, _COUNTED_TOGETHER):
                yield self.read(at, min(at + _COUNTED_TOGETHER, self.size))

    def _numbered(self, ids: np.ndarray) -> np.ndarray:
        return ids if self.numbers is None else self.numbers.take(ids)


@dataclass(frozen=True)
class Pieces(Encoded):
    """Pieces of music, end to end.

    roll [N, keys] uint8: 1 where the key sounds at the step; offsets [pieces + 1] int64
    labels [pieces]: the genre of each piece, int32, or None; num_labels: the number of genres
    """

    roll: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray | None = None
    num_labels: int = 0

    @property
    def size(self) -> int:
        return len(self.roll)

    @property
    def sequences(self) -> int:
        return self.offsets.size - 1

    @property
    def shortest_lane(self) -> int:
        return int(np.diff(self.offsets).max())

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> PieceBatches:
        first = None if self.labels is None else (self.size + self.labels).astype(np.int32)
        numbers = Dataset.of(np.arange(self.size, dtype=np.int32), self.offsets, "line", first)
        return PieceBatches(numbers, self.roll, self.num_labels, batch_size, seq_length, seed)


@dataclass(frozen=True)
class Sequences(Encoded):
    """Sequences that are read whole, end to end, with a target for each token, or `NO_TARGET`.

    ids, targets [N] int32; offsets [sequences + 1] int64
    table: if given, ids are the numbers of its rows, see `Codec.read_words`
    """

    ids: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray
    table: np.ndarray | None = None

    @property
    def size(self) -> int:
        return self.ids.size

    @property
    def sequences(self) -> int:
        return self.offsets.size - 1

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> WholeBatches:
        return WholeBatches(self.ids, self.targets, self.offsets, batch_size, seq_length, seed, self.table)


def offsets_of(lengths: Iterable[int]) -> np.ndarray:
    """Return the offsets of sequences of these lengths, laid end to end: `[sequences + 1]`, int64."""
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.int64)


def joined(sequences: Sequence[np.ndarray]) -> Sequences:
    """Put sequences of ids end to end; each token is its own target."""
    ids = np.concatenate([np.empty(0, np.int32), *sequences])
    return Sequences(ids, ids, offsets_of(map(len, sequences)))


@dataclass(frozen=True)
class Pairs(Encoded):
    """Pairs of sequences: ids and offsets of the sources and of the targets, each sequence ended by `<EOS>`."""

    sources: tuple[np.ndarray, np.ndarray]
    targets: tuple[np.ndarray, np.ndarray]

    shortest_lane = None

    @property
    def size(self) -> int:
        return self.targets[0].size

    @property
    def sequences(self) -> int:
        return self.targets[1].size - 1

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> PairBatches:
        return PairBatches(self.sources, self.targets, batch_size, seed)
