"""A prediction, and the probabilities of a sequence's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charlm.nn.model import Model
from charlm.nn.workspace import Workspace
from charlm.text.dataset import Sequences

STEPS = 128  # of a batch into whose lanes sequences are packed
_PROBABILITIES = 1 << 24  # in memory at a time


@dataclass(frozen=True)
class Prediction:
    """The prediction for one line.

    prediction: the class, the translation, or the list of tags
    prob: its probability, or that of each tag
    others: further values by JSON key, such as the probabilities of all classes
    """

    text: str
    prediction: Any
    prob: Any
    others: dict[str, Any] = field(default_factory=dict)


def log_probs_at(
    model: Model, sequences: Sequences, places: Sequence[np.ndarray], ws: Workspace, *, batch_size: int
) -> list[np.ndarray]:
    """Return ln P of every label at some steps of each sequence, `[labels, places]` for each sequence.

    places: of each sequence, the steps in question
    """
    choices = model.config.labels or model.config.vocabulary_size
    steps = max(1, min(STEPS, _PROBABILITIES // (max(2, choices) * batch_size)))
    results: list[np.ndarray] = [np.empty((0, 0))] * len(places)
    for batch, numbers, begins, lanes in sequences.batches(batch_size, steps).placed():
        wanted = [places[i] for i in numbers.tolist()]
        counts = [len(one) for one in wanted]
        at = np.concatenate([begin + one for begin, one in zip(begins, wanted, strict=True)]).astype(np.int64)
        log_probs = model.log_probs_at(batch, at, np.repeat(lanes, counts), ws)
        parts = np.split(log_probs, np.cumsum(counts)[:-1], axis=1)
        for i, part in zip(numbers.tolist(), parts, strict=True):
            results[i] = part
    return results
