"""A whole corpus as ids: what a store answers wherever it lies, and the store in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from charlm.text.tokens.vocabulary import EOS_ID


class EncodedLines(NamedTuple):
    """Lines end to end.

    ids [n]: the tokens, each line ended by `<EOS>`; lengths [lines] int64
    first [lines] int32: x<1> of each line, a label or `NOTHING`, the zero vector
    """

    ids: np.ndarray
    lengths: np.ndarray
    first: np.ndarray


class Store(Protocol):
    """A corpus as ids, in windows that are read one by one; ids are of any integer type.

    at_hand: whether all of it is one window, in memory
    first [lines] int32: x<1> of each line where that is a label; None: the zero vector
    """

    @property
    def at_hand(self) -> bool: ...

    @property
    def first(self) -> np.ndarray | None: ...

    @property
    def size(self) -> int:
        """The number of tokens."""

    @property
    def lines(self) -> int:
        """The number of lines."""

    @property
    def windows(self) -> int:
        """The number of windows."""

    @property
    def line_starts(self) -> np.ndarray:
        """Edges [windows + 1]: in window w end the lines `line_starts[w]:line_starts[w + 1]`."""

    def counts(self, known: int) -> np.ndarray:
        """Return how often each of the ids below `known` occurs, int64; no others occur."""

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Return the ids [stop - start] of tokens anywhere."""

    def window(self, number: int) -> np.ndarray:
        """Return the ids [n] of the lines that end in a window."""

    def lengths(self, number: int) -> np.ndarray:
        """Return the lengths [lines] of the lines that end in a window, their ends counted, int64."""


@dataclass(frozen=True)
class MemoryStore:
    """A corpus in memory, as one window.

    ids [N] int32; offsets [lines + 1] int64: line i is `ids[offsets[i]:offsets[i + 1]]`, its end included
    """

    ids: np.ndarray
    offsets: np.ndarray
    first: np.ndarray | None = None

    at_hand = True
    windows = 1

    @classmethod
    def of(cls, ids: np.ndarray) -> MemoryStore:
        """Return the store of ids in which `EOS_ID` ends each line."""
        return cls(ids, np.concatenate([[0], np.flatnonzero(ids == EOS_ID) + 1]).astype(np.int64))

    @property
    def size(self) -> int:
        return self.ids.size

    @property
    def lines(self) -> int:
        return self.offsets.size - 1

    @property
    def line_starts(self) -> np.ndarray:
        return np.array([0, self.lines])

    def counts(self, known: int) -> np.ndarray:
        return np.bincount(self.ids, minlength=known)

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]

    def window(self, number: int) -> np.ndarray:
        return self.ids

    def lengths(self, number: int) -> np.ndarray:
        return np.diff(self.offsets)
