"""A batch cut into some of its lanes for each worker, and what they bring back put together again."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np

from charlm.nn.layer import State
from charlm.text.batches.lanes import Batch

# Lanes that are worth a process of their own: products with fewer columns run far below the peak, and large weights
# would be read from beyond a core's own cache for few of them.
_FEWEST_LANES, _FEWEST_WITH_LARGE_WEIGHTS = 8, 16
_LARGE = 256  # hidden units


def shares_of(lanes: int, workers: int, hidden_size: int) -> list[slice]:
    """Cut the lanes of a batch into those of each worker."""
    fewest = _FEWEST_LANES if hidden_size <= _LARGE else _FEWEST_WITH_LARGE_WEIGHTS
    count = max(1, min(workers, lanes // fewest))
    edges = [lanes * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def lanes_of_batch(batch: Batch, lanes: slice) -> Batch:
    """Give some lanes of a batch."""
    arrays: dict[str, Any] = {field.name: getattr(batch, field.name) for field in fields(batch)}
    own: dict[str, Any] = {name: None if array is None else array[..., lanes] for name, array in arrays.items()}
    return Batch(**own)


def lanes_of_state(state: State, lanes: slice) -> State:
    """Give the state of some lanes."""
    return tuple(lanes_of_state(part, lanes) if isinstance(part, tuple) else part[:, lanes] for part in state)


def side_by_side(states: list[State]) -> State:
    """Put the states of the shares of a batch side by side, as one."""
    if len(states) == 1:
        return states[0]
    return tuple(
        side_by_side(list(parts)) if isinstance(parts[0], tuple) else np.concatenate(parts, axis=1)
        for parts in zip(*states, strict=True)
    )
