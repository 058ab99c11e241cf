"""What a training remembers between its steps, beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.nn.layer import State

FIRST_NUMBERS: dict[str, Any] = {
    "step": 0,
    "epoch": 0,
    "index": 0,  # batches done of the epoch
    "best_nats": None,
    "plateaus": 0,  # evaluations in all that were not better than the best before
    "waiting": 0,  # such evaluations since the best
    "sum_nats": 0.0,  # of the training loss since the last evaluation
    "sum_tokens": 0,
    "good_nats": None,  # the loss of the weights to go back to
    "setbacks": 0,  # times that training went back to them
    "halvings": 0,  # of the learning rate, one for each time in all
    "restarted": 0,  # step from which on the optimizer's memory counts
}
LATER_NUMBERS = ("good_nats", "setbacks", "halvings", "restarted")  # that checkpoints of charlm 0.1.0 lack
HISTORY_FIELDS = ("step", "epoch", "train_nats", "valid_nats", "learning_rate")


@dataclass(frozen=True)
class TrainingState:
    """All that an exact resumption needs: plain numbers, and arrays by name; no generator, see `randomness`."""

    numbers: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def all_numbers(self) -> dict[str, Any]:
        """A copy of the numbers, with those that older checkpoints lack."""
        return {**dict.fromkeys(LATER_NUMBERS, 0), "good_nats": self.numbers["best_nats"], **self.numbers}


def check_numbers(numbers: Mapping[str, Any]) -> None:
    """Raise ValueError where these are not the numbers of a training's state."""
    whole = {name for name, first in FIRST_NUMBERS.items() if isinstance(first, int)} | {"total_steps"}
    expected = {*FIRST_NUMBERS, "total_steps", "history"}
    if not isinstance(numbers, Mapping) or set(numbers) | set(LATER_NUMBERS) != expected:
        raise ValueError("the training state is incomplete")
    for name in set(numbers) - {"history"}:
        value = numbers[name]
        kind: Any = int if name in whole else int | float
        none = value is None and name in ("best_nats", "good_nats")
        if not none and (not isinstance(value, kind) or isinstance(value, bool) or (name in whole and value < 0)):
            raise ValueError(f"the training state has {name} = {value!r}"[:200])


def leaves_of(state: State) -> list[Any]:
    """Give the arrays of a nested state, in order."""
    return [leaf for part in state for leaf in (leaves_of(part) if isinstance(part, tuple) else [part])]


def flat_weights(state: TrainingState, kind: str, parameters: Any, flat: np.ndarray) -> np.ndarray | None:
    """Return `flat`, overwritten with the weights of a kind; None if the state has none of them."""
    if not any(name.startswith(f"{kind}/") for name in state.arrays):
        return None
    flat[...] = 0
    for name, view in parameters.named(flat).items():
        view[...] = state.arrays[f"{kind}/{name}"]
    return flat


def named_arrays(parameters: Any, flat: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Give the arrays that lie in a flat one, by the names of the parameters."""
    return [(name, np.ascontiguousarray(view)) for name, view in parameters.named(flat).items()]
