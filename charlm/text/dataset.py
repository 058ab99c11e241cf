"""A corpus as ids, in the unit that it is learned in: lines of their own, or one stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from charlm.text.batches.lanes import Batches, LineBatches
from charlm.text.batches.stream import StreamBatches
from charlm.text.batches.whole import PairBatches, WholeBatches
from charlm.text.ids.held_out import split_lines
from charlm.text.tokens.tokenizer import Tokenizer


class Encoded(Protocol):
    """A corpus as numbers, of whatever task."""

    @property
    def size(self) -> int:
        """The number of tokens, or of steps."""

    @property
    def sequences(self) -> int:
        """The number of sequences, which no batch joins: lines, sentences, pairs, pieces; of a stream, 1."""

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the sizes of a batch to what the corpus can fill."""

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        """Cut the corpus into batches; seed: shuffles its sequences anew each epoch, None does not."""


@dataclass(frozen=True)
class Dataset:
    """Ids of lines, one after the other, each ended by `<EOS>`.

    ids [N] int32; offsets [lines + 1] int64: line i is `ids[offsets[i]:offsets[i + 1]]`; unit: `line` or `stream`
    first [lines] int32 or None: x<1> of each line, where that is a label and not the zero vector
    """

    ids: np.ndarray
    offsets: np.ndarray
    unit: str
    first: np.ndarray | None = None

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.ids.size

    @property
    def lines(self) -> int:
        """The number of lines."""
        return self.offsets.size - 1

    @property
    def sequences(self) -> int:
        """The number of sequences, which no batch joins."""
        return self.lines if self.unit == "line" else 1

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Hold out a part: lines drawn by the seed (lists are often sorted), of a stream its end.

        fraction: share of the lines, or of the stream's tokens; 0 holds out nothing
        """
        if self.unit == "line":
            kept, held = split_lines(self.lines, fraction, seed)
            return self._of_lines(kept), self._of_lines(held)
        cut = self.ids.size - round(self.ids.size * fraction)
        return tuple(  # type: ignore[return-value]
            Dataset(ids, np.array([0, ids.size]), self.unit) for ids in (self.ids[:cut], self.ids[cut:])
        )

    def _of_lines(self, chosen: np.ndarray) -> Dataset:
        lengths = np.diff(self.offsets)[chosen]
        ends = np.cumsum(lengths)
        where = np.repeat(self.offsets[chosen] - (ends - lengths), lengths) + np.arange(lengths.sum())
        first = None if self.first is None else self.first[chosen]
        return Dataset(self.ids[where], np.concatenate([[0], ends]).astype(np.int64), self.unit, first)

    def counts(self, known: int) -> np.ndarray:
        """Give how often each of the ids below `known` occurs, int64; there is none above."""
        return np.bincount(self.ids, minlength=known)

    def renumbered(self, numbers: np.ndarray) -> Dataset:
        """Give the same tokens, each with the id that `numbers` has for its own."""
        return replace(self, ids=numbers[self.ids])

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the sizes of a batch to what the corpus can fill: no lane idle, none much longer than others."""
        if self.unit == "stream":
            seq_length = max(1, min(seq_length, self.ids.size))
            return max(1, min(batch_size, self.ids.size // seq_length)), seq_length
        longest = int(np.diff(self.offsets).max())
        batch_size = max(1, min(batch_size, self.lines, self.ids.size // longest))
        return batch_size, max(1, min(seq_length, max(longest, self.ids.size // batch_size)))

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        """Cut the corpus into batches.

        seed: shuffles lines anew each epoch, None does not; context: tokens that a stream's lanes read before their own
        """
        if self.unit == "line":
            return LineBatches(
                self.ids, self.offsets, batch_size=batch_size, seq_length=seq_length, first=self.first, seed=seed
            )
        return StreamBatches(self.ids, batch_size=batch_size, seq_length=seq_length, context=context)


@dataclass(frozen=True)
class Sequences:
    """Ids of sequences that are read whole, one after the other, with a target for each, or `NO_TARGET`.

    ids, targets [N] int32; offsets [sequences + 1] int64
    """

    ids: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.ids.size

    @property
    def sequences(self) -> int:
        """The number of sequences."""
        return self.offsets.size - 1

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the sizes of a batch to what there is; a longer sequence gets a longer lane, among fewer."""
        seq_length = max(1, min(seq_length, self.size))
        return max(1, min(batch_size, self.size // seq_length)), seq_length

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> WholeBatches:
        """Pack the sequences into batches; seed: shuffles them anew each epoch."""
        del context  # nothing is cut
        return WholeBatches(
            self.ids, self.targets, self.offsets, batch_size=batch_size, seq_length=seq_length, seed=seed
        )


def joined(sequences: Sequence[np.ndarray], targets: np.ndarray | None = None) -> Sequences:
    """Put sequences of ids end to end; each token is its own target, where no others are given."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in sequences])]).astype(np.int64)
    ids = np.concatenate([np.empty(0, np.int32), *sequences])
    return Sequences(ids, ids if targets is None else targets, offsets)


@dataclass(frozen=True)
class Pairs:
    """Pairs of sequences: ids and offsets of the sources and of the targets, each sequence ended by `<EOS>`."""

    sources: tuple[np.ndarray, np.ndarray]
    targets: tuple[np.ndarray, np.ndarray]

    @property
    def size(self) -> int:
        """The number of tokens to predict."""
        return self.targets[0].size

    @property
    def sequences(self) -> int:
        """The number of pairs."""
        return self.targets[1].size - 1

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the pairs of a batch to what there is; pairs are never cut."""
        return min(batch_size, self.sources[1].size - 1), seq_length

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> PairBatches:
        """Put pairs of like length side by side; seed: draws them anew each epoch."""
        del context, seq_length
        return PairBatches(self.sources, self.targets, batch_size=batch_size, seed=seed)


def encode(tokenizer: Tokenizer, lines: Iterable[str], unit: str) -> Dataset:
    """Encode lines with a vocabulary that is there already."""
    ids, offsets = tokenizer.encode_lines(list(lines))
    return Dataset(ids, offsets, unit)
