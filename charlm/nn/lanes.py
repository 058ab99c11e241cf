"""A batch divided among workers by lanes, and the states of its shares joined again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from charlm.nn.layer import State
from charlm.text.batches.lanes import Batch

# The fewest lanes worth a process of their own: products with fewer columns run far below the peak, and large weights
# do not fit into a core's own cache.
_FEWEST_LANES, _FEWEST_WITH_LARGE_WEIGHTS = 8, 16
_LARGE = 256  # hidden units


@dataclass(frozen=True)
class Share:
    """Some lanes of a batch, for one worker.

    batch, state: those lanes alone
    first: the first of them; lanes: the number of lanes of the whole batch
    """

    batch: Batch
    state: State
    first: int
    lanes: int


def divide(batch: Batch, state: State, workers: int, hidden_size: int) -> list[Share]:
    """Divide a batch and the state before it among workers."""
    parts = shares_of(batch.lanes, workers, hidden_size)
    if len(parts) == 1:
        return [Share(batch, state, 0, batch.lanes)]
    return [Share(lanes_of_batch(batch, p), lanes_of_state(state, p), p.start, batch.lanes) for p in parts]


def shares_of(lanes: int, workers: int, hidden_size: int) -> list[slice]:
    """Return the lanes of a batch that each worker gets."""
    fewest = _FEWEST_LANES if hidden_size <= _LARGE else _FEWEST_WITH_LARGE_WEIGHTS
    count = max(1, min(workers, lanes // fewest))
    edges = [lanes * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def lanes_of_batch(batch: Batch, lanes: slice) -> Batch:
    """Return some lanes of a batch."""
    arrays: dict[str, Any] = {field.name: getattr(batch, field.name) for field in fields(batch) if field.init}
    own: dict[str, Any] = {name: None if array is None else array[..., lanes] for name, array in arrays.items()}
    return Batch(**own)


def lanes_of_state(state: State, lanes: slice) -> State:
    """Return the state of some lanes."""
    return tuple(lanes_of_state(part, lanes) if isinstance(part, tuple) else part[:, lanes] for part in state)


def side_by_side(states: list[State]) -> State:
    """Join the states of the shares of a batch."""
    if len(states) == 1:
        return states[0]
    return tuple(
        side_by_side(list(parts)) if isinstance(parts[0], tuple) else np.concatenate(parts, axis=1)
        for parts in zip(*states, strict=True)
    )
