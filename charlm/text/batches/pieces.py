"""Batches of music."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charlm.text.batches.lanes import NO_TARGET, Batch, LineBatches, LineSource


class PieceBatches(LineBatches):
    """Batches of lines whose tokens are the numbers of steps, each number replaced by the keys that sound at the step.

    numbers: the lines; x<1> of a line is N + its label, or `NOTHING`
    roll [N, keys] uint8: the keys of each step; num_labels: labels follow the keys in the inputs, one-hot
    """

    def __init__(
        self, numbers: LineSource, roll: np.ndarray, num_labels: int, batch_size: int, seq_length: int, seed: int | None
    ) -> None:
        super().__init__(numbers, batch_size=batch_size, seq_length=seq_length, seed=seed)
        steps, keys = roll.shape
        # Both tables end with a row for NOTHING and NO_TARGET, which are -1.
        self._inputs = np.zeros((steps + num_labels + 1, keys + num_labels), np.uint8)
        self._inputs[:steps, :keys] = roll
        self._inputs[steps:-1, keys:] = np.eye(num_labels, dtype=np.uint8)
        self._targets = np.concatenate([roll.astype(np.int8), np.full((1, keys), NO_TARGET, np.int8)])

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        for batch in super().epoch(epoch, skip=skip):
            inputs, targets = self._inputs[batch.inputs], self._targets[batch.targets]
            yield Batch(inputs.transpose(0, 2, 1), targets.transpose(0, 2, 1), batch.starts)
