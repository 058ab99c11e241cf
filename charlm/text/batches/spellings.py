"""Words with their characters in a mini-batch, and the different words of one as lanes of characters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charlm.text.batches.lanes import filled, mark_starts, runs
from charlm.text.tokens.vocabulary import NOTHING

_STEPS = 16  # of the lanes of characters, if no word is longer


class Spellings(NamedTuple):
    """The different words of a mini-batch, W of them, end to end in lanes of characters.

    characters [T', B'] int32: `NOTHING` after the last word of a lane; starts [T', B'] bool: a word begins here
    last, lane [W] int64: the step and the lane of each word's last character
    which [T, B] int32: the number of the word at each place of the mini-batch, or `NOTHING`
    """

    characters: np.ndarray
    starts: np.ndarray
    last: np.ndarray
    lane: np.ndarray
    which: np.ndarray


def rows_of(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the rows of a table for `numbers [T, B]`, as `[T, 1 + K, B]`; the last row is that of `NOTHING`.

    K: characters of the longest word among them
    """
    rows = table[numbers]
    width = 1 + int(np.count_nonzero((rows[:, :, 1:] != NOTHING).any(axis=(0, 1))))
    return np.ascontiguousarray(rows[:, :, :width].transpose(0, 2, 1))


def spellings_of(inputs: np.ndarray) -> Spellings:
    """Return the spellings of a mini-batch `[T, 1 + K, B]`, each once, in an order that depends on them alone."""
    T, width, batch = inputs.shape
    rows = inputs[:, 1:].transpose(0, 2, 1).reshape(T * batch, width - 1)
    each = np.ascontiguousarray(rows[rows[:, :1].ravel() != NOTHING]) if width > 1 else rows[:0]
    words, which = _distinct(each)
    numbers = np.full(T * batch, NOTHING, np.int32)
    if width > 1:
        numbers[rows[:, 0] != NOTHING] = which
    lengths = np.count_nonzero(words != NOTHING, axis=1)
    lanes = max(1, round(int(lengths.sum()) / max(_STEPS, int(lengths.max(initial=0)))))
    begins, lane, ends = filled(lengths, lanes)
    shape = (max(1, int(ends.max())), lanes)
    characters, starts = np.full(shape, NOTHING, np.int32), np.zeros(shape, bool)
    characters[runs(begins, lengths), np.repeat(lane, lengths)] = words[words != NOTHING]
    mark_starts(starts, begins, lane, ends)
    return Spellings(characters, starts, begins + lengths - 1, lane, numbers.reshape(T, batch))


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different rows of `[n, K]`, sorted, and the number of each row among them, [n]."""
    if not rows.size:
        return rows, np.empty(0, np.int32)
    _, first, which = np.unique(
        rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel(), return_index=True, return_inverse=True
    )
    return rows[first], which.ravel()
