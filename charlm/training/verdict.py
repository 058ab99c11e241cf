"""Whether the weights have exploded, and whether the best ones are worth a model file."""

from __future__ import annotations

import math

import numpy as np

from charlm.errors import DivergenceError, NonFiniteOutputError
from charlm.nn.outputs import EXPLODED
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch, Batches
from charlm.training.state import LiveState

# The limit of a hopeless loss: a factor times the loss of a uniform guess, plus so many nats. A validation set of a
# few odd tokens may cost several times a uniform guess, so the limit is low only after an explosion.
_HOPELESS_AFTER_EXPLOSION, _HOPELESS = (2.0, 1.0), (10.0, 30.0)
# The same limit of the training loss, of the first weights or of a uniform guess, whichever is higher.
_WORSE_THAN_FIRST = (1.2, 0.1)
_FEWEST_JUDGED = 2000  # steps of training sequences


def diverged(step: int, what: str) -> DivergenceError:
    """Return the error for a step after which the weights are useless."""
    return DivergenceError(
        f"training diverged at step {step}: {what}", hint="train again with --force and a lower --lr or --clip"
    )


def is_hopeless(nats: float, blind_nats: float, *, exploded: bool) -> bool:
    """Return whether a loss comes from exploded weights, not from weights that have learned little.

    blind_nats: the loss of a uniform guess; exploded: whether the training has exploded before
    """
    factor, more = _HOPELESS_AFTER_EXPLOSION if exploded else _HOPELESS
    return not nats <= min(factor * blind_nats + more, EXPLODED)  # NaN is hopeless


class Verdict:
    """Judges the best weights of a training.

    train: the batches to learn from; is_validated: whether there is a validation set
    ws: a workspace, whose buffers are freed before and after each use
    """

    def __init__(self, live: LiveState, train: Batches, ws: Workspace, *, is_validated: bool) -> None:
        self.last: Batch | None = None  # the batch of the latest step
        self._live, self._train, self._ws, self._is_validated = live, train, ws, is_validated
        self._blind_nats = live.model.head.blind_nats

    def is_usable(self, *, on_the_way: bool = False) -> bool:
        """Return whether the best weights are worth a model file; on_the_way: training continues and may explode."""
        exploded = on_the_way or self._live.numbers.halvings > 0 or self._has_exploded()
        if is_hopeless(self._best_nats(), self._blind_nats, exploded=exploded):
            return False
        return on_the_way or not self._has_worsened()

    def check(self) -> None:
        """Raise DivergenceError if the best weights are useless."""
        if not self.is_usable():
            nats = max(self._best_nats(), self.train_nats())
            what = f"the best loss is {nats:g}, and a uniform guess has {self._blind_nats:.3g}"
            raise diverged(self._live.numbers.step, what)

    def _has_worsened(self) -> bool:
        """Return whether the kept weights predict worse than a uniform guess, and worse than the first weights.

        The training part decides. On a few validation tokens, an honest training may be worse by chance, and one that
        diverged may be better.
        """
        factor, more = _WORSE_THAN_FIRST
        first = self._live.numbers.first_nats
        return first is not None and not self.train_nats() <= factor * max(first, self._blind_nats) + more

    def train_nats(self) -> float:
        """Return the loss of the kept weights on the first batches of the training part, without dropout.

        The loss is infinite if the model outputs NaN or infinity.
        """
        live, model = self._live, self._live.model
        last = live.weights()
        if live.best is not None:
            live.set_weights(live.best)
        self._ws.free()
        nats, targets, judged = 0.0, 0, 0
        try:
            for batch in self._train.epoch(0):
                of_each, _ = model.nats(batch, model.zero_state(batch.lanes), self._ws)
                nats, targets = nats + float(of_each.sum()), targets + batch.count
                judged += len(batch.inputs) * batch.lanes
                if judged >= _FEWEST_JUDGED:
                    break
        except NonFiniteOutputError:
            nats = math.inf
        finally:
            self._ws.free()
            live.set_weights(last)
        return nats / max(1, targets)

    def has_learned(self) -> bool:
        """Return whether a training that ended early has usable weights, other than the first ones."""
        live = self._live
        numbers = live.numbers
        learned = live.best is not None or any(
            row["step"] > 1 and row["train_nats"] == numbers.good_nats for row in numbers.history
        )
        # A few validation tokens may be right by chance, so the training loss is judged too.
        return learned and self.is_usable() and not is_hopeless(self._last_nats(), self._blind_nats, exploded=True)

    def _has_exploded(self) -> bool:
        """Return whether the history has a loss that only exploded weights have."""
        losses = [row[name] for row in self._live.numbers.history for name in ("train_nats", "valid_nats")]
        return any(is_hopeless(nats, self._blind_nats, exploded=False) for nats in losses if nats is not None)

    def _best_nats(self) -> float:
        """Return the lowest validation loss; without one, the loss of the last weights on the last batch."""
        numbers = self._live.numbers
        if numbers.best_nats is not None:
            return numbers.best_nats
        all_exploded = self._is_validated and numbers.step >= numbers.total_steps
        return math.inf if all_exploded else self._last_nats()

    @np.errstate(all="ignore")
    def _last_nats(self) -> float:
        """Return the loss a target of the current weights on the batch of the latest step, or on the first batch.

        The hidden state starts at 0. The loss is infinite if the model outputs NaN or infinity.
        """
        if self.last is None:
            self.last = next(self._train.epoch(0))
        self._ws.free()
        try:
            nats, _ = self._live.model.nats(self.last, self._live.model.zero_state(self.last.lanes), self._ws)
        except NonFiniteOutputError:
            return math.inf
        finally:
            self._ws.free()
        return float(nats.sum()) / max(1, self.last.count)
