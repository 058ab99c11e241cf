"""A whole corpus as ids, in memory or on the disk: either store answers the same questions.

On the disk it is written window by window, and read in any order, only what is asked for:

| part of the file | content |
|---|---|
| windows | of each the ids, then the lengths of the lines that end in it, each in the smallest of three types |
| table | a `Row` for each window, int64 |
| counts | how often each token occurs, int64 |
| tokens | by provisional id, as JSON |
| spacing | the learned `Spacing`, as JSON |
| name | of its entry in the cache |
| sizes | of the last five parts in bytes, see `SIZES` |
| digest | the SHA-256 of all parts before |
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charlm.errors import ResourceError
from charlm.text.ids.encoder import Counts
from charlm.text.tokens.joining import NO_SPACING, Spacing
from charlm.text.tokens.vocabulary import EOS, EOS_ID, UNK

FORMAT = 4  # to be raised when the parts of a file change, or how text becomes ids
TEMPORARY = "charlm-"  # the prefix of files that are still being written
TYPES = tuple(map(np.dtype, ("<u1", "<u2", "<u4")))
SIZES = struct.Struct("<QQQQQ")
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_TOGETHER = 1 << 20  # bytes


class Row(NamedTuple):
    """A window in the table: the offset of its bytes, its tokens, the lines that end in it; two indices in `TYPES`."""

    begin: int
    tokens: int
    lines: int
    tokens_of_lines: int
    width: int
    length_width: int


class DiskStore:
    """An encoded corpus on the disk; it can be read as long as this object lives, even if its file is removed.

    file: an open descriptor, closed with this object
    name: of its entry in the cache, "" without one; tokens: by provisional id; spacing: how their text was spelled
    size, lines, windows: the numbers of tokens, lines and windows
    line_starts [windows + 1]: in window w end the lines `line_starts[w]:line_starts[w + 1]`
    Raises ValueError or ResourceError for a file that `StoreWriter` has not written.
    """

    at_hand = False  # whether all of it is one window, in memory
    first: np.ndarray | None = None  # x<1> of each line, where that is a label

    def __init__(self, file: int) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)
        size = os.fstat(file).st_size
        sizes_at = size - _DIGEST_BYTES - SIZES.size
        if sizes_at < 0:
            raise ValueError("too short")
        parts = SIZES.unpack(self._read(sizes_at, SIZES.size))
        self._data = at = sizes_at - sum(parts)  # bytes of all windows
        if at < 0:
            raise ValueError("cut off")
        table, counts, tokens, spacing, name = (self._read(at + sum(parts[:i]), parts[i]) for i in range(len(parts)))
        self.name = name.decode()
        self._table = np.frombuffer(table, "<i8").reshape(-1, len(Row._fields)).T
        self._counts: np.ndarray = np.frombuffer(counts, "<i8")
        self.tokens: Sequence[str] = json.loads(tokens)
        self.spacing = Spacing.from_json(json.loads(spacing))
        # Of tokens, lines, and tokens of lines: how many are before each window.
        self._starts, self.line_starts, self._first_tokens = (
            np.concatenate([[0], np.cumsum(column)]) for column in self._table[1:4]
        )
        self.size, self.lines, self.windows = int(self._starts[-1]), int(self.line_starts[-1]), self._starts.size - 1

    def is_whole(self) -> bool:
        """Return whether the file is as it was written, by `StoreWriter` and not by anything else."""
        end = os.fstat(self._file).st_size - _DIGEST_BYTES
        digest = hashlib.sha256()
        for at in range(0, end, _READ_TOGETHER):
            digest.update(self._read(at, min(_READ_TOGETHER, end - at)))
        return digest.digest() == self._read(end, _DIGEST_BYTES) and self._is_possible() and self._is_consistent()

    def _is_possible(self) -> bool:
        """Return whether the table allows the windows to be read, and the tokens are different strings."""
        table, tokens = self._table, self.tokens
        return (
            table.size > 0
            and table.min() >= 0
            and table.max() <= self._data
            and table[4:].max() < len(TYPES)
            and isinstance(tokens, list)
            and all(isinstance(token, str) for token in tokens)
            and tokens[:2] == [EOS, UNK]
            and len(set(tokens)) == len(tokens)
        )

    def _is_consistent(self) -> bool:
        """Return whether the ids in the file lead to the same table, lengths and counts."""
        counts, at, begun = Counts(), 0, 0
        for number, row in enumerate(map(Row._make, self._table.T.tolist())):
            found, ids, lengths = window_of(self._ids(number, 0, row.tokens), at, begun)
            if found != row or ids.max() >= len(self.tokens) or not np.array_equal(lengths, self.lengths(number)):
                return False
            counts.add(ids)
            at += ids.nbytes + lengths.nbytes
            begun += row.tokens - row.tokens_of_lines
        return at == self._data and not begun and np.array_equal(counts.of(len(self.tokens)), self._counts)

    def counts(self, known: int) -> np.ndarray:
        """Return how often each of the `known` ids occurs, int64."""
        return self._counts[:known]

    def window(self, number: int) -> np.ndarray:
        """Return the ids [n] of the lines that end in a window, of any integer type."""
        return self.slice(*self._first_tokens[number : number + 2].tolist())

    def lengths(self, number: int) -> np.ndarray:
        """Return the lengths [lines] of the lines that end in a window, their ends included, int64."""
        row = Row(*self._table[:, number].tolist())
        kind = TYPES[row.length_width]
        data = self._read(row.begin + row.tokens * TYPES[row.width].itemsize, row.lines * kind.itemsize)
        return np.frombuffer(data, kind).astype(np.int64)

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Return the ids [stop - start] of tokens anywhere, of any integer type."""
        parts = [np.empty(0, np.uint8)]
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            begin, end = self._starts[number : number + 2].tolist()
            parts.append(self._ids(number, start - begin, min(stop, end) - begin))
            start, number = end, number + 1
        return np.concatenate(parts)

    def _ids(self, number: int, start: int, stop: int) -> np.ndarray:
        row = Row(*self._table[:, number].tolist())
        kind = TYPES[row.width]
        return np.frombuffer(self._read(row.begin + start * kind.itemsize, (stop - start) * kind.itemsize), kind)

    def _read(self, at: int, size: int) -> bytes:
        # Not mapped: mapped pages count as the process's own memory.
        try:
            data = os.pread(self._file, size, at)
        except OSError as error:
            raise _lost(str(error.strerror or error)) from error
        if len(data) != size:
            raise _lost("it was cut off")
        return data


