"""A whole corpus as ids, in memory or on the disk: either store answers the same questions."""

from __future__ import annotations

import numpy as np

from charlm.text.ids.disk_store import DiskStore
from charlm.text.tokens.vocabulary import EOS_ID


class MemoryStore:
    """A corpus in memory, as one window; `DiskStore` describes the methods.

    ids [N] int32; offsets [lines + 1] int64: line i is `ids[offsets[i]:offsets[i + 1]]`, its end included
    first [lines] int32: x<1> of each line, where that is a label; None: the zero vector
    """

    at_hand = True
    windows = 1

    def __init__(self, ids: np.ndarray, offsets: np.ndarray, first: np.ndarray | None = None) -> None:
        self.ids, self.offsets, self.first = ids, offsets, first
        self.size, self.lines = ids.size, offsets.size - 1
        self.line_starts = np.array([0, self.lines])

    @classmethod
    def of(cls, ids: np.ndarray) -> MemoryStore:
        """Return the store of ids in which `EOS_ID` ends each line."""
        return cls(ids, np.concatenate([[0], np.flatnonzero(ids == EOS_ID) + 1]).astype(np.int64))

    def counts(self, known: int) -> np.ndarray:
        return np.bincount(self.ids, minlength=known)

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]

    def window(self, number: int) -> np.ndarray:
        return self.ids

    def lengths(self, number: int) -> np.ndarray:
        return np.diff(self.offsets)


Store = MemoryStore | DiskStore
