"""A corpus in provisional ids on the disk: written window by window, read in any order and no more than is asked for.

The file: of each window the ids and then the lengths of the lines that end in it, each in the smallest of three sizes
that holds them; the table of windows; how often each token occurs; the tokens, as JSON; three numbers that say how long
the last three are; the SHA-256 of all this.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import weakref
from collections.abc import Sequence

import numpy as np

FORMAT = 2  # to be raised when what a file holds, or how text becomes ids, changes
TEMPORARY = "charlm-"  # how the name of a file begins that is still being written
TYPES = tuple(map(np.dtype, ("<u1", "<u2", "<u4")))
# Of each window: where its bytes begin, its tokens; the lines that end in it, and their tokens; the indices in TYPES.
TABLE = ("begin", "tokens", "lines", "tokens_of_lines", "width", "length_width")
SIZES = struct.Struct("<QQQ")
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_TOGETHER = 1 << 20  # bytes


class Store:
    """An encoded corpus on the disk; it can be read as long as this object lives, even where its file is removed.

    file: an open descriptor, closed with this object. Raises ValueError for what `StoreWriter` has not written.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)
        size = os.fstat(file).st_size
        sizes_at = size - _DIGEST_BYTES - SIZES.size
        if sizes_at < 0:
            raise ValueError("too short")
        parts = SIZES.unpack(self._read(sizes_at, SIZES.size))
        at = sizes_at - sum(parts)
        if at < 0:
            raise ValueError("cut off")
        table, counts, tokens = (self._read(at + sum(parts[:i]), parts[i]) for i in range(3))
        self._table = np.frombuffer(table, "<i8").reshape(-1, len(TABLE)).T
        self.counts: np.ndarray = np.frombuffer(counts, "<i8")
        self.tokens: Sequence[str] = json.loads(tokens)
        self._starts, self.line_starts, self._first_tokens = (
            np.concatenate([[0], np.cumsum(self._column(name))]) for name in ("tokens", "lines", "tokens_of_lines")
        )

    @property
    def size(self) -> int:
        """The number of tokens."""
        return int(self._starts[-1])

    @property
    def lines(self) -> int:
        """The number of lines."""
        return int(self.line_starts[-1])

    @property
    def windows(self) -> int:
        """The number of windows; in window w end the lines `line_starts[w]:line_starts[w + 1]`."""
        return self._starts.size - 1

    def is_whole(self) -> bool:
        """Tell whether the file holds what was written."""
        end = os.fstat(self._file).st_size - _DIGEST_BYTES
        digest = hashlib.sha256()
        for at in range(0, end, _READ_TOGETHER):
            digest.update(self._read(at, min(_READ_TOGETHER, end - at)))
        return digest.digest() == self._read(end, _DIGEST_BYTES)

    def window(self, number: int) -> np.ndarray:
        """Give the ids [n] of the lines that end in a window."""
        return self.slice(*self._first_tokens[number : number + 2].tolist())

    def lengths(self, number: int) -> np.ndarray:
        """Give the lengths [lines] of the lines that end in a window, their ends counted."""
        begin, tokens, lines, _, width, length_width = self._table[:, number].tolist()
        kind = TYPES[length_width]
        data = self._read(begin + tokens * TYPES[width].itemsize, lines * kind.itemsize)
        return np.frombuffer(data, kind).astype(np.int64)

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Give the ids [stop - start] of tokens anywhere."""
        parts = [np.empty(0, np.uint8)]
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            begin, end = self._starts[number : number + 2].tolist()
            parts.append(self._ids(number, start - begin, min(stop, end) - begin))
            start, number = end, number + 1
        return np.concatenate(parts)

    def _column(self, name: str) -> np.ndarray:
        column: np.ndarray = self._table[TABLE.index(name)]
        return column

    def _ids(self, number: int, start: int, stop: int) -> np.ndarray:
        kind = TYPES[int(self._column("width")[number])]
        begin = int(self._column("begin")[number]) + start * kind.itemsize
        return np.frombuffer(self._read(begin, (stop - start) * kind.itemsize), kind)

    def _read(self, at: int, size: int) -> bytes:
        # Not mapped into memory: pages that are, count as the process's own.
        data = os.pread(self._file, size, at)
        if len(data) != size:
            raise ValueError("cut off")
        return data
