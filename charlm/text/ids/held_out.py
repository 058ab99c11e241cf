"""The lines of a corpus that are held out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Second word of the generator's key. The keys of `charlm.randomness` are hashes, so they differ.
_SPLIT_STREAM = 2**64 - 1
_DRAWN_TOGETHER = 1 << 18  # numbers
_HEAD_BITS = 16  # of a number: lines are counted by these first


class HeldOutLines:
    """The lines of the validation set: those that draw the smallest numbers.

    The number of a line depends on the seed and the line's position alone. Numbers are drawn anew when they are needed,
    so that memory does not grow with the lines.

    count: number of lines; fraction: share to hold out, 0 <= fraction < 1; seed: 0 <= seed < 2**64

    If fraction > 0 and count >= 2, neither part is empty; otherwise nothing is held out. The same arguments hold out
    the same lines on every machine. Raises ValueError for arguments out of range.
    """

    def __init__(self, count: int, fraction: float, seed: int) -> None:
        if count < 0 or not 0 <= fraction < 1 or not 0 <= seed < 2**64:
            raise ValueError(f"cannot split {count} lines by the fraction {fraction} and the seed {seed}")
        self.count, self._seed = count, seed
        self.held_count = 0
        if fraction > 0 and count >= 2:
            self.held_count = min(max(round(count * fraction), 1), count - 1)
        self._largest, self._last = self._border() if self.held_count else (np.uint64(0), -1)

    def mask(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Return whether each of the lines `start:stop` is held out."""
        if not self.held_count:
            return np.zeros(stop - start, bool)
        drawn = self._numbers(start, stop)
        held: npt.NDArray[np.bool_] = drawn < self._largest
        for equal in np.flatnonzero(drawn == self._largest).tolist():
            held[equal] = start + equal <= self._last
        return held

    def _border(self) -> tuple[np.uint64, int]:
        """Return the largest number that is held out, and the last of the held-out lines that drew it."""
        heads = np.zeros(1 << _HEAD_BITS, np.int64)
        for start in range(0, self.count, _DRAWN_TOGETHER):
            heads += np.bincount(self._heads(start)[1], minlength=heads.size)
        before = np.cumsum(heads) - heads
        head = int(np.searchsorted(before, self.held_count, side="left")) - 1
        drawn, lines = [], []
        for start in range(0, self.count, _DRAWN_TOGETHER):
            numbers, their_heads = self._heads(start)
            found = np.flatnonzero(their_heads == head)
            drawn.append(numbers[found])
            lines.append(start + found)
        all_drawn = np.concatenate(drawn)
        last = np.argsort(all_drawn, kind="stable")[self.held_count - int(before[head]) - 1]
        return all_drawn[last], int(np.concatenate(lines)[last])

    def _heads(self, start: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        numbers = self._numbers(start, min(start + _DRAWN_TOGETHER, self.count))
        return numbers, (numbers >> np.uint64(64 - _HEAD_BITS)).astype(np.int64)

    def _numbers(self, start: int, stop: int) -> npt.NDArray[np.uint64]:
        # Raw bits, because NumPy guarantees these from version to version, but not `permutation`.
        bits = np.random.Philox(key=np.array([self._seed, _SPLIT_STREAM], np.uint64))
        bits.advance(start // 4)  # it draws four numbers at a time
        numbers: npt.NDArray[np.uint64] = bits.random_raw(start % 4 + stop - start)[start % 4 :]
        return numbers


def split_lines(count: int, fraction: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the lines to learn from and of the held-out lines, both rising; see `HeldOutLines`."""
    held = HeldOutLines(count, fraction, seed).mask(0, count)
    return np.flatnonzero(~held), np.flatnonzero(held)
