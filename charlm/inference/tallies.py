"""The figure of a task, counted batch by batch: accuracy, F1 of a binary tag, F1 of entities."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from charlm.inference.entities import Entities
from charlm.text.batches.lanes import NO_TARGET, Batch
from charlm.text.iob import are_entities
from charlm.text.tokens.codec import BINARY


class Tally(ABC):
    """Counts of the predictions of a corpus; a figure f from 0 to 1 of n cases."""

    @abstractmethod
    def add(self, batch: Batch, predicted: np.ndarray) -> None:
        """Count a batch; predicted [T, B]: the likeliest label at each step."""

    @property
    @abstractmethod
    def value(self) -> float:
        """The figure; 0 for an empty corpus."""

    @property
    @abstractmethod
    def cases(self) -> float:
        """The number of cases."""

    def error_of(self, figure: float) -> float:
        """Return the standard error of a figure f of as many cases, that of a proportion: sqrt(f (1 - f) / n)."""
        return math.sqrt(figure * (1.0 - figure) / self.cases) if self.cases else 0.0


class Accuracy(Tally):
    """The share of right labels."""

    def __init__(self) -> None:
        self.right = self.all = 0

    def add(self, batch: Batch, predicted: np.ndarray) -> None:
        self.right += int(np.count_nonzero(predicted == batch.targets))
        self.all += batch.count

    @property
    def value(self) -> float:
        return self.right / max(1, self.all)

    @property
    def cases(self) -> float:
        return float(self.all)


class F1(Tally):
    """2 right / (found + true): the harmonic mean of precision and recall. Its cases are the mean of found and true.

    found, true: predicted and annotated positives; right: those that agree
    """

    def __init__(self) -> None:
        self.right = self.found = self.true = 0

    @property
    def value(self) -> float:
        return 2 * self.right / max(1, self.found + self.true)

    @property
    def cases(self) -> float:
        return (self.found + self.true) / 2


class BinaryF1(F1):
    """F1 of the tag 1 among the tags 0 and 1."""

    def add(self, batch: Batch, predicted: np.ndarray) -> None:
        found, true = (predicted == 1) & (batch.targets != NO_TARGET), batch.targets == 1
        self.right += int(np.count_nonzero(found & true))
        self.found += int(np.count_nonzero(found))
        self.true += int(np.count_nonzero(true))


class EntityF1(F1):
    """F1 of whole entities, see `entities`.

    labels: the tags: `O`, `B-X` and `I-X`
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self._entities = Entities(labels)

    def add(self, batch: Batch, predicted: np.ndarray) -> None:
        starts = np.zeros(batch.targets.shape, bool) if batch.starts is None else batch.starts.copy()
        starts[:1] = True
        # Lane by lane, so that the tags of a sentence are side by side.
        truth, found, first = (array.T.ravel() for array in (batch.targets, predicted, starts))
        # Where a lane ends early, a start follows its last sentence.
        has_target = truth != NO_TARGET
        self._entities.add(found[has_target], truth[has_target], first[has_target])
        self.right, self.found, self.true = self._entities.counts.sum(axis=0).tolist()


def has_f1(labels: Sequence[str]) -> bool:
    """Return whether tags have an F1: those of entities, and 0 and 1."""
    return tuple(labels) == BINARY or are_entities(labels)


def tally_named(name: str, labels: Sequence[str]) -> Tally:
    """Return an empty tally, `accuracy` or `f1`."""
    if name == "accuracy":
        return Accuracy()
    return BinaryF1() if tuple(labels) == BINARY else EntityF1(labels)
