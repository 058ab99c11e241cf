"""The loss of a predictor that knows only how often each target occurs."""

from __future__ import annotations

import numpy as np

from charlm.nn.heads import Head
from charlm.text.batches.lanes import Batches

_MOST_COUNTED = 1 << 20  # targets of a part; the batches of an epoch are spread over the corpus


def baseline_nats(head: Head, train: Batches, valid: Batches | None) -> float:
    """Return the mean loss of the targets under their frequencies in the training part, smoothed by adding one.

    valid: the targets to predict; None: those of the training part
    """
    seen = _counts(head, train)
    return head.frequency_nats(seen, seen if valid is None else _counts(head, valid))


def _counts(head: Head, batches: Batches) -> np.ndarray:
    """Return how often each target occurs in the first batches of an epoch."""
    found, counted = [], 0
    for batch in batches.epoch(0):
        found.append(head.counts(batch.targets))
        counted += batch.count
        if counted >= _MOST_COUNTED:
            break
    total: np.ndarray = np.sum(found, axis=0)
    return total
