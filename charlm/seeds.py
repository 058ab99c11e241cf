"""The results of trainings that differ in their seed alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.backends import NumpyBackend
from charlm.checkpoint import load

_OF_PROGRESS = ("step", "epoch", "learning_rate")


@dataclass(frozen=True)
class SeedResult:
    """What one training has come to.

    path: its model file
    figures: by name; the loss that decides which is best comes first, those of a test file begin with `test_`
    """

    seed: int
    path: Path
    figures: dict[str, float]

    @property
    def loss(self) -> float:
        """The lowest validation loss; of a training that was not validated, its training loss."""
        return next(iter(self.figures.values()))


def result_of(path: Path, seed: int) -> SeedResult:
    """Return the result in a model file; raise ModelFileError if it cannot be read."""
    language_model = load(path, NumpyBackend()).language_model
    history = language_model.history
    validated = [row for row in history if row["valid_nats"] is not None]
    row = min(validated, key=lambda row: row["valid_nats"]) if validated else history[-1]
    loss = "valid_nats" if validated else "train_nats"
    of_row = {name: value for name, value in row.items() if name not in _OF_PROGRESS and value is not None}
    test = {f"test_{name}": v for name, v in language_model.run.test.items() if isinstance(v, float)}
    return SeedResult(seed, path, {loss: of_row.pop(loss), **of_row, **test})


def best_of(results: Sequence[SeedResult]) -> SeedResult:
    """Return the result of the lowest loss, the first of several."""
    return min(results, key=lambda one: one.loss)


def spread_of(results: Sequence[SeedResult], name: str) -> tuple[float, float | None]:
    """Return the mean of a figure and its sample standard deviation, None of one result."""
    values = [one.figures[name] for one in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
