"""Going back after an explosion: the weights that training returns to, and when it gives up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charlm.errors import DivergenceError, NonFiniteOutputError
from charlm.nn.model import Model
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch
from charlm.training.optimizers import Optimizer

MOST_SETBACKS = 5  # in a row, without a lower loss between them
EXPLODED = 1000.0  # nats a token: no network that learns comes near it, a blind guess costs ln V
# A result is hopeless above so many times the loss of a blind guess, and so many nats more. A held-out part of a few
# odd tokens may cost several times a blind guess, so the limit is low only after an explosion.
_HOPELESS_AFTER_EXPLOSION, _HOPELESS = (2.0, 1.0), (10.0, 30.0)


def diverged(step: int, what: str) -> DivergenceError:
    """Return the error for a step after which the numbers are of no use."""
    return DivergenceError(
        f"training diverged at step {step}: {what}", hint="train again with --force and a lower --lr or --clip"
    )


def is_hopeless(nats: float, blind_nats: float, *, exploded: bool) -> bool:
    """Return whether a loss says that the weights have exploded, and not that they have learned little.

    blind_nats: the loss of a uniform guess; exploded: whether the numbers have exploded before
    """
    factor, more = _HOPELESS_AFTER_EXPLOSION if exploded else _HOPELESS
    return not nats <= min(factor * blind_nats + more, EXPLODED)  # NaN is hopeless, too


def has_exploded(history: Sequence[Mapping[str, Any]], blind_nats: float) -> bool:
    """Return whether a loss of the history is one that only weights have which exploded."""
    losses = (row[name] for row in history for name in ("train_nats", "valid_nats") if row[name] is not None)
    return any(is_hopeless(nats, blind_nats, exploded=False) for nats in losses)


@np.errstate(all="ignore")
def nats_of(model: Model, batch: Batch, ws: Workspace) -> float:
    """Return the loss of a batch from state 0, in nats a target; infinity if the model outputs NaN or infinity.

    ws: its buffers are freed before and afterwards, as this pass has others
    """
    ws.free()
    try:
        nats, _ = model.nats(batch, model.zero_state(batch.lanes), ws)
    except NonFiniteOutputError:
        return math.inf
    finally:
        ws.free()
    return float(nats.sum()) / max(1, batch.count)


class GoodWeights:
    """The weights of the lowest loss so far, to which training returns when the numbers explode.

    values: a host copy of them; None before the first step
    numbers: those of the training's state; updated in place
    """

    def __init__(self, model: Model, optimizer: Optimizer, numbers: dict[str, Any]) -> None:
        self.values: np.ndarray | None = None
        self._model, self._optimizer, self._numbers = model, optimizer, numbers

    def begin(self) -> None:
        """Take the weights of now, unless there are better ones."""
        if self.values is None:
            self.values = self._model.ops.numpy(self._model.parameters.values)

    def judge(self, nats: float, validated: np.ndarray | None) -> None:
        """Take the weights of now if their loss is the lowest; validated: a host copy of them, if there is one."""
        numbers = self._numbers
        if numbers["good_nats"] is None or nats < numbers["good_nats"]:
            numbers["good_nats"], numbers["setbacks"] = nats, 0
            self.values = self._model.ops.numpy(self._model.parameters.values) if validated is None else validated

    def go_back(self, divergence: DivergenceError) -> None:
        """Restore the weights, clear the optimizer's memory and halve the learning rate.

        Raises the divergence if that was done too often; the weights are then restored all the same.
        """
        numbers, model = self._numbers, self._model
        model.parameters.values[...] = model.ops.array(self.values)
        for memory in self._optimizer.memory.values():
            memory[...] = 0
        if numbers["setbacks"] == MOST_SETBACKS:
            raise divergence
        numbers["setbacks"] += 1
        numbers["halvings"] += 1
        numbers["restarted"] = numbers["step"]
        numbers["sum_nats"], numbers["sum_tokens"] = 0.0, 0
