"""What a training remembers between its steps, beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FIRST_NUMBERS: dict[str, Any] = {
    "step": 0,
    "epoch": 0,
    "index": 0,  # batches done of the epoch
    "best_nats": None,
    "plateaus": 0,  # evaluations in all that were not better than the best before
    "waiting": 0,  # such evaluations since the best
    "sum_nats": 0.0,  # of the training loss since the last evaluation
    "sum_tokens": 0,
}
HISTORY_FIELDS = ("step", "epoch", "train_nats", "valid_nats", "learning_rate")


@dataclass(frozen=True)
class TrainingState:
    """All that an exact resumption needs: plain numbers, and arrays by name; no generator, see `randomness`."""

    numbers: dict[str, Any]
    arrays: dict[str, np.ndarray]


def check_numbers(numbers: Mapping[str, Any]) -> None:
    """Raise ValueError where these are not the numbers of a training's state."""
    whole = {name for name, first in FIRST_NUMBERS.items() if isinstance(first, int)} | {"total_steps"}
    expected = {*FIRST_NUMBERS, "total_steps", "history"}
    if not isinstance(numbers, Mapping) or set(numbers) != expected:
        raise ValueError("the training state is incomplete")
    for name in expected - {"history"}:
        value = numbers[name]
        kind: Any = int if name in whole else int | float
        none = value is None and name == "best_nats"
        if not none and (not isinstance(value, kind) or isinstance(value, bool) or (name in whole and value < 0)):
            raise ValueError(f"the training state has {name} = {value!r}"[:200])
