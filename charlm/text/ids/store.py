"""A whole corpus as ids, in memory or on the disk: either store answers the same questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charlm.text.ids.disk_store import DiskStore
from charlm.text.tokens.vocabulary import EOS_ID


@dataclass(frozen=True)
class MemoryStore:
    """A corpus in memory, as one window; `DiskStore` describes the methods.

    ids [N] int32; offsets [lines + 1] int64: line i is `ids[offsets[i]:offsets[i + 1]]`, its end included
    first [lines] int32: x<1> of each line, where that is a label; None: the zero vector
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


Store = MemoryStore | DiskStore
