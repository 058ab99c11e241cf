"""The loop that learns: it yields what happens, prints nothing and writes nothing."""

from __future__ import annotations

import itertools
import math
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.config import TrainConfig
from charlm.errors import DivergenceError, ModelFileError
from charlm.evaluation import evaluate
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.randomness import DROPOUT, key
from charlm.text.batches import Batches
from charlm.training.optimizers import OPTIMIZERS
from charlm.training.schedules import SCHEDULES
from charlm.training.state import FIRST_NUMBERS, HISTORY_FIELDS, TrainingState

DEFAULT_EPOCHS = 10  # where no limit is given
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 10, 100  # of a run; between them, one an epoch
_EXPLODED = 1000.0  # nats a token: no network that learns comes near it, a blind guess costs ln V
_EPOCHS_COUNTED = 100  # one by one; they differ by a step at most, and many more would take their time
_SPEED_SECONDS = 3.0  # that the steps which measure the speed may take


@dataclass(frozen=True)
class Progress:
    """What one step was like.

    step, total_steps; epoch: how many epochs are done, with the fraction of the one under way
    train_nats: mean loss of a token since the last evaluation; valid_nats: that of the held-out part, where it was
    just evaluated; is_best: whether it was better than any before; tokens: targets of this step
    """

    step: int
    total_steps: int
    epoch: float
    train_nats: float
    valid_nats: float | None
    is_evaluation: bool
    is_best: bool
    learning_rate: float
    tokens: int


