"""The results of trainings that differ in their seed alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.backends import NumpyBackend
from charlm.checkpoint import load


@dataclass(frozen=True)
class SeedResult:
    """What one training has come to.

    path: its model file
    loss: validation loss of the kept weights; of a training that was not validated, the last training loss
    figure: their accuracy or F1, if the task has one
    figures: all of them by name; those of a test file begin with `test_`
    held_out_seed: of the lines that were held out; None if none were drawn
    """

    seed: int
    path: Path
    loss: float
    figure: float | None
    figures: dict[str, float]
    held_out_seed: int | None


def result_of(path: Path, seed: int) -> SeedResult:
    """Return the result in a model file; raise ModelFileError if it cannot be read."""
    language_model = load(path, NumpyBackend()).language_model
    outcome, history = language_model.outcome, language_model.history
    if outcome is None or outcome.valid_nats is None:
        name, loss, figure = "train_nats", history[-1]["train_nats"], None
    else:
        name, loss, figure = "valid_nats", outcome.valid_nats, outcome.figure
    figures = {name: loss}
    if outcome is not None and figure is not None:
        figures[outcome.figure_name] = figure
    test = {f"test_{name}": value for name, value in language_model.run.test.items() if isinstance(value, float)}
    draws = language_model.train.draws_held_out and not language_model.is_stream
    held_out_seed = language_model.train.held_out_seed if draws else None
    return SeedResult(seed, path, loss, figure, {**figures, **test}, held_out_seed)


def best_of(results: Sequence[SeedResult]) -> SeedResult:
    """Return the result of the highest figure, of equal ones or without figures that of the lowest loss."""
    return min(results, key=lambda one: (0.0 if one.figure is None else -one.figure, one.loss))


def spread_of(results: Sequence[SeedResult], name: str) -> tuple[float, float | None]:
    """Return the mean of a figure and its sample standard deviation, None of one result."""
    values = [one.figures[name] for one in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
