"""Pieces of music: a step is the set of keys that sound, as a row of zeros and ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from charlm.text.batches.lanes import NO_TARGET, Batch, Batches, LineBatches
from charlm.text.tokens.vocabulary import NOTHING

REST = "-"  # a step at which nothing sounds
PIANO = range(21, 109)  # the keys that every model knows, as MIDI numbers
HIGHEST_KEY = 127

_STEP = re.compile(r"-|\d{1,3}(?:,\d{1,3})*")


def parse_piece(text: str) -> list[tuple[int, ...]]:
    """Read a piece: steps apart by white space, each the MIDI numbers of its keys joined by commas, or `-` for none.

    Raises ValueError, which names the step, where it is none.
    """
    return list(parse_steps(text))


def parse_steps(text: str) -> Iterator[tuple[int, ...]]:
    """Yield the steps of a piece one by one, as `parse_piece` returns them."""
    for number, found in enumerate(re.finditer(r"\S+", text), start=1):
        step = found[0]
        try:
            yield _parsed(step)
        except ValueError:
            raise ValueError(
                f"step {number} is {step[:40]!r}, not MIDI numbers of 0 to {HIGHEST_KEY} joined by commas"
            ) from None


@lru_cache(maxsize=4096)
def _parsed(step: str) -> tuple[int, ...]:
    """Read a step; equal ones are one object, so that a long piece of few different steps takes little memory."""
    if step == REST:
        return ()
    if not _STEP.fullmatch(step):
        raise ValueError
    keys = tuple(map(int, step.split(",")))
    if max(keys) > HIGHEST_KEY:
        raise ValueError
    return keys


def format_step(keys: Sequence[int]) -> str:
    """Write a step as `parse_piece` reads it."""
    return ",".join(map(str, sorted(keys))) or REST


@dataclass(frozen=True)
class Pieces:
    """Encoded pieces of music, end to end.

    roll [N, keys] uint8: 1 where the key sounds at the step; offsets [pieces + 1]; labels [pieces] or None: of each
    piece the genre; num_labels: how many there are
    """

    roll: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray | None = None
    num_labels: int = 0

    @property
    def size(self) -> int:
        """The number of steps."""
        return len(self.roll)

    @property
    def sequences(self) -> int:
        """The number of pieces."""
        return self.offsets.size - 1

    def fit(self, batch_size: int, seq_length: int) -> tuple[int, int]:
        """Shrink the sizes of a batch to what there is."""
        longest = int(np.diff(self.offsets).max())
        batch_size = max(1, min(batch_size, self.offsets.size - 1, self.size // longest))
        return batch_size, max(1, min(seq_length, max(longest, self.size // batch_size)))

    def batches(self, batch_size: int, seq_length: int, *, seed: int | None = None, context: int = 0) -> Batches:
        """Cut the pieces into batches; seed: shuffles them anew each epoch."""
        del context  # a piece is a sequence of its own
        return PieceBatches(self, batch_size=batch_size, seq_length=seq_length, seed=seed)


class PieceBatches(Batches):
    """Batches of music: those of lines whose tokens are the numbers of steps, each number then replaced by its keys."""

    carries = True

    def __init__(self, pieces: Pieces, *, batch_size: int, seq_length: int, seed: int | None = None) -> None:
        numbers = np.arange(pieces.size, dtype=np.int32)
        first = None if pieces.labels is None else (pieces.size + pieces.labels).astype(np.int32)
        self._lines = LineBatches(
            numbers, pieces.offsets, batch_size=batch_size, seq_length=seq_length, first=first, seed=seed
        )
        self.batch_size = batch_size
        self._keys = pieces.roll.shape[1]
        labels = np.eye(pieces.num_labels, dtype=np.uint8)
        self._inputs = np.zeros((pieces.size + pieces.num_labels + 1, self._keys + pieces.num_labels), np.uint8)
        self._inputs[: pieces.size, : self._keys] = pieces.roll
        self._inputs[pieces.size : -1, self._keys :] = labels  # the last row stays zero: NOTHING
        self._targets = np.concatenate([pieces.roll.astype(np.int8), np.full((1, self._keys), NO_TARGET, np.int8)])

    def steps(self, epoch: int = 0) -> int:
        return self._lines.steps(epoch)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        assert NOTHING == NO_TARGET == -1  # both tables end with the row for them
        for batch in self._lines.epoch(epoch, skip=skip):
            inputs, targets = self._inputs[batch.inputs], self._targets[batch.targets]
            yield Batch(inputs.transpose(0, 2, 1), targets.transpose(0, 2, 1), batch.starts)