class Trainer:
    """Truncated backpropagation through time over a corpus, with the best validated weights kept.

    train, valid: batches to learn from and to be judged by; None: not judged, and the last weights are the best
    """

    def __init__(self, model: Model, config: TrainConfig, train: Batches, valid: Batches | None) -> None:
        self.model, self.config = model, config
        self.train, self.valid = train, valid
        self.optimizer = OPTIMIZERS[config.optimizer](model.parameters, model.ops)
        self.history: list[dict[str, Any]] = []
        self.total_steps = 0
        self._workspace, self._valid_workspace = model.workspace(), model.workspace()
        self._state: State = model.zero_state(train.batch_size) if train.carries else ()
        self._best_values: np.ndarray | None = None
        self._numbers = dict(FIRST_NUMBERS)

    def plan(self) -> int:
        """Fix the number of steps, if it is not yet, from the first limit that will be reached; give it."""
        config = self.config
        if not self.total_steps:
            limits = [] if config.max_steps is None else [config.max_steps]
            if config.minutes is not None:
                limits.append(self.step + self._steps_in(60.0 * config.minutes))
            if config.epochs is not None or not limits:
                epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
                limits.append(self._steps_of(epochs, min(limits, default=None)))
            self.total_steps = min(limits)
        return self.total_steps

    def run(self) -> Iterator[Progress]:
        """Learn until the planned steps are done or patience is at its end; a run may be broken off at any yield.

        Raises DivergenceError where the loss explodes, or gradient or validation loss is no finite number; the best
        weights are kept.
        """
        self.plan()
        numbers = self._numbers
        while numbers["step"] < self.total_steps and not self._out_of_patience():
            for batch in self.train.epoch(numbers["epoch"], skip=numbers["index"]):
                learning_rate = self._step(batch)
                numbers["index"] += 1
                if numbers["index"] == self.train.steps(numbers["epoch"]):
                    numbers["epoch"] += 1
                    numbers["index"] = 0
                yield self._progress(batch.count, learning_rate)
                if numbers["step"] >= self.total_steps or self._out_of_patience():
                    return

    def best_weights(self) -> dict[str, np.ndarray]:
        """Give a host copy of the best validated weights by name; of the last ones, where none were validated."""
        parameters = self.model.parameters
        flat = self.model.ops.numpy(parameters.values) if self._best_values is None else self._best_values
        return {name: array.copy() for name, array in parameters.named(flat).items()}

    @property
    def step(self) -> int:
        """The number of steps done."""
        return int(self._numbers["step"])

    @property
    def has_best(self) -> bool:
        """Whether any weights were validated."""
        return self._best_values is not None

    def take_best(self) -> None:
        """Put the best validated weights into the model."""
        if self._best_values is not None:
            self.model.parameters.values[...] = self.model.ops.array(self._best_values)

    def state(self) -> TrainingState:
        """Give a host copy of all that `restore` needs to go on as if nothing had happened."""
        ops, parameters = self.model.ops, self.model.parameters
        flats = {"weights": ops.numpy(parameters.values)}
        flats |= {slot: ops.numpy(array) for slot, array in self.optimizer.memory.items()}
        if self._best_values is not None:
            flats["best"] = self._best_values.copy()
        arrays = {f"{kind}/{name}": array for kind, flat in flats.items() for name, array in _named(parameters, flat)}
        arrays |= {f"state/{i}": ops.numpy(array) for i, array in enumerate(_leaves(self._state))}
        return TrainingState({**self._numbers, "total_steps": self.total_steps, "history": list(self.history)}, arrays)

    def restore(self, state: TrainingState) -> None:
        """Go back to where `state` was taken; the model, the configuration and the corpus are to be the same."""
        ops, parameters = self.model.ops, self.model.parameters
        numbers = dict(state.numbers)
        self.total_steps = numbers.pop("total_steps")
        self.history[:] = numbers.pop("history")
        self._numbers.update(numbers)
        targets = {"weights": parameters.values, **self.optimizer.memory}
        self._best_values = None
        if any(name.startswith("best/") for name in state.arrays):
            self._best_values = np.zeros_like(ops.numpy(parameters.values))
            targets["best"] = self._best_values
        for kind, flat in targets.items():
            for name, view in parameters.named(flat).items():
                view[...] = (
                    ops.array(state.arrays[f"{kind}/{name}"]) if kind != "best" else state.arrays[f"best/{name}"]
                )
        for i, leaf in enumerate(_leaves(self._state)):
            stored = state.arrays[f"state/{i}"]
            if stored.shape != leaf.shape:
                raise ModelFileError(
                    f"the checkpoint carries {stored.shape[1]} sequences, this corpus makes {leaf.shape[1]}",
                    hint="give the corpus that it was trained on",
                )
            leaf[...] = ops.array(stored)

    @np.errstate(all="ignore")  # what is no finite number is told once, as an error
    def _step(self, batch: Any) -> float:
        """Learn from one batch; give the learning rate that it was done with."""
        numbers, model, config = self._numbers, self.model, self.config
        noise = key(config.seed, DROPOUT, numbers["step"]) if model.config.dropout else None
        before = self._state if self.train.carries else model.zero_state(batch.lanes)
        loss, state = model.loss_and_grads(batch, before, self._workspace, noise=noise)
        norm = model.ops.norm(model.parameters.grads)
        if not (math.isfinite(norm) and loss <= _EXPLODED * batch.count):
            raise _diverged(self.step + 1, f"loss {loss:g}, gradient norm {norm:g}")
        scale = config.clip / norm if config.clip and norm > config.clip else 1.0
        done = numbers["step"] / self.total_steps if self.total_steps else 0.0
        learning_rate = config.learning_rate * SCHEDULES[config.schedule](done, numbers["plateaus"])
        self.optimizer.step(numbers["step"] + 1, learning_rate, scale)
        if self.train.carries:
            self._state = state
        numbers["step"] += 1
        numbers["sum_nats"] += loss
        numbers["sum_tokens"] += batch.count
        return learning_rate

    def _progress(self, tokens: int, learning_rate: float) -> Progress:
        numbers = self._numbers
        epoch = numbers["epoch"] + numbers["index"] / self.train.steps(numbers["epoch"])
        train_nats = numbers["sum_nats"] / max(1, numbers["sum_tokens"])
        valid_nats, is_best = None, False
        is_evaluation = self._evaluation_due()
        if is_evaluation:
            valid_nats, is_best = self._evaluate()
            numbers["sum_nats"], numbers["sum_tokens"] = 0.0, 0
            row = (self.step, epoch, train_nats, valid_nats, learning_rate)
            self.history.append(dict(zip(HISTORY_FIELDS, row, strict=True)))
        step = numbers["step"]
        return Progress(
            step, self.total_steps, epoch, train_nats, valid_nats, is_evaluation, is_best, learning_rate, tokens
        )

    def _evaluation_due(self) -> bool:
        """Tell whether a step is followed by an evaluation; they lie evenly over the run, and the last step has one."""
        step, total = self.step, self.total_steps
        count = self._evaluations(total)
        return step * count // total > (step - 1) * count // total

    def _evaluations(self, total: int) -> int:
        return min(max(round(total / self.train.steps(0)), FEWEST_EVALUATIONS), MOST_EVALUATIONS)

    @np.errstate(all="ignore")
    def _evaluate(self) -> tuple[float | None, bool]:
        numbers = self._numbers
        if self.valid is None:
            return None, True
        nats = evaluate(self.model, self.valid, self._valid_workspace).nats_per_token
        if not math.isfinite(nats):
            raise _diverged(self.step, f"validation loss {nats:g}")
        is_best = numbers["best_nats"] is None or nats < numbers["best_nats"]
        if is_best:
            numbers["best_nats"], numbers["waiting"] = nats, 0
            self._best_values = self.model.ops.numpy(self.model.parameters.values)
        else:
            numbers["plateaus"] += 1
            numbers["waiting"] += 1
        return nats, is_best

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self._numbers["waiting"] >= self.config.patience

    def _steps_of(self, epochs: int, most: int | None) -> int:
        counted = range(min(epochs, _EPOCHS_COUNTED))
        steps = sum(map(self.train.steps, counted)) * epochs // len(counted)
        return steps if most is None else min(steps, most)

    def _steps_in(self, seconds: float) -> int:
        """Measure how many steps, with their evaluations, the time holds; what the measuring has learned is undone."""
        begin = time.perf_counter()
        before = self.state()
        batches = itertools.chain.from_iterable(map(self.train.epoch, itertools.count()))
        for batch in itertools.islice(batches, 2):  # the first ones make the buffers
            self._step(batch)
        started, steps = time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - begin < min(_SPEED_SECONDS, 0.05 * seconds):
            self._step(next(batches))
            steps += 1
        step = (time.perf_counter() - started) / steps
        evaluation = 0.0
        for _ in range(2 if self.valid is not None else 0):
            started = time.perf_counter()
            self._evaluate()
            evaluation = time.perf_counter() - started
        self.restore(before)
        left = seconds - (time.perf_counter() - begin)
        counts = range(1, 2 + max(0, int(left / step)))
        fitting = bisect_right(counts, left, key=lambda count: count * step + self._evaluations(count) * evaluation)
        return max(1, fitting)


def _diverged(step: int, what: str) -> DivergenceError:
    return DivergenceError(
        f"training diverged at step {step}: {what}", hint="lower --lr or --clip; what was validated before is kept"
    )


def _leaves(state: State) -> list[Any]:
    """Give the arrays of a nested state, in order."""
    return [leaf for part in state for leaf in (_leaves(part) if isinstance(part, tuple) else [part])]


def _named(parameters: Any, flat: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(name, np.ascontiguousarray(view)) for name, view in parameters.named(flat).items()]