class MemoryStore:
    """A corpus in memory, as one window; `DiskStore` describes the methods.

    ids [N] int32; offsets [lines + 1] int64: line i is `ids[offsets[i]:offsets[i + 1]]`, its end included
    first [lines] int32: x<1> of each line, where that is a label; None: the zero vector
    tokens, spacing: by id, and how their text was spelled, of a corpus that was gathered
    """

    at_hand = True
    windows = 1

    def __init__(
        self,
        ids: np.ndarray,
        offsets: np.ndarray,
        first: np.ndarray | None = None,
        tokens: Sequence[str] = (),
        spacing: Spacing = NO_SPACING,
    ) -> None:
        self.ids, self.offsets, self.first, self.tokens, self.spacing = ids, offsets, first, tokens, spacing
        self.size, self.lines = ids.size, offsets.size - 1
        self.line_starts = np.array([0, self.lines])

    @classmethod
    def of(cls, ids: np.ndarray, tokens: Sequence[str], spacing: Spacing = NO_SPACING) -> MemoryStore:
        """Return the store of ids in which `EOS_ID` ends each line."""
        offsets = np.concatenate([[0], np.flatnonzero(ids == EOS_ID) + 1]).astype(np.int64)
        return cls(ids, offsets, tokens=tokens, spacing=spacing)

    def counts(self, known: int) -> np.ndarray:
        return np.bincount(self.ids, minlength=known)

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]

    def window(self, number: int) -> np.ndarray:
        return self.ids

    def lengths(self, number: int) -> np.ndarray:
        return np.diff(self.offsets)


Store = MemoryStore | DiskStore


def window_of(ids: np.ndarray, at: int, begun: int) -> tuple[Row, np.ndarray, np.ndarray]:
    """Return the row of a window, its ids and the lengths of its lines, both in the smallest type.

    ids [n]: provisional; at: the offset of its bytes; begun: the tokens that its first line has in earlier windows
    """
    of_lines = np.diff(np.flatnonzero(ids == EOS_ID), prepend=-1 - begun)
    ids, lengths = _compact(ids), _compact(of_lines)
    widths = (TYPES.index(ids.dtype), TYPES.index(lengths.dtype))
    return Row(at, ids.size, lengths.size, int(of_lines.sum()), *widths), ids, lengths


def _compact(numbers: np.ndarray) -> np.ndarray:
    """Return numbers of 0 or more in the smallest type of `TYPES` that holds them."""
    most = int(numbers.max(initial=0))
    return numbers.astype(next(kind for kind in TYPES if most <= np.iinfo(kind).max), copy=False)


def _lost(reason: str) -> ResourceError:
    return ResourceError(f"cannot read the encoded corpus: {reason}", hint="start again: the text is encoded anew")
