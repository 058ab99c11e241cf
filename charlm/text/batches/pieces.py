"""Batches of music."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charlm.text.batches.lanes import NO_TARGET, Batch, Batches
from charlm.text.tokens.vocabulary import NOTHING


class PieceBatches(Batches):
    """Batches of step numbers, each number replaced by the keys that sound at the step.

    numbers: batches of lines whose tokens are the numbers of steps; x<1> of a line is N + its label, or `NOTHING`
    roll [N, keys] uint8: the keys of each step; num_labels: labels follow the keys in the inputs, one-hot
    """

    carries = True

    def __init__(self, numbers: Batches, roll: np.ndarray, num_labels: int) -> None:
        self._numbers, self.batch_size = numbers, numbers.batch_size
        steps, keys = roll.shape
        # Both tables end with a row for NOTHING and NO_TARGET, which are -1.
        self._inputs = np.zeros((steps + num_labels + 1, keys + num_labels), np.uint8)
        self._inputs[:steps, :keys] = roll
        self._inputs[steps:-1, keys:] = np.eye(num_labels, dtype=np.uint8)
        self._targets = np.concatenate([roll.astype(np.int8), np.full((1, keys), NO_TARGET, np.int8)])

    def steps(self, epoch: int = 0) -> int:
        return self._numbers.steps(epoch)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        assert NOTHING == NO_TARGET == -1
        for batch in self._numbers.epoch(epoch, skip=skip):
            inputs, targets = self._inputs[batch.inputs], self._targets[batch.targets]
            yield Batch(inputs.transpose(0, 2, 1), targets.transpose(0, 2, 1), batch.starts)
