"""The loop that learns: it yields what happens, prints nothing and writes nothing."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from charlm.config import TrainConfig
from charlm.errors import DivergenceError, ModelFileError, NonFiniteOutputError
from charlm.inference.evaluation import evaluate
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.randomness import DROPOUT, key
from charlm.text.batches.lanes import Batch, Batches
from charlm.training.optimizers import OPTIMIZERS
from charlm.training.plan import evaluations_of, steps_in, steps_of
from charlm.training.progress import Progress
from charlm.training.schedules import SCHEDULES
from charlm.training.setbacks import EXPLODED, GoodWeights, diverged, has_exploded, is_hopeless, nats_of
from charlm.training.state import FIRST_NUMBERS, HISTORY_FIELDS, TrainingState, flat_weights, leaves_of, named_arrays

DEFAULT_EPOCHS = 10  # where no limit is given


class Trainer:
    """Truncated backpropagation through time over a corpus, with the best validated weights kept.

    Where the numbers explode, the step is dropped: the weights become those of the lowest loss so far, be it the first
    ones, the optimizer begins anew, and the learning rate is halved; `MOST_SETBACKS` times, until the loss is lower.

    train, valid: batches to learn from and to be judged by; None: not judged, and the last weights are the best
    is_whole: whether weights, state and numbers belong together, so that they may be saved; not in the middle of a step
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
        self._good = GoodWeights(model, self.optimizer, self._numbers)
        self._last: Batch | None = None  # the batch that the latest step learned from
        self.is_whole = True
        self.blind_nats = model.head.blind_nats

    def plan(self) -> int:
        """Fix the number of steps, if it is not yet, from the first limit that will be reached; give it."""
        config = self.config
        if not self.total_steps:
            limits = [] if config.max_steps is None else [config.max_steps]
            if config.minutes is not None:
                limits.append(self.step + self._steps_in(60.0 * config.minutes))
            if config.epochs is not None or not limits:
                epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
                limits.append(steps_of(self.train, epochs, min(limits, default=None)))
            self.total_steps = min(limits)
        return self.total_steps

    def run(self) -> Iterator[Progress]:
        """Learn until the planned steps are done or patience is at its end; a run may be broken off at any yield.

        Raises DivergenceError where loss, gradient, weights or validation loss explode, however often training goes
        back, and where the result does; the weights are then the good ones, and the best ones are kept.
        """
        self.plan()
        self.is_whole = True
        numbers = self._numbers
        self._good.begin()
        while numbers["step"] < self.total_steps and not self._out_of_patience():
            for batch in self.train.epoch(numbers["epoch"], skip=numbers["index"]):
                try:
                    learning_rate, setback = self._step(batch), None
                except DivergenceError as divergence:
                    learning_rate, setback = self._go_back(divergence), divergence
                numbers["index"] += 1
                if numbers["index"] == self.train.steps(numbers["epoch"]):
                    numbers["epoch"] += 1
                    numbers["index"] = 0
                progress = self._progress(batch.count, learning_rate, setback)
                self.is_whole = True
                yield progress
                if numbers["step"] >= self.total_steps or self._out_of_patience():
                    break
        self.check_result()

    def best_weights(self) -> dict[str, np.ndarray]:
        """Give a host copy of the best validated weights by name; of the last ones, where none were validated."""
        parameters = self.model.parameters
        flat = self.model.ops.numpy(parameters.values) if self._best_values is None else self._best_values
        return {name: array.copy() for name, array in parameters.named(flat).items()}

    def is_usable(self, *, on_the_way: bool = False) -> bool:
        """Return whether the best weights are worth a model file; on_the_way: training goes on, and may explode yet."""
        exploded = on_the_way or self._numbers["halvings"] > 0 or has_exploded(self.history, self.blind_nats)
        return not is_hopeless(self._result_nats(), self.blind_nats, exploded=exploded)

    def free_buffers(self) -> None:
        """Free the buffers of the passes; the next pass makes new ones."""
        for ws in (self._workspace, self._valid_workspace):
            ws.free()

    def check_result(self) -> None:
        """Raise DivergenceError if the best weights are of no use."""
        if not self.is_usable():
            what = f"the best loss is {self._result_nats():g}, and a uniform guess has {self.blind_nats:.3g}"
            raise diverged(self.step, what)

    def has_learned(self) -> bool:
        """Return, of a training that has ended early, whether there are usable weights that are not the first ones."""
        nats = self._numbers["good_nats"]
        learned = self._best_values is not None or any(
            row["step"] > 1 and row["train_nats"] == nats for row in self.history
        )
        # A few held-out tokens may be right by chance; what is learned from is to be no worse.
        return learned and self.is_usable() and not is_hopeless(self._nats_of_last(), self.blind_nats, exploded=True)

    @property
    def step(self) -> int:
        """The number of steps done."""
        return int(self._numbers["step"])

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
        if self._good.values is not None and self._good.values is not self._best_values:
            flats["good"] = self._good.values.copy()
        each = {kind: named_arrays(parameters, flat) for kind, flat in flats.items()}
        arrays = {f"{kind}/{name}": array for kind, named in each.items() for name, array in named}
        arrays |= {f"state/{i}": ops.numpy(array) for i, array in enumerate(leaves_of(self._state))}
        return TrainingState({**self._numbers, "total_steps": self.total_steps, "history": list(self.history)}, arrays)

    def restore(self, state: TrainingState) -> None:
        """Go back to where `state` was taken; the model, the configuration and the corpus are to be the same."""
        ops, parameters = self.model.ops, self.model.parameters
        numbers = state.all_numbers
        self.total_steps = numbers.pop("total_steps")
        self.history[:] = numbers.pop("history")
        self._numbers.update(numbers)
        if self._numbers["index"] >= max(1, self.train.steps(self._numbers["epoch"])):
            hint = "give the corpus that it was trained on"
            raise ModelFileError("the checkpoint lies beyond the end of its epoch", hint=hint)
        for kind, flat in {"weights": parameters.values, **self.optimizer.memory}.items():
            for name, view in parameters.named(flat).items():
                view[...] = ops.array(state.arrays[f"{kind}/{name}"])
        best, good = (flat_weights(state, kind, parameters, ops.numpy(parameters.values)) for kind in ("best", "good"))
        self._best_values = best
        self._good.values = self._best_values if good is None else good  # where there are none either, those of now
        for i, leaf in enumerate(leaves_of(self._state)):
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
        self._last = batch
        loss, state = model.loss_and_grads(batch, before, self._workspace, noise=noise)
        norm = model.ops.norm(model.parameters.grads)
        scale = model.ops.clipping(norm, config.clip, model.config.dtype) if config.clip else None
        learning_rate = self._learning_rate()
        self.is_whole = False
        self.optimizer.step(numbers["step"] - numbers["restarted"] + 1, learning_rate, scale)
        size = model.ops.norm(model.parameters.values)
        loss, norm = float(loss), float(norm)  # waits for the device, which has all of the step to do by now
        if not (math.isfinite(norm) and loss <= EXPLODED * batch.count):
            raise diverged(self.step + 1, f"loss {loss:g}, gradient norm {norm:g}")
        if not math.isfinite(float(size)):
            raise diverged(self.step + 1, f"norm of the weights {float(size):g}")
        if self.valid is None and numbers["step"] + 1 == self.total_steps:
            self.check_result()  # while there is something to go back to
        if numbers["good_nats"] is None:  # of the first weights, before they are learned with
            numbers["good_nats"] = loss / max(1, batch.count)
        if self.train.carries:
            self._state = state
        numbers["step"] += 1
        numbers["sum_nats"] += loss
        numbers["sum_tokens"] += batch.count
        return learning_rate

    def _result_nats(self) -> float:
        """Return the loss of the best weights; where none were validated, that of the last ones on the last batch."""
        best = self._numbers["best_nats"]
        if self.valid is not None and self.step >= self.total_steps and best is None:
            return math.inf  # all evaluations have exploded
        return self._nats_of_last() if best is None else float(best)

    def _nats_of_last(self) -> float:
        """Return the loss of the weights on the batch that was learned from last, or on the first one."""
        if self._last is None:
            self._last = next(self.train.epoch(0))
        return nats_of(self.model, self._last, self._workspace)

    def _learning_rate(self) -> float:
        numbers, config = self._numbers, self.config
        done = numbers["step"] / self.total_steps if self.total_steps else 0.0
        share = SCHEDULES[config.schedule](done, numbers["plateaus"]) * 0.5 ** numbers["halvings"]
        return float(config.learning_rate * share)

    def _go_back(self, divergence: DivergenceError) -> float:
        """Take the good weights and half the learning rate, and give it; raise where that was done too often."""
        if self.train.carries:
            self._state = self.model.zero_state(self.train.batch_size)
        self._good.go_back(divergence)
        return self._learning_rate()

    def _progress(self, tokens: int, learning_rate: float, setback: DivergenceError | None) -> Progress:
        numbers = self._numbers
        epoch = numbers["epoch"] + numbers["index"] / self.train.steps(numbers["epoch"])
        train_nats = numbers["sum_nats"] / max(1, numbers["sum_tokens"])
        valid_nats, is_best = None, False
        is_evaluation = setback is None and self._evaluation_due()
        if is_evaluation:
            try:
                valid_nats, is_best = self._evaluate()
            except DivergenceError as divergence:
                is_evaluation, setback, learning_rate = False, divergence, self._go_back(divergence)
        if is_evaluation:
            validated = self._best_values if is_best else None
            self._good.judge(train_nats if valid_nats is None else valid_nats, validated)
            numbers["sum_nats"], numbers["sum_tokens"] = 0.0, 0
            row = (self.step, epoch, train_nats, valid_nats, learning_rate)
            self.history.append(dict(zip(HISTORY_FIELDS, row, strict=True)))
        step = numbers["step"]
        told = "" if setback is None else setback.message
        return Progress(
            step, self.total_steps, epoch, train_nats, valid_nats, is_evaluation, is_best, learning_rate, tokens, told
        )

    def _evaluation_due(self) -> bool:
        """Tell whether a step is followed by an evaluation; they lie evenly over the run, and the last step has one."""
        step, total = self.step, self.total_steps
        count = evaluations_of(total, self.train.steps(0))
        return step * count // total > (step - 1) * count // total

    @np.errstate(all="ignore")
    def _evaluate(self) -> tuple[float | None, bool]:
        numbers = self._numbers
        if self.valid is None:
            return None, True
        try:
            nats = evaluate(self.model, self.valid, self._valid_workspace).nats_per_token
        except NonFiniteOutputError:
            nats = math.nan
        if not nats <= EXPLODED:
            raise diverged(self.step, f"validation loss {nats:g}")
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

    def _steps_in(self, seconds: float) -> int:
        """Measure how many steps, with their evaluations, the time holds; what the measuring has learned is undone."""
        before = self.state()
        batches = itertools.chain.from_iterable(map(self.train.epoch, itertools.count()))
        steps = steps_in(
            seconds,
            lambda: _measured(self._step, next(batches)),
            None if self.valid is None else lambda: _measured(self._evaluate),
            self.train.steps(0),
        )
        self.restore(before)
        return steps


def _measured(work: Callable[..., Any], *arguments: Any) -> None:
    """Do what is measured: should the numbers explode, `run` will deal with it."""
    with contextlib.suppress(DivergenceError):
        work(*arguments)
